from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoatlas.jobs import run as running
from tomoatlas.jobs.batch import for_trials, parse_walltime, seconds_left, walltime_text
from tomoatlas.jobs.cli import main
from tomoatlas.jobs.exits import DRAIN, SignalHandler, handling_signals
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.run import Deadline
from tomoatlas.sweep.run.scheduler import Summary
from tomoatlas.sweep.study import Study


@given(st.integers(1, 10**7))
def test_walltimes_are_read_as_they_are_written(seconds: int) -> None:
    assert parse_walltime(walltime_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1d", 86400), ("1d12h", 129600), ("1 H 30 min", 5400)],
)
def test_units_do_as_well(text: str, seconds: int) -> None:
    assert parse_walltime(text) == seconds


def test_days_count() -> None:
    assert parse_walltime("2-03:04:05") == 2 * 86400 + 3 * 3600 + 4 * 60 + 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3600",
        "1:30",
        "00:00:00",
        "01:60:00",
        "01:00:61",
        "-1:00:00",
        "0h",
        "1:00:00:00",
        "h",
        "2x",
        "30m1h",
    ],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_walltime(text)
    assert (caught.value.key, caught.value.value) == ("--walltime", text)


def test_a_part_is_kept_for_atlas_and_report() -> None:
    assert for_trials(7200) == 7200 - 60
    assert for_trials(100) == pytest.approx(95)


def pbs(**job: object) -> str:
    return json.dumps({"Jobs": {"12.host": job}})


HOUR = {"walltime": "01:00:00"}


@pytest.mark.parametrize(
    ("environment", "answer", "left"),
    [
        ({}, None, None),
        ({"SLURM_JOB_END_TIME": "1300"}, None, 300.0),
        ({"SLURM_JOB_END_TIME": "soon"}, None, None),
        ({"SLURM_JOB_END_TIME": "999"}, None, None),  # a shell that has outlived its job
        ({"PBS_JOBID": "12.host"}, pbs(Resource_List=HOUR), 3600.0),
        (
            {"PBS_JOBID": "12.host"},
            pbs(Resource_List=HOUR, resources_used={"walltime": "00:10:30"}),
            2970.0,
        ),
        ({"PBS_JOBID": "12.host"}, None, None),
        ({"PBS_JOBID": "12.host"}, "no such job", None),
        ({"PBS_JOBID": "12.host"}, pbs(Resource_List={}), None),
        ({"LSB_JOBID": "12"}, "1:59 L\n", 7140.0),
        ({"LSB_JOBID": "12"}, "1:59 E\n", None),
        ({"LSB_JOBID": "12"}, None, None),
    ],
)
def test_the_scheduler_says_what_is_left(
    environment: dict[str, str], answer: str | None, left: float | None
) -> None:
    assert seconds_left(environment, lambda: 1000.0, lambda command: answer) == left


def test_a_scheduler_that_does_not_answer_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seconds_left({"PBS_JOBID": "1", "PATH": "/nowhere"}) is None
    qstat = tmp_path / "qstat"
    qstat.write_text("#!/bin/sh\nexit 35\n")
    qstat.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert seconds_left({"PBS_JOBID": "1"}) is None


def test_the_shorter_of_scheduler_and_option_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "seconds_left", lambda: 1000.0)
    assert running.deadline_of(None).left == pytest.approx(950.0, abs=20.0)
    assert running.deadline_of(500.0).left == pytest.approx(475.0, abs=20.0)
    monkeypatch.setattr(running, "seconds_left", lambda: None)
    assert running.deadline_of(None).endless


@pytest.mark.parametrize("number", DRAIN)
def test_the_first_signal_drains_the_second_ends_and_a_third_is_not_heard(
    number: signal.Signals,
) -> None:
    ears, before = SignalHandler(), signal.getsignal(number)
    with handling_signals(ears):
        watch = ears.attach(Deadline())
        assert not watch.draining
        signal.raise_signal(number)
        assert watch.draining
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        for again in (number, signal.SIGINT):
            signal.raise_signal(again)
    assert signal.getsignal(number) == before


def test_ctrl_c_ends_once_and_what_is_cleared_away_then_is_not_disturbed() -> None:
    with handling_signals(SignalHandler()):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_a_signal_before_the_run_is_not_forgotten() -> None:
    ears = SignalHandler()
    with handling_signals(ears):
        signal.raise_signal(signal.SIGUSR1)
    assert ears.attach(Deadline()).draining


def test_the_other_ranks_hear_nothing_until_they_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMI_RANK", "1")
    ears, heard = SignalHandler(), (*DRAIN, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in heard}
    try:
        with handling_signals(ears):
            for number in (*DRAIN, *heard):
                signal.raise_signal(number)
        assert {signal.getsignal(number) for number in heard} == {signal.SIG_IGN}
    finally:
        for number, old in before.items():
            signal.signal(number, old)
    assert not ears.draining


def test_a_finished_study_is_reported_whatever_is_asked_but_ctrl_c_leaves() -> None:
    ears = SignalHandler()
    with handling_signals(ears):
        ears.attach(Deadline()).close()
        for number in (*DRAIN, *DRAIN):
            signal.raise_signal(number)
        assert not ears.draining
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_drained_run_writes_its_report_whatever_is_asked(
    study_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(study: Study, out: Path, executor: object, *args: object) -> Summary:
        watch = args[2]
        assert isinstance(watch, Deadline)
        signal.raise_signal(signal.SIGTERM)
        watch.close()
        return Summary(4, 2, 0, 0, drained=True)

    def disturbed(out: Path, cells: object, on_cell: object) -> SimpleNamespace:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.raise_signal(number)
        return SimpleNamespace(index=out)

    monkeypatch.setattr(running.driver, "run", ends)
    monkeypatch.setattr(running, "write_report", disturbed)
    assert main(["run", str(study_file), "--out", str(folder), "--workers", "1", "-q"]) == 4


@pytest.mark.parametrize(("asked", "code"), [((), 130), ((signal.SIGTERM,), 4)])
def test_an_end_before_anything_ran_has_its_code(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    asked: tuple[signal.Signals, ...], code: int,
) -> None:  # fmt: skip
    def interrupted(*args: object) -> None:
        for number in asked:
            signal.raise_signal(number)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "load_study", interrupted)
    assert main(["run", str(study_file), "--out", str(tmp_path / "out"), "-q"]) == code


@pytest.mark.parametrize(
    ("summary", "signalled", "code", "said"),
    [
        (Summary(4, 2, 0, 0, drained=True), False, 4, "time is up: 2 of 4 trials are kept"),
        (Summary(4, 2, 0, 0, drained=True), True, 4, "drained: 2 of 4 trials are kept"),
        (Summary(4, 2, 0, 0, interrupted=True), True, 4, "stopped: 2 of 4 trials are kept"),
        (Summary(4, 2, 0, 0, interrupted=True), False, 130, "interrupted: 2 of 4"),
        (Summary(4, 4, 0, 0), True, 0, ""),
    ],
)
def test_exit_codes_of_runs_that_end_early(
    summary: Summary, signalled: bool, code: int, said: str, study_file: Path, folder: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def ends(*args: object) -> Summary:
        if signalled:
            signal.raise_signal(signal.SIGTERM)
        return summary

    monkeypatch.setattr(running.driver, "run", ends)
    assert main(["run", str(study_file), "--out", str(folder), "--workers", "1", "-q"]) == code
    assert capsys.readouterr().err.startswith(said)


def test_sigterm_lets_the_trial_end_and_writes_the_atlas(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    study_file.write_text(study_file.read_text().replace("= 16", "= 24").replace("= 20", "= 200"))
    argv = [sys.executable, "-m", "tomoatlas", "run", str(study_file), "--out", str(out)]
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [*argv, "--workers", "1", "--no-slices", "-q"], cwd=root,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    journal = out / "trials.jsonl"
    while not (journal.exists() and journal.read_bytes()):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 4
    assert said.startswith("drained: ")
    assert 1 <= journal.read_bytes().count(b"\n") < 10
    assert (out / "atlas.csv").is_file()
