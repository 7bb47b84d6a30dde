#!/bin/bash
@directives@

# @about@: @study@ into @out@.
@explanation@

@setup@
set -u
tomoatlas=@tomoatlas@
study=@study@
out=@out@
mkdir -p "$out"

recorded() { if [ -f "$out/trials.jsonl" ]; then wc -l <"$out/trials.jsonl"; else echo 0; fi; }
@left@
@signals@
@chain@
fruitless=0
while :; do
    before=$(recorded)
    [ -z "$asked" ] || exit "${code:-4}"
    @launch@"$tomoatlas" run "$study" --out "$out" --device @device@@options@ &
    run=$!
    ended
    code=$?
    case $code in
    0 | 2 | 3 | 130) # complete, refused, or stopped by hand: nothing to go on with
        @withdraw@
        exit $code
        ;;
    4) # time is up
        @time_is_up@
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
@enough@    echo "ended with $code after $(recorded) records: launching again" >&2
    sleep 5
done
