#!/usr/bin/env bash
# Runs a command beside a real scheduler on this host:  beside.sh slurm|gridengine COMMAND...
# In namespaces of its own: nothing outside finds its files, commands or daemons, and all end with it.
# As root with apt-get, otherwise the command runs without a scheduler, and in CI not at all.
# SCHEDULER.sh says which packages it has (packages), starts it (start), and whether it runs (ready).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [[ ${1:-} != --* ]]; then
    if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
        echo "no scheduler: that needs root and apt-get" >&2
        [[ -z ${CI:-} ]] || exit 1
        exec "${@:2}"
    fi
    # Grid Engine's master now and then ends at its start, and all in its namespaces with it.
    BESIDE_STARTED=$(mktemp)
    export BESIDE_STARTED
    for _ in 1 2 3 4 5; do
        code=0
        unshare --mount --uts --pid --fork --kill-child --mount-proc \
            "$here/beside.sh" --inside "$@" || code=$?
        if [[ -s $BESIDE_STARTED ]]; then break; fi
        echo "$1 has not started" >&2
    done
    rm "$BESIDE_STARTED"
    exit "$code"
fi
stage=$1 scheduler=$2
shift 2
# shellcheck source=/dev/null
source "$here/$scheduler.sh"

if [[ $stage == --inside ]]; then
    # What is written to these folders stays in memory.
    layers=$(mktemp -d)
    mount -t tmpfs tmpfs "$layers"
    for folder in usr etc var; do
        mkdir -p "$layers/$folder/upper" "$layers/$folder/work"
        mount -t overlay overlay "/$folder" \
            -o "lowerdir=/$folder,upperdir=$layers/$folder/upper,workdir=$layers/$folder/work"
    done
    mount -t tmpfs tmpfs /run
    hostname one
    echo 127.0.0.1 one >>/etc/hosts

    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # no service starts by itself
    chmod +x /usr/sbin/policy-rc.d
    apt-get update -qq
    # shellcheck disable=SC2154
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" \
        >"$layers/apt.log" 2>&1 || { cat "$layers/apt.log" >&2; exit 1; }
    # Installed by the host's network, started in one of its own.
    exec unshare --net "$here/beside.sh" --start "$scheduler" "$@"
fi

ip link set lo up
ip link add name sw type bridge # names are looked up only where there is an address beside lo's
ip link set sw up
ip addr add 10.77.0.1/24 dev sw
start
for _ in $(seq 60); do
    if ready; then break; fi
    sleep 0.5
done
if ! ready; then
    echo "$scheduler is installed, but does not start" >&2
    trouble >&2
    exit 1
fi

# A child, as this is the first process here, which gathers what daemons leave behind.
echo yes >"$BESIDE_STARTED"
code=0
"$@" || code=$?
exit "$code"
