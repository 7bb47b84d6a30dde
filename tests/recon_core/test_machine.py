"""The memory that is left, of machines and control groups written as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tomoatlas.recon_core.machine import available_bytes

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
