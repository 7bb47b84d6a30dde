from __future__ import annotations

import errno
import os
import subprocess
import sys

import click
import pytest

from tomoatlas.jobs import cli
from tomoatlas.jobs.cli import main
from tomoatlas.recon_core.errors import BadInput, Trouble

COMMANDS = ["check", "run", "status", "report", "recommend", "script", "sites"]
COMMANDS += ["phantom", "simulate", "reconstruct", "evaluate"]


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one line on stderr of a refused command."""
    assert main([str(a) for a in argv]) == 2
    out, err = capsys.readouterr()
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    return err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert f"tomoatlas {command}" in out
    assert "--quiet" in out
    assert err == ""


def test_without_command_the_help(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {command} " in out for command in COMMANDS)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from tomoatlas.jobs.cli import main; main(['run', '--help']);"
        "heavy = {'numpy', 'pandas', 'matplotlib', 'numba', 'skopt', 'pydantic', 'h5py', 'mpi4py'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nonsense"], "No such command"),
        (["run"], "Missing argument 'STUDY'"),
        (["run", "quickstart"], "Missing option '--out'"),
        (["run", "quickstart", "--out", "x", "--workers", "0"], "0 is not in the range"),
        (["run", "quickstart", "--out", "x", "--workers", "two"], "not a valid integer"),
        (["run", "quickstart", "--out", "x", "--device", "tpu"], "'tpu' is not one of"),
        (["run", "quickstart", "--out", "x", "--nope"], "No such option"),
        (
            ["run", "quickstart", "--out", "x", "--device", "cuda"],
            "accepted: an NVIDIA GPU, or --device cpu",
        ),
        (["run", "quickstart", "--out", "x", "--workers", "999"], "workers = 999: more workers"),
        (["run", "quickstart", "--out", "x", "--walltime", "1:30"], "accepted: HH:MM:SS"),
        (["check", "quickstart", "--site", "frontir"], "did you mean frontier?"),
        (["script", "quickstart"], "Missing option '--site'"),
        (["script", "quickstart", "--site", "frontier"], "--walltime: missing"),
        (["check", "quickstrat"], "quickstart"),
        (["check", "a", "b"], "unexpected extra argument"),
        (["status", "nowhere"], "nowhere: no such file or folder"),
        (["report", "nowhere"], "no study was run here"),
        (["recommend", "no.csv", "--haadf-tilts", "9", "--chemical-tilts", "5"], "no such file"),
        (["phantom", "cheese", "--size", "16", "--out", "x.h5"], "nanocubes"),
        (["phantom", "nanocubes", "--size", "0", "--out", "x.h5"], "size"),
        (["phantom", "nanocubes", "--size", "16", "--out", "no/x.h5"], "no such folder"),
        (["phantom", "nanocubes", "--size", "16", "--seed", "-1", "--out", "x.h5"], "seed"),
        (["reconstruct", "no.h5", "--out", "x.h5"], "no.h5"),
        (["reconstruct", "no.h5", "--out", "x.h5", "--method", "ml-stopped"], "not one of"),
        (["evaluate", "no.h5", "no.h5"], "no.h5"),
    ],
)
def test_bad_input_is_one_line_and_code_2(argv, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BadInput("two\nlines", key="k", value=1), 2, "k = 1: two lines"),
        (click.Abort(), 130, "interrupted"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "/dir/file"), 2, "/dir/file: Permission denied"),
        (OSError("no such format"), 2, "input or output: no such format"),
        (OSError(errno.EIO, "Input/output error", "/dir/file"), 5, "/dir/file: Input/output error"),
        (OSError(errno.ENOSPC, "No space left"), 5, "input or output: No space left"),
        (Trouble("no process starts"), 5, "no process starts"),
        (click.ClickException("odd"), 2, "odd"),
    ],
)
def test_what_becomes_of_errors(error, code, line, capsys, monkeypatch):
    def fail(context):
        raise error

    monkeypatch.setattr(cli.status, "invoke", fail)
    assert main(["status", "x"]) == code
    assert capsys.readouterr().err.strip() == line


def test_only_the_first_rank_speaks(capsys, monkeypatch):
    monkeypatch.setenv("PMI_RANK", "1")
    assert main(["nonsense"]) == 2
    assert capsys.readouterr().err == ""


def test_a_command_that_leaves_by_itself_is_no_success(monkeypatch):
    def leave(context):
        raise SystemExit(7)

    monkeypatch.setattr(cli.status, "invoke", leave)
    with pytest.raises(RuntimeError, match="7"):
        main(["status", "x"])


def test_a_reader_that_left_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "tomoatlas", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 0
