"""The command where Linux's calls are missing, within a container's quota, and on Windows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tomoatlas.jobs import cli
from tomoatlas.jobs.cli import main
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.record.journal import Journal, parsed

AS_ON_MACOS = """
import builtins, errno, fcntl, io, os

for module, names in {
    os: "sched_getaffinity sched_setaffinity pidfd_open posix_fadvise getrandom memfd_create",
    fcntl: "F_SETSIG F_GETSIG F_SETPIPE_SZ F_ADD_SEALS",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

opened = io.open


def without_proc(path, *args, **more):
    # threadpoolctl reads its own libraries there because sys.platform still says Linux
    if str(path).startswith(("/proc", "/sys")) and path != "/proc/self/maps":
        raise FileNotFoundError(errno.ENOENT, "no such file", path)
    return opened(path, *args, **more)


builtins.open = io.open = without_proc
"""
"""Imported by every Python that starts, children included."""


@pytest.fixture
def macos(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds none of Linux's calls."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(AS_ON_MACOS)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def command(study: Path, out: Path) -> list[str]:
    run = [sys.executable, "-m", "tomoatlas", "run", str(study), "--out", str(out)]
    return [*run, "--device", "cpu", "--workers", "1"]


def test_a_study_runs_without_the_calls_of_linux(
    study_file: Path, tmp_path: Path, macos: dict[str, str]
) -> None:
    limits = "retries = 0\ntrial_memory_gb = 64"
    study_file.write_text(study_file.read_text().replace("retries = 0", limits))
    out = tmp_path / "out"
    done = subprocess.run(
        command(study_file, out), env=macos, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    records = map(parsed, (out / "trials.jsonl").read_bytes().splitlines())
    assert {record["status"] for record in records} == {"ok"}
    assert (out / "report" / "index.html").is_file()


def running(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(shown.stdout.strip()) and not shown.stdout.startswith("Z")


def test_a_child_ends_with_its_parent_without_the_kernels_help(
    study_file: Path, tmp_path: Path, macos: dict[str, str]
) -> None:
    text = study_file.read_text().replace("size = 16", "size = 64")
    study_file.write_text(text.replace("max_iterations = 20", "max_iterations = 100000"))
    with subprocess.Popen(command(study_file, tmp_path / "out"), env=macos) as process:
        until = time.monotonic() + 600
        while not (children := children_of(process.pid)):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    while any(map(running, children)):
        assert time.monotonic() < until
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    shown = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True
    )
    rows = (line.split(maxsplit=2) for line in shown.stdout.splitlines())
    return [int(own) for own, parent, args in rows if parent == str(pid) and "serve" in args]


def test_windows_is_one_line(
    study_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(["check", str(study_file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "WSL" in line


WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('fcntl', 'resource', 'pwd', 'grp')))\n"


@pytest.mark.parametrize(
    "module", ["", "phantoms.kinds", "recon_core.solver", "sweep.record.journal", "jobs.cli"]
)
def test_modules_load_without_those_of_unix(module: str) -> None:
    name = f"tomoatlas.{module}".rstrip(".")
    subprocess.run([sys.executable, "-W", "error", "-c", f"{WITHOUT}import {name}"], check=True)


def test_a_journal_without_locks_of_unix_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(BadInput) as refused, Journal(tmp_path / "trials.jsonl"):
        pass
    assert "WSL" in str(refused.value.accepted)


@pytest.mark.parametrize(("quota", "expected"), [(2, "3"), (None, None)])
def test_numba_keeps_to_the_quota(
    quota: int | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "core_quota", lambda: quota)
    monkeypatch.setattr(cli, "usable_cores", lambda: 3)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    # A copy: numba refuses to go on in a process whose variable has changed.
    plain = {name: v for name, v in os.environ.items() if name != "NUMBA_NUM_THREADS"}
    monkeypatch.setattr(os, "environ", {**plain, "NUMBA_NUM_THREADS": "7"})
    main(["--version"])
    assert os.environ["NUMBA_NUM_THREADS"] == "7"
    monkeypatch.setattr(os, "environ", plain)
    main(["--version"])
    assert plain.get("NUMBA_NUM_THREADS") == expected


@pytest.mark.parametrize("threads", ["4,2", "", "auto"])
def test_omp_num_threads_may_be_a_list(threads: str, tmp_path: Path) -> None:
    out = tmp_path / "found.h5"
    words = ["reconstruct", str(tmp_path / "tilts.h5"), "--out", str(out), "--max-iterations", "1"]
    cubes = ["phantom", "nanocubes", "--size", "8", "--out", str(tmp_path / "cubes.h5")]
    tilts = ["simulate", str(tmp_path / "cubes.h5"), "--haadf-tilts", "5", "--chemical-tilts", "3"]
    assert main(cubes) == main([*tilts, "--out", str(tmp_path / "tilts.h5")]) == 0
    variables = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-m", "tomoatlas", *words],
        env={**variables, "OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
