"""Cores and memory, of machines and control groups written as files, and without Linux."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tomoatlas.recon_core.machine import (
    allowed_cores,
    available_bytes,
    core_quota,
    resident_bytes,
    usable_cores,
)

GIB = 2**30


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """8 GiB free, no control group that limits."""
    write(tmp_path, "proc/meminfo", f"MemTotal: 99999999 kB\nMemAvailable: {8 * 2**20} kB\n")
    return tmp_path


def test_without_groups_it_is_the_machines(machine: Path) -> None:
    assert available_bytes(machine) == 8 * GIB


@pytest.mark.parametrize("group", ["", "job", "slurm/job_7/step_0"])
def test_a_limit_of_the_second_version(machine: Path, group: str) -> None:
    write(machine, "proc/self/cgroup", f"0::/{group}\n")
    here = f"sys/fs/cgroup/{group}".rstrip("/")
    write(machine, f"{here}/memory.max", f"{4 * GIB}\n")
    write(machine, f"{here}/memory.current", f"{3 * GIB}\n")
    assert available_bytes(machine) == GIB
    write(machine, f"{here}/memory.stat", f"anon 7\ninactive_file {GIB // 2}\n")
    assert available_bytes(machine) == 3 * GIB // 2
    write(machine, f"{here}/memory.max", "max\n")
    assert available_bytes(machine) == 8 * GIB


def test_the_limit_of_a_group_around_it_counts(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/batch/job\n")
    for group, limit in (("batch", 2 * GIB), ("batch/job", 3 * GIB)):
        write(machine, f"sys/fs/cgroup/{group}/memory.max", f"{limit}")
        write(machine, f"sys/fs/cgroup/{group}/memory.current", "0")
    assert available_bytes(machine) == 2 * GIB


@pytest.mark.parametrize("group", ["box", "."])
def test_a_limit_of_the_first_version(machine: Path, group: str) -> None:
    """In a container the group's name may be that of the host, and its files lie at the top."""
    write(machine, "proc/self/cgroup", "5:cpu,cpuacct:/box\n4:memory:/box\n0::/\n")
    here = f"sys/fs/cgroup/memory/{group}"
    write(machine, f"{here}/memory.limit_in_bytes", f"{4 * GIB}\n")
    write(machine, f"{here}/memory.usage_in_bytes", f"{5 * GIB}\n")
    assert available_bytes(machine) == 0
    write(machine, f"{here}/memory.stat", f"inactive_file 1\ntotal_inactive_file {2 * GIB}\n")
    assert available_bytes(machine) == GIB


def test_this_machine() -> None:
    assert 0 < available_bytes() < 2**50


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("200000 100000", 2),
        ("150000 100000", 1),  # half a core would stop one of two threads half of the time
        ("50000 100000", 1),
        ("max 100000", 8),
        ("1600000 100000", 8),
        ("", 8),
        ("200000 0", 8),
    ],
)
@pytest.mark.parametrize("group", ["", "pod/box"])
def test_a_quota_of_the_second_version(machine: Path, group: str, quota: str, cores: int) -> None:
    write(machine, "proc/self/cgroup", f"0::/{group}\n")
    write(machine, f"sys/fs/cgroup/{group}/cpu.max", f"{quota}\n")
    assert usable_cores(machine) == cores


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 8), ("20000", 1)])
@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct", "cpu/box"])
def test_a_quota_of_the_first_version(machine: Path, folder: str, quota: str, cores: int) -> None:
    write(machine, "proc/self/cgroup", "5:cpu,cpuacct:/box\n4:memory:/box\n0::/\n")
    write(machine, f"sys/fs/cgroup/{folder}/cpu.cfs_quota_us", f"{quota}\n")
    write(machine, f"sys/fs/cgroup/{folder}/cpu.cfs_period_us", "100000\n")
    assert usable_cores(machine) == cores


@pytest.mark.usefixtures("eight_cores")
def test_the_quota_of_a_group_around_it_counts(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/batch/job\n")
    write(machine, "sys/fs/cgroup/batch/cpu.max", "400000 100000")
    write(machine, "sys/fs/cgroup/batch/job/cpu.max", "max 100000")
    assert core_quota(machine) == usable_cores(machine) == 4


@pytest.fixture
def macos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither affinity nor /proc; six cores."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    return tmp_path


def test_without_an_affinity_all_cores_are_allowed(macos: Path) -> None:
    assert allowed_cores() == frozenset(range(6))
    assert usable_cores(macos) == 6
    assert core_quota(macos) is None


def test_without_proc_memory_is_what_the_machine_has(
    macos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"SC_PHYS_PAGES": 2**20, "SC_PAGE_SIZE": 2**14}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert available_bytes(macos) == 16 * GIB

    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert available_bytes(macos) >= 2**62


def test_resident_memory_with_and_without_proc(macos: Path) -> None:
    program = "held = bytearray(2**26); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        while resident_bytes(process.pid, macos) < 2**26:
            assert process.poll() is None
        assert resident_bytes(process.pid) >= 2**26
        assert resident_bytes(process.pid, macos) < 2**28
        process.communicate(b"\n")
    assert resident_bytes(process.pid, macos) == resident_bytes(process.pid) == 0


def test_this_machines_cores() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
