"""Faults in files and of other users: fuzzed inputs, and a stranger at a Dask cluster.

    python tests/benchmarks/faults_files.py [ROW ...]

`fuzzed` feeds 10,000 inputs of the strategies in `tests/jobs/fuzzing.py`, others every time, in a
process for each kind: studies, journals, site files and HDF5. `stranger` is run by root, since it
becomes another user.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))
sys.path.insert(0, str(Path(__file__).parents[1] / "sweep"))

from fault_table import Row, Rows, main
from hypothesis import HealthCheck, Phase, given, settings

INPUTS = 10_000
TIMES = 5
MOST_MIB = 2048
"""Memory that no small file may take."""


def fuzzed(folder: Path) -> Row:
    """Sound files that were spoilt: accepted or refused in one line, and nothing else."""
    from fuzzing import TARGETS

    found: Counter[str] = Counter()
    ends, memory = [], 0.0
    for name in TARGETS:
        counts, end, used = _in_a_process(name, INPUTS // len(TARGETS), folder)
        found.update(counts)
        ends.append(end)
        memory = max(memory, used)
    wrong = {what: count for what, count in found.items() if what not in ("accepted", "refused")}
    for what, count in wrong.items():
        print(f"{count} x {what}", file=sys.stderr)
    tried = sum(found.values())
    return Row(
        "files that nobody meant: studies, journals, sites, HDF5",
        f"{tried} inputs",
        f"{found['accepted']} accepted, {found['refused']} refused in one line, "
        f"{sum(wrong.values())} tracebacks, hangs or senseless values, {sum(map(bool, ends))} "
        f"crashes; {memory:.0f} MiB at most",
        tried >= INPUTS and not wrong and not any(ends) and memory < MOST_MIB,
    )


def _in_a_process(name: str, inputs: int, folder: Path) -> tuple[Counter[str], int, float]:
    """What came of the inputs of a kind, how the process ended, and its memory in MiB."""
    out = folder / name
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            out.write_text(json.dumps(_tried(name, inputs)))
            code = 0
        finally:
            os._exit(code)
    _, status, used = os.wait4(pid, 0)
    counts = json.loads(out.read_text()) if out.exists() else {}
    return Counter(counts), os.waitstatus_to_exitcode(status), used.ru_maxrss / 1024


def _tried(name: str, inputs: int) -> Counter[str]:
    from fuzzing import TARGETS, fed

    counts: Counter[str] = Counter()
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    @settings(
        max_examples=inputs + inputs // 10,  # it may run out of new ones
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(TARGETS[name].inputs)
    def tried(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                counts["accepted" if fed(TARGETS[name], data, Path(folder)) else "refused"] += 1
            except Exception as error:  # noqa: BLE001 - counted, and named in the end
                counts[f"{name}: {type(error).__name__}: {str(error)[:200]}"] += 1

    tried()
    return counts


def stranger(folder: Path) -> Row:
    """Another user asks the scheduler and the worker of ``--dask local`` who they are."""
    from distributed import Client, LocalCluster
    from sweep_stranger import NOBODY, REFUSED, asked_by_a_stranger

    from tomoatlas.sweep.executors.dask import connected

    users: set[str] = set()

    def asked(address: str, certificates: str) -> bool:
        done = asked_by_a_stranger(address, certificates)
        users.add(done.stdout.split()[0])
        return done.returncode == REFUSED

    refused = ways = 0
    with connected("local", 1) as client:
        doors = [client.scheduler.address, *client.scheduler_info()["workers"]]
        for address in doors * TIMES:
            plain = address.replace("tls", "tcp")
            ways += 2
            refused += asked(address, "own") + asked(plain, "none")
        works = client.submit(sum, [1, 2]).result() == 3
    with LocalCluster(n_workers=1, dashboard_address=None) as cluster, Client(cluster):
        let_in = not asked(cluster.scheduler_address, "none")
    other = users == {str(NOBODY)}
    return Row(
        "another user at the ports of `--dask local`",
        f"{ways} calls by user {', '.join(users)}, without and with certificates of its own",
        f"{refused} refused, the run {'went on' if works else 'did not go on'}; without TLS the "
        f"same call is {'answered' if let_in else 'refused'}",
        refused == ways and works and let_in and other,
    )


ROWS: Rows = {"fuzzed": fuzzed, "stranger": stranger}

if __name__ == "__main__":
    sys.exit(main(ROWS))
