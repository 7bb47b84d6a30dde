#!/bin/bash

# a workstation without scheduler: fig4.toml into 'fig4 out'.
# Run this file; it launches the study again after a crash, until it is complete.

set -u
tomoatlas=tomoatlas
study=fig4.toml
out='fig4 out'
mkdir -p "$out"

recorded() { if [ -f "$out/trials.jsonl" ]; then wc -l <"$out/trials.jsonl"; else echo 0; fi; }

fruitless=0
while :; do
    before=$(recorded)
    "$tomoatlas" run "$study" --out "$out" --device auto
    code=$?
    case $code in
    0 | 2 | 3 | 130) # complete, refused, or stopped by hand: nothing to go on with
        :
        exit $code
        ;;
    4) # time is up
        exit 4
        ;;
    esac
    # A rank or the manager was lost, or the machine is in trouble (5): a disk, a lock, no process
    # starts. All finished trials are recorded, so a new launch goes on.
    if [ "$(recorded)" -gt "$before" ]; then fruitless=0; else fruitless=$((fruitless + 1)); fi
    if [ $fruitless -ge 3 ]; then
        echo "given up: three launches in a row recorded no trial, the last ended with $code" >&2
        exit $code
    fi
    echo "ended with $code after $(recorded) records: launching again" >&2
    sleep 5
done
