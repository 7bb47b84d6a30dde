"""What this machine offers: names of devices, cores, and free memory.

Pure Python: ``--help`` must not wait for NumPy. A container, a batch job or a systemd slice may
allow much less than the machine has.
"""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

DeviceName = Literal["auto", "cpu", "cuda", "cuda-half"]
DEVICES: tuple[DeviceName, ...] = get_args(DeviceName)


ROOT = Path("/")
GROUPS = "sys/fs/cgroup"
NAMES = {  # limit, use: of the first and of the second version of control groups
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


QUOTAS = {1: ("cpu.cfs_quota_us", "cpu.cfs_period_us"), 2: ("cpu.max",)}
"""Files that hold the processor time granted to a control group and its period, microseconds."""


def usable_cores(root: Path = ROOT) -> int:
    """Count the cores this process may keep busy: its affinity, within a container's quota.

    Parameters
    ----------
    root : root of the file system, where ``proc`` and ``sys`` are; tests plant one of their own.

    Returns
    -------
    int : at least 1.
    """
    return max(1, min([len(allowed_cores()), *_quotas(root)]))


def cpu_name(root: Path = ROOT) -> str:
    """Return the name of the processor; that of its architecture where the system has no other.

    Parameters
    ----------
    root : root of the file system, where ``proc`` is.
    """
    named = (line.partition(":") for line in _lines(root / "proc/cpuinfo"))
    found = next((text for key, _, text in named if key.strip() == "model name"), "")
    return " ".join(found.split()) or platform.processor() or platform.machine()


def allowed_cores() -> frozenset[int]:
    """Return the cores this process may run on; all of them if the system has no affinity."""
    if hasattr(os, "sched_getaffinity"):  # macOS has none
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def core_quota(root: Path = ROOT) -> int | None:
    """Return the whole cores of processor time that the control groups allow.

    The fraction of a core is left idle: a loop waits for its slowest thread, which such a quota
    would stop.

    Parameters
    ----------
    root : root of the file system, where ``proc`` and ``sys`` are.

    Returns
    -------
    int or None : at least 1; None if unlimited.
    """
    return min(_quotas(root), default=None)


def available_bytes(root: Path = ROOT) -> int:
    """Return the memory available for further arrays.

    Parameters
    ----------
    root : root of the file system; tests plant one of their own.

    Returns
    -------
    int : bytes; all of the machine's memory where the kernel reports no more.
    """
    return max(0, min([_of_machine(root), *_of_groups(root)]))


def resident_bytes(pid: int, root: Path = ROOT) -> int:
    """Return the resident memory of a process, for a limit on it.

    A limit on address space would not do: CUDA and numba reserve far more than they use.

    Parameters
    ----------
    pid : of the process.
    root : root of the file system, where ``proc`` is.

    Returns
    -------
    int : bytes; 0 if the process is gone.
    """
    if _lines(root / "proc/self/statm"):
        words = " ".join(_lines(root / f"proc/{pid}/statm")).split()
        return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0
    command = ["ps", "-o", "rss=", "-p", str(pid)]  # POSIX, in units of 1024 bytes
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return 0
    return 1024 * int(shown) if shown.isdecimal() else 0


def _of_machine(root: Path) -> int:
    known = _numbers(root / "proc/meminfo")
    if "MemAvailable:" in known:
        # kB; what the kernel could free counts as available
        return 1024 * known["MemAvailable:"]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system has these names
        return sys.maxsize


def _of_groups(root: Path) -> Iterator[int]:
    """Yield what each control group of this process, and each one above it, has left."""
    for version, group in _groups(root, "memory"):
        yield from _left(group, *NAMES[version])


def _quotas(root: Path) -> Iterator[int]:
    """Yield the whole cores that each control group of this process, or above it, allows."""
    for version, group in _groups(root, "cpu"):
        words = " ".join(" ".join(_lines(group / name)) for name in QUOTAS[version]).split()
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            yield max(1, int(words[0]) // int(words[1]))  # unlimited is "max", or -1


def _groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Yield version and folder of the control groups that may limit ``controller``."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        version = 2 if not controllers else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        tops = ("",) if version == 2 else (controller, controllers)
        # inside a container the path may be that of the host: its own group is the top then
        inner = (Path(path.strip("/")), *Path(path.strip("/")).parents)
        for top in (root / GROUPS / name for name in dict.fromkeys(tops)):
            for group in dict.fromkeys([*(top / part for part in inner), top]):
                yield version, group


def _left(group: Path, limit: str, use: str, cache: str) -> Iterator[int]:
    """Yield the limit less the use, file cache not counted: it is given up first."""
    allowed, used = (" ".join(_lines(group / name)) for name in (limit, use))
    if allowed.isdecimal() and used.isdecimal():
        yield int(allowed) - int(used) + _numbers(group / "memory.stat").get(cache, 0)


def _numbers(path: Path) -> dict[str, int]:
    """Map the first word of each line to the second."""
    words = (line.split() for line in _lines(path))
    return {w[0]: int(w[1]) for w in words if len(w) > 1 and w[1].isdecimal()}


def _lines(path: Path) -> list[str]:
    """Read the lines of a kernel file; none if it is missing or not readable."""
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for cycles meanwhile: among 100,000 records or cells, which hold none, it takes as
    long as the work itself.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
