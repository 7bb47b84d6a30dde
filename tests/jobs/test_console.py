from __future__ import annotations

import io
import os
from contextlib import contextmanager
from types import SimpleNamespace

import pandas as pd
import pytest
from rich.console import Console

from tomoatlas.analysis.atlas import Atlas
from tomoatlas.jobs import run as running
from tomoatlas.jobs import terminal as console
from tomoatlas.jobs.cli import main
from tomoatlas.jobs.terminal import Bar, Lines, SafeDisplay, Silent, display
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.study.trial import Cell, Trial, TrialResult, TrialStatus

TRIAL = Trial(Cell(0), Method.FUSED, 0, Weights(0.1, 1.0), "id")
GOOD = TrialResult(TrialStatus.OK, nrmse=0.5)
BAD = TrialResult(TrialStatus.TIMEOUT)


def test_a_line_every_ten_seconds_and_one_at_the_end(capsys):
    now = [0.0]
    lines = Lines(clock=lambda: now[0])
    lines.start(2, 27)
    now[0] = 30.0  # until the first one, which is the rate of none
    for i in range(25):
        now[0] += 1.0
        lines.result(TRIAL, BAD if i == 3 else GOOD)
    lines.stop()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "27 trials, 2 from earlier runs"
    assert said[1] == "3/27 trials; last: fused NRMSE 0.500"
    assert said[2] == "13/27 trials, 1 failed, about 14 s left; last: fused NRMSE 0.500"
    assert [line.split()[0] for line in said[2:]] == ["13/27", "23/27", "27/27"]
    assert "1 failed" in said[-1]
    assert "in 55 s" in said[-1]


def test_a_failure_is_named(capsys):
    lines = Lines(clock=lambda: 0.0)
    lines.start(0, 1)
    lines.result(TRIAL, BAD)
    assert capsys.readouterr().out.splitlines()[-1].endswith("last: fused timeout")


def test_no_time_is_left_of_trials_that_nobody_expected(capsys):
    now = [0.0]
    lines = Lines(clock=lambda: now[0])
    lines.start(0, 2)
    for _ in range(4):
        now[0] += 11.0
        lines.result(TRIAL, GOOD)
    said = [line.split(";")[0] for line in capsys.readouterr().out.splitlines()]
    assert said[-2:] == ["3 trials, 1 more than expected", "4 trials, 2 more than expected"]


def test_the_bar_grows_with_trials_that_nobody_expected(capsys):
    bar = Bar()
    bar.start(0, 1)
    bar.result(TRIAL, GOOD)
    bar.result(TRIAL, GOOD)
    bar.stop()
    out = capsys.readouterr().out
    assert "2 trials, 1 more than expected" in out
    assert "2/2" not in out


@pytest.mark.parametrize("kind", [Bar, Lines])
def test_a_total_that_is_an_estimate_is_called_one(kind, capsys):
    shown = kind(estimated=True)
    shown.start(0, 33)
    shown.result(TRIAL, GOOD)
    shown.stop()
    assert "1 of about 33 trials" in capsys.readouterr().out


def test_the_bar_counts(capsys):
    bar = Bar()
    bar.start(1, 3)
    bar.result(TRIAL, GOOD)
    bar.result(TRIAL, BAD)
    bar.stop()
    out = capsys.readouterr().out
    assert "3/3" in out
    assert "1 failed" in out


@pytest.mark.parametrize(("terminal", "kind"), [(True, Bar), (False, Lines)])
def test_display_fits_the_output(terminal, kind, monkeypatch):
    monkeypatch.setattr(console, "Console", lambda: Console(force_terminal=terminal))
    shown = display(quiet=False)
    assert isinstance(shown, SafeDisplay)
    assert isinstance(shown.shown, kind)
    assert isinstance(display(quiet=True), Silent)


class Broken(Silent):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def start(self, done: int, total: int) -> None:
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "EIO"), SystemExit(1)])
def test_a_display_that_nobody_sees_does_not_end_the_run(error, monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    SafeDisplay(Broken(error)).start(0, 1)


def test_faults_of_the_program_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        SafeDisplay(Broken(ZeroDivisionError())).start(0, 1)


def test_a_run_whose_reader_left_goes_on_to_its_end(study_file, tmp_path, monkeypatch, capsys):
    @contextmanager
    def inline(*args):
        yield InlineExecutor(lambda *_: GOOD)

    monkeypatch.setattr(running, "executor_of", inline)
    written = SimpleNamespace(index="index.html", atlas=Atlas(pd.DataFrame({"nrmse": []}), ()))
    monkeypatch.setattr(running, "write_report", lambda *_: written)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as left:
        monkeypatch.setattr("sys.stdout", left)
        assert main(["run", str(study_file), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "trials.jsonl").read_bytes().count(b"\n") == 10
    assert capsys.readouterr().err == ""
