"""The driver of a first contact with a GPU, tried without one."""

from __future__ import annotations

import json
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import first_contact
import numpy as np
import pytest
from first_contact import Step, main, run_all, same_study, steps
from host_launcher import needs_compiler

from tomoatlas.recon_core.device import CPU

OK, BAD, ENDLESS = (
    (sys.executable, "-c", code)
    for code in ("print('fine')", "raise SystemExit(3)", "import time; time.sleep(60)")
)


@needs_compiler
def test_the_emulation_gives_what_the_cpu_does_and_a_batch_its_trials(capsys) -> None:
    assert first_contact.equality(first_contact.emulation()) == 0
    shown = capsys.readouterr().out
    assert shown.count("| same |") == 6
    assert "DIFFERENT" not in shown


def test_a_device_that_computes_something_else_is_found(monkeypatch, capsys) -> None:
    def biased(series, *args, device):
        off = 1.0 if device is CPU else 1.001
        volumes = np.ones((4, 8, 8, 8), np.float32)
        return SimpleNamespace(history=SimpleNamespace(objective=[off, 2.0]), volumes=volumes)

    monkeypatch.setattr(first_contact, "reconstruct", biased)
    rows = list(first_contact.against_cpu(object(), 8, 3))  # type: ignore[arg-type]
    assert {row[-1] for row in rows} == {"DIFFERENT"}


def test_whatever_becomes_of_a_step_the_next_one_runs(tmp_path: Path) -> None:
    planned = [
        Step("bad", 20, BAD),
        Step("endless", 0.5, ENDLESS),
        Step("missing", 20, ("nosuch-program",), "nosuch-program"),
        Step("unstartable", 20, (str(tmp_path),)),
        Step("good one", 20, OK),
    ]
    found = list(run_all(planned, tmp_path, time.monotonic() + 60))
    assert [outcome.code for outcome in found] == [3, None, None, 127, 0]
    assert "fine" in (tmp_path / "04_good_one.txt").read_text()
    (late,) = run_all(planned[-1:], tmp_path, time.monotonic())
    assert late.code is None


def test_all_steps_are_packed_and_a_result_is_never_overwritten(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(
        first_contact, "emulated_steps", lambda: (Step("good", 20, OK), Step("bad", 20, BAD))
    )
    out = tmp_path / "contact"
    assert main(["--out", str(out), "--emulated"]) == 1
    with tarfile.open(tmp_path / "contact.tar.gz") as archive:
        assert set(archive.getnames()) == {
            f"contact/{name}" for name in ("00_good.txt", "01_bad.txt", "summary.md")
        }
    assert "| bad | exit code 3 |" in (out / "summary.md").read_text()
    assert main(["--out", str(out), "--emulated"]) == 2
    monkeypatch.setattr(first_contact, "device_problem", lambda: "CUDA finds no device")
    assert main(["--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("other", "code"), [(0.5, 0), (0.6, 1), (None, 1)])
def test_a_study_in_batches_is_compared_trial_by_trial(
    other: float | None, code: int, tmp_path: Path
) -> None:
    for name, nrmse in (("study", 0.5), ("singly", other)):
        (tmp_path / name).mkdir()
        record = {"trial_id": "a", "status": "ok", "nrmse": nrmse, "iterations": 9}
        text = json.dumps(record) if nrmse else ""
        (tmp_path / name / "trials.jsonl").write_text(text)
    assert same_study(tmp_path) == code


def test_every_step_names_a_file_that_is_there_and_all_fit_into_the_time(tmp_path: Path) -> None:
    planned = steps(tmp_path)
    for step in planned:
        assert all(Path(part).exists() for part in step.command if part.endswith(".py"))
    assert sum(step.limit for step in planned) < 40 * 60, "limits, of which few are reached"
    assert [step.name for step in planned][:3] == ["card", "equality", "tests"]
