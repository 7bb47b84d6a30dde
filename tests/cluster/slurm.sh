#!/usr/bin/env bash
# Runs a command beside a real Slurm of four "nodes" on this host:  slurm.sh COMMAND...
# In namespaces of its own: nothing outside finds its files, commands or daemons, and all end with it.
# As root with apt-get, otherwise the command runs without a Slurm, and in CI not at all.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [[ ${1:-} != --inside ]]; then
    if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
        echo "no Slurm: that needs root and apt-get" >&2
        [[ -z ${CI:-} ]] || exit 1
        exec "$@"
    fi
    exec unshare --mount --uts --pid --fork --kill-child --mount-proc "$here/slurm.sh" --inside "$@"
fi
shift

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
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge \
    >"$layers/apt.log" 2>&1 || { cat "$layers/apt.log" >&2; exit 1; }

install -d -o munge -g munge /run/munge
head -c 1024 /dev/urandom >/etc/munge/munge.key
chown munge:munge /etc/munge/munge.key
chmod 400 /etc/munge/munge.key
su -s /bin/bash munge -c /usr/sbin/munged </dev/null

mkdir -p /etc/slurm /var/log/slurm /var/spool/slurm/ctld /var/spool/slurm/n{1,2,3,4}
echo CgroupPlugin=cgroup/v1 >/etc/slurm/cgroup.conf # "disabled" ends slurmd; this needs no mount
cp "$here/slurm.conf" /etc/slurm/slurm.conf
slurmctld
for node in n1 n2 n3 n4; do slurmd -N "$node"; done
for _ in $(seq 60); do
    if [[ $(sinfo -h -o %T) == idle ]]; then break; fi
    sleep 0.5
done
if [[ $(sinfo -h -o %T) != idle ]]; then
    echo "Slurm is installed, but does not start" >&2
    sinfo -N >&2
    tail -n 20 /var/log/slurm/*.log >&2
    exit 1
fi

code=0
"$@" || code=$?
exit "$code"
