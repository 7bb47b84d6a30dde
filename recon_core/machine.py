"""What this machine offers: names of devices, cores, and free memory.

Pure Python: ``--help`` must not wait for NumPy. A container, a batch job or a systemd slice may
allow much less than the machine has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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


def _of_machine(root: Path) -> int:
    known = _numbers(root / "proc/meminfo")
    if "MemAvailable:" in known:
        # kB; what the kernel could free counts as available
        return 1024 * known["MemAvailable:"]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups(root: Path) -> Iterator[int]:
    """Yield what each control group of this process, and each one above it, has left."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        version = 2 if not controllers else 1
        if version == 1 and "memory" not in controllers.split(","):
            continue
        top = root / GROUPS / ("memory" if version == 1 else "")
        # inside a container the path may be that of the host: its own group is the top then
        inner = (Path(path.strip("/")), *Path(path.strip("/")).parents)
        for group in dict.fromkeys([*(top / part for part in inner), top]):
            yield from _left(group, *NAMES[version])


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
