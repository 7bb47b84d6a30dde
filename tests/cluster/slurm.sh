# shellcheck shell=bash disable=SC2034,SC2154
# Slurm with four "nodes", for beside.sh.
packages=(slurm-wlm munge iproute2)

start() {
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
}

ready() { [[ $(sinfo -h -o %T) == idle ]]; }

trouble() {
    sinfo -N
    tail -n 20 /var/log/slurm/*.log
}
