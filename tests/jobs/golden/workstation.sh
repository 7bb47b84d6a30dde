#!/bin/bash

# a workstation without scheduler: fig4.toml into 'fig4 out'.
# Run this file; it launches the study again after a crash, until it is complete.

set -u
tomoatlas=tomoatlas
study=fig4.toml
out='fig4 out'
mkdir -p "$out"

recorded() { if [ -f "$out/trials.jsonl" ]; then wc -l <"$out/trials.jsonl"; else echo 0; fi; }

# A signal to this script is for the run, and ends both. Job control, as a run that is started
# in the background is deaf to Ctrl-C without it.
set -m
asked=''
forward() { asked=$1; [ -z "${!:-}" ] || kill -s "$1" "$!" 2>/dev/null; }
trap 'forward TERM' TERM
trap 'forward USR1' USR1
trap 'forward INT' INT
ended() { # the exit code of the run; a wait that a signal cuts short is none
    local code
    while wait "$run"; code=$?; kill -0 "$run" 2>/dev/null; do :; done
    return $code
}

fruitless=0
while :; do
    before=$(recorded)
    [ -z "$asked" ] || exit "${code:-4}"
    "$tomoatlas" run "$study" --out "$out" --device auto &
    run=$!
    ended
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
    [ -z "$asked" ] || exit "${code:-4}"
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
