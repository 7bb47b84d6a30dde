# shellcheck shell=bash disable=SC2034
# Grid Engine with two nodes, for beside.sh. Its daemons go by host names and ports that are the
# same everywhere, so each node has a network of its own, and a bridge joins them.
packages=(gridengine-master gridengine-exec gridengine-client iproute2)
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default

at() { # at NODE COMMAND...
    ip netns exec "$1" unshare --uts bash -c 'hostname "$0"; exec "$@"' "$@"
}

# What qconf asks for in an editor: configured OPTIONS KEY=VALUE...
configured() {
    local options=$1 change
    shift
    for change in "$@"; do echo "s,^${change%%=*} .*,${change%%=*} ${change#*=},"; done >/run/changes
    printf '#!/bin/sh\nsed -i -f /run/changes "$1"\nsleep 1.1\n' >/usr/bin/changes
    chmod +x /usr/bin/changes
    # shellcheck disable=SC2086
    EDITOR=changes qconf $options # which takes a file of the same second for unchanged
}

start() {
    grep -v ' one$' /etc/hosts >/run/hosts # of the installation: other nodes have to reach this one
    echo 10.77.0.1 one >>/run/hosts
    for node in 1 2; do
        ip netns add "n$node"
        ip link add name "v$node" type veth peer name eth0 netns "n$node"
        ip link set "v$node" master sw up
        ip -n "n$node" link set lo up
        ip -n "n$node" link set eth0 up
        ip -n "n$node" addr add "10.77.0.1$node/24" dev eth0
        echo "10.77.0.1$node n$node" >>/run/hosts
    done
    cat /run/hosts >/etc/hosts

    install -d -o sgeadmin -g sgeadmin /run/gridengine
    echo one >"$SGE_ROOT/$SGE_CELL/common/act_qmaster"
    sge_qmaster
    {
        for node in n1 n2; do qconf -ah "$node"; done
        for node in one n1 n2; do qconf -as "$node"; done
        configured -mconf min_uid=0 min_gid=0 load_report_time=00:00:02 \
            'reporting_params=accounting=true accounting_flush_time=00:00:00 reporting=false \\'
        configured -msconf schedule_interval=0:0:2 flush_submit_sec=1 flush_finish_sec=1
        # shellcheck disable=SC2016
        configured "-ap mpi" slots=999 control_slaves=TRUE 'allocation_rule=$round_robin'
        configured "-aq all.q" "hostlist=n1 n2" slots=32 pe_list=mpi load_thresholds=NONE
    } &>/run/qconf.log
    for node in n1 n2; do SGE_EXECD_PIDFILE=/run/gridengine/$node.pid at "$node" sge_execd; done
}

ready() { [[ $(qstat -f | grep -c '^all.q@.*lx-amd64 *$') == 2 ]]; }

trouble() {
    qstat -f
    cat /run/qconf.log
    tail -n 20 /var/spool/gridengine/qmaster/messages /var/spool/gridengine/execd/*/messages
}
