#!/bin/bash
#BSUB -P ABC123
#BSUB -J ta_fig4
#BSUB -n 8
#BSUB -R "span[ptile=4] affinity[core(8)]"
#BSUB -gpu "num=4/host"
#BSUB -x
#BSUB -W 02:00
#BSUB -o ta_fig4.%J.out

# LSF, whole nodes, a rank for each GPU: fig4.toml into 'fig4 out'.
# Every job first submits its successor, and cancels it once the study is complete. The
# successors run fig4 out/job.sh, so save this file under that name and submit it from there.
# To end the chain, cancel the job that runs.

cd "$LS_SUBCWD" || exit 1
# If it needs modules, load them here: module load python
set -u
tomoatlas=tomoatlas
study=fig4.toml
out='fig4 out'
mkdir -p "$out"

recorded() { if [ -f "$out/trials.jsonl" ]; then wc -l <"$out/trials.jsonl"; else echo 0; fi; }
left() { local s=$((7200 - SECONDS)); [ $s -gt 0 ] || s=1
    printf '%02d:%02d:%02d' $((s / 3600)) $((s / 60 % 60)) $((s % 60)); }
# The scheduler sends its signals to the run as well. At TERM long before its time this job has been
# cancelled, and its successor goes with it; so it does with one that is put back into the queue and
# will submit another.
run='' asked='' next=''
withdraw() { [ -z "$next" ] || bkill "$next"; rm -f -- "$out/job.next"; }
cancelled() { [ $((7200 - SECONDS)) -gt 300 ] && ! false; }
trap 'asked=TERM; if cancelled; then withdraw; fi' TERM
trap : USR1 USR2
ended() { # the exit code of the run; a wait that a signal cuts short is none
    local code
    while wait "$run"; code=$?; kill -0 "$run" 2>/dev/null; do :; done
    return $code
}

job=$out/job.sh
# 6d7e737bf42a1615: the same in the file of the successors. LSF runs this one from a copy of its own making.
mine=$(grep -s '^# 6d7e737bf42a1615:' "$job")
[ -n "$mine" ] || echo "$job is missing or another script: save this one there" >&2

# The successor, unless jobs in a row have recorded nothing: then something else is wrong.
records=$(recorded)
fruitless=0
if [ "$records" = "${TOMOATLAS_RECORDED:-}" ]; then fruitless=$((TOMOATLAS_FRUITLESS + 1)); fi
if [ $fruitless -ge 2 ]; then
    echo "the chain ends: 2 jobs in a row recorded no trial" >&2
    exit 1
fi
# A job that was put back into the queue has a successor already.
if [ -s "$out/job.next" ]; then read -r whose next <"$out/job.next"; fi
if [ "${whose:-}" != "$LSB_JOBID" ]; then
    next=
    if [ -n "$mine" ]; then next=$(bsub -w "ended($LSB_JOBID)" -env "all,TOMOATLAS_RECORDED=$records,TOMOATLAS_FRUITLESS=$fruitless" <"$job" | sed -n 's/^Job <\([0-9]*\)>.*/\1/p'); fi
    echo "$LSB_JOBID $next" >"$out/job.next"
fi
[ -n "$next" ] || echo "no successor: submit $job again when this job has ended" >&2

fruitless=0
while :; do
    before=$(recorded)
    [ -z "$asked" ] || exit "${code:-4}"
    mpiexec -n 8 "$tomoatlas" run "$study" --out "$out" --device cuda --walltime "$(left)" &
    run=$!
    ended
    code=$?
    case $code in
    0 | 2 | 3 | 130) # complete, refused, or stopped by hand: nothing to go on with
        withdraw
        exit $code
        ;;
    4) # time is up
        if [ -n "$next" ]; then exit 0; fi # so that accounts do not show it as failed
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
    if [ $((7200 - SECONDS)) -lt 120 ]; then exit $code; fi
    echo "ended with $code after $(recorded) records: launching again" >&2
    sleep 5
done
