from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tomoatlas.jobs import cli
from tomoatlas.jobs.cli import main
from tomoatlas.jobs.commands.examples import EXAMPLES
from tomoatlas.recon_core.errors import BadInput, Trouble

COMMANDS = ["check", "run", "status", "report", "recommend", "script", "sites"]
COMMANDS += ["phantom", "simulate", "reconstruct", "evaluate"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert f"tomoatlas {command}" in out
    assert "--quiet" in out
    assert err == ""


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples_are_of_options_that_there_are(command):
    """Click reads them; what they name need not exist."""
    options = {name for param in cli.cli.commands[command].params for name in param.opts}
    for example in EXAMPLES[command]:
        first, *words = example.partition(" > ")[0].split()
        assert first == command
        assert {word for word in words if word.startswith("--")} <= options


def test_every_command_has_examples():
    assert set(EXAMPLES) == set(cli.cli.commands)


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


RUN = ["run", "quickstart", "--out", "x"]
PHANTOM = ["phantom", "nanocubes", "--out", "x.h5"]


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["nonsense"], "nonsense"),
        (["run"], "STUDY"),
        (["run", "quickstart"], "--out"),
        ([*RUN, "--workers", "0"], "--workers"),
        ([*RUN, "--workers", "two"], "--workers"),
        ([*RUN, "--device", "tpu"], "--device"),
        ([*RUN, "--nope"], "--nope"),
        ([*RUN, "--device", "cuda"], ("--device", "cuda")),
        ([*RUN, "--workers", "999"], ("workers", 999)),
        ([*RUN, "--walltime", "1:30"], ("--walltime", "1:30")),
        (["check", "quickstart", "--site", "frontir"], ("--site", "frontir")),
        (["script", "quickstart"], "--site"),
        (["script", "quickstart", "--site", "frontier"], "--walltime"),
        (["check", "quickstrat"], Path("quickstrat")),
        (["check", "a", "b"], None),
        (["status", "nowhere"], Path("nowhere")),
        (["report", "nowhere"], Path("nowhere")),
        (["recommend", "no.csv", "--haadf-tilts", "9", "--chemical-tilts", "5"], Path("no.csv")),
        (["phantom", "cheese", "--size", "16", "--out", "x.h5"], ("specimen.kind", "cheese")),
        ([*PHANTOM, "--size", "0"], ("specimen.size", 0)),
        ([*PHANTOM[:-1], "no/x.h5", "--size", "16"], Path("no")),
        ([*PHANTOM, "--size", "16", "--seed", "-1"], ("specimen.seed", -1)),
        (["reconstruct", "no.h5", "--out", "x.h5"], Path("no.h5")),
        (["reconstruct", "no.h5", "--out", "x.h5", "--method", "ml-stopped"], "--method"),
        (["evaluate", "no.h5", "no.h5"], Path("no.h5")),
    ],
)
def test_bad_input_is_one_line_and_code_2(argv, named, refusal, tmp_path, monkeypatch):
    """Named by its key, with its value where our own checks refuse it, or by its file."""
    monkeypatch.chdir(tmp_path)
    error = refusal(*argv)
    if isinstance(named, Path):
        assert (Path(error.source), error.key) == (named, None)
        assert error.accepted
    elif isinstance(named, tuple):
        assert (error.key, error.value) == named
        assert error.accepted
    else:
        assert error.key == named
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "nearest"),
    [
        (["check", "quickstart", "--site", "frontir"], "frontier"),
        (["check", "quickstrat"], "quickstart"),
        (["figure", "serch", "."], "search"),
        (["phantom", "nanocube", "--size", "16", "--out", "x.h5"], "nanocubes"),
    ],
)
def test_a_name_that_is_nearly_right_comes_with_the_right_one(argv, nearest, refusal):
    assert nearest in str(refusal(*argv))


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
