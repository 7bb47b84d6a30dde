from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tomoatlas.analysis.journal import JournalReader
from tomoatlas.jobs.cli import main
from tomoatlas.jobs.terminal.map import Grid, cell_text, draw_grid
from tomoatlas.jobs.terminal.view import follow, plain_line, screen, view_of
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.launchers import first_rank
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus, is_final

ROOT = Path(__file__).parents[2]
START = datetime(2026, 1, 1, tzinfo=UTC)
SIZES = [(80, 24), (120, 40), (40, 12)]

MAP = """
[study]
name = "a study"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = 2
chemistry_tv_trials = 1
[axes]
"acquisition.haadf_tilts" = [0, 9, 18, 35, 47, 71, 106, 141]
"acquisition.chemical_tilts" = [5, 7, 9, 13, 18, 26, 47, 71]
"""


def timed(study, trial, device="cpu"):
    """A score by cell, twenty trials a minute; fused fails in the first cell, everywhere once."""
    started = (START + timedelta(seconds=3 * trial.cell.index)).isoformat()
    if trial.method is Method.FUSED and trial.cell.index * trial.number == 0:
        error = "the worker ended with SIGKILL: 9" if trial.cell.index else None
        status = TrialStatus.CRASHED if trial.cell.index else TrialStatus.TIMEOUT
        return TrialResult(status, error=error, seconds=3.0, started=started)
    score = 0.2 + trial.cell.index / 100
    return TrialResult(TrialStatus.OK, score, {"Co": score}, 10.0, 3.0, started=started)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mapped") / "out"
    run(parse_study(MAP), folder, InlineExecutor(timed))
    return folder


def shown(folder, width=80, height=24, lines=None, now=None):
    """The screen of the first ``lines`` of the journal, as text without colour."""
    journal = folder / "trials.jsonl"
    whole = journal.read_bytes()
    try:
        journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:lines]))
        found = view_of(JournalReader(folder), now or START + timedelta(seconds=200))
    finally:
        journal.write_bytes(whole)
    console = Console(record=True, width=width, height=height, file=io.StringIO())
    console.print(screen(found, width, height - 1))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("lines", [0, 1, 100, None])
def test_the_screen_fits(mapped, width, height, lines):
    text = shown(mapped, width, height, lines)
    assert len(text) < height
    assert all(len(line) <= width for line in text)
    assert text[0].startswith("a study")


def test_the_map_fills_up_and_is_legible_without_colour(mapped):
    text = "\n".join(shown(mapped, lines=None))
    assert "complete" in text.splitlines()[0]
    assert "cells 64 of 64 complete" in text
    assert "best NRMSE 0.210 at HAADF tilts 0, Chemical tilts 7" in text
    assert "failed: 63 × crashed: the worker ended with SIGKILL" in text
    rows = text.splitlines()[-10:-2]
    assert sorted(int(row.split()[0]) for row in rows) in (
        [5, 7, 9, 13, 18, 26, 47, 71],
        [0, 9, 18, 35, 47, 71, 106, 141],
    )
    assert sum(row.count("×") for row in rows) == 1
    assert sum(row.count("0.") for row in rows) == 63
    assert not any("*" in row for row in rows)


def test_a_cell_that_a_search_over_many_gave_up_is_marked_before_its_budget_is_spent(tmp_path):
    study = parse_study(
        MAP.replace("trials = 2\n", 'trials = 9\nstrategy = "contextual"\nmethods = ["fused"]\n', 1)
        .replace("[0, 9, 18, 35, 47, 71, 106, 141]", "[9, 18, 35]")
        .replace("[5, 7, 9, 13, 18, 26, 47, 71]", "[5, 9]")
    )

    def failing(study, trial, device="cpu"):
        failed = trial.cell.index == 3
        return TrialResult(TrialStatus.FAILED if failed else TrialStatus.OK, 0.3, seconds=1.0)

    summary = run(study, tmp_path / "out", InlineExecutor(failing))
    assert summary.done < 6 * 9
    assert sum(line.count("×") for line in shown(tmp_path / "out")[-6:-1]) == 1


def test_a_map_just_begun_says_what_is_to_come(mapped):
    rows = shown(mapped, lines=64 * 3)[-10:-2]
    assert sum(row.count("…") + row.count("·") + row.count("*") for row in rows) >= 64
    assert shown(mapped, lines=0)[0].endswith("no trial has ended yet")


def test_a_run_that_stopped_is_asked_after(mapped):
    text = shown(mapped, lines=50, now=START + timedelta(hours=3))
    assert "is it running?" in text[0]
    assert "left" in shown(mapped, lines=50, now=START + timedelta(seconds=60))[0]


def test_only_the_map_of_the_last_trial_is_shown_of_several(tmp_path):
    text = MAP.replace("[0, 9, 18, 35, 47, 71, 106, 141]", "[9, 18]")
    study = parse_study(text + '"solver.gamma" = [1.7, 2.0]\n')
    run(study, tmp_path / "out", InlineExecutor(timed))
    title = next(line for line in shown(tmp_path / "out", 120) if line.startswith("NRMSE, fused"))
    last = JournalReader(tmp_path / "out").trials.iloc[-1]["solver.gamma"]
    assert f"gamma {last:g} (one of 2 maps)" in title


def test_a_study_without_axes_has_a_screen(tmp_path):
    run(parse_study(MAP.partition("[axes]")[0]), tmp_path / "out", InlineExecutor(timed))
    assert "cells 1 of 1 complete" in "\n".join(shown(tmp_path / "out"))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(20, 130), st.integers(4, 40))
def test_any_map_fits_any_terminal(rows, columns, width, height):
    scores = np.full((rows, columns), 0.25)
    grid = Grid(
        scores,
        np.ones_like(scores),
        2,
        np.zeros_like(scores, dtype=bool),
        tuple(range(100, 100 + rows)),
        tuple(range(columns)),
        (0.0, 1.0),
    )
    lines = [line.plain for line in draw_grid(grid, width, height)]
    assert len(lines) <= height
    drawn = [line for line in lines if "fit here" not in line]
    assert all(len(line) <= width for line in drawn)
    *cells, _ = drawn
    assert all(line.count("2") >= 1 for line in cells)
    if len(drawn) == len(lines):
        assert len(cells) == rows
    else:
        assert lines[-1].startswith(f"{len(cells)} of {rows} rows")


@pytest.mark.parametrize(
    ("width", "score", "ended", "text"),
    [
        (7, 0.314, 1, "0.31*"),
        (6, 0.314, 2, "0.31"),
        (4, 0.314, 1, ".31*"),
        (3, 0.314, 1, ".31"),
        (3, 1.24, 2, "1.2"),
        (1, 0.314, 1, "3"),
        (5, np.nan, 1, "…"),
        (5, np.nan, 0, "·"),
    ],
)
def test_a_cell_shrinks_with_its_room(width, score, ended, text):
    one = np.array([[score]])
    grid = Grid(one, np.array([[ended]]), 2, np.array([[False]]), (1,), (1,), (0.0, 1.0))
    assert cell_text(grid, 0, 0, width) == text


def test_a_log_gets_plain_lines_until_the_study_is_complete(mapped, tmp_path):
    journal = mapped / "trials.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    file = io.StringIO()
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        journal.write_bytes(b"".join(lines[: 100 * len(pauses)]))

    journal.write_bytes(b"".join(lines[:10]))
    try:
        follow(mapped, None, console=Console(file=file, width=80), sleep=sleep)
    finally:
        journal.write_bytes(whole)
    said = file.getvalue().splitlines()
    assert pauses == [60.0] * 4
    finals = [sum(is_final(json.loads(line)) for line in lines[:n]) for n in (10, 100, 200, 300)]
    shown = [line.split("  ")[1].split(" trials")[0] for line in said]
    assert shown == [f"{done} of 320" for done in (*finals, 320)]
    assert "complete, best NRMSE 0.210" in said[-1]
    assert "\x1b" not in file.getvalue()


def test_leaving_is_no_error(mapped):
    journal = mapped / "trials.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: len(whole) // 2])

    def interrupt(seconds):
        raise KeyboardInterrupt

    file = io.StringIO()
    try:
        console = Console(file=file, width=80, height=24, force_terminal=True)
        follow(mapped, 0.1, console=console, sleep=interrupt)
    finally:
        journal.write_bytes(whole)
    assert file.getvalue().endswith("stopped watching; the run continues\n")
    assert "\x1b[?25h" in file.getvalue()  # the cursor is back


def test_only_the_first_rank_speaks(mapped, monkeypatch, capsys):
    monkeypatch.setenv("PMI_RANK", "1")
    assert main(["status", str(mapped), "--watch"]) == 0
    assert capsys.readouterr() == ("", "")
    assert not first_rank({"OMPI_COMM_WORLD_RANK": "2"})
    assert not first_rank({"SLURM_PROCID": "1"})
    assert first_rank({"PMI_RANK": "0"})


def test_the_command_in_a_log(mapped, capsys):
    assert main(["status", str(mapped), "--watch"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert plain_line(view_of(JournalReader(mapped), START)) in line
    assert main(["status", str(mapped), "--watch", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--watch", "--json"], "--json"),
        (["--every", "3"], "--every"),
        (["--watch", "--every", "0"], "--every"),
    ],
)
def test_options_that_make_no_sense_together(mapped, options, named, refusal):
    assert refusal("status", mapped, *options).key == named


def test_the_command_on_a_terminal_draws_and_ends(mapped):
    """A pseudo-terminal: colours, the map, the last screen left standing."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "tomoatlas", "status", str(mapped), "--watch"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 65536):
                said += chunk
        except OSError:  # Linux's answer when the other end has closed
            pass
        assert process.wait(timeout=600) == 0
    os.close(ours)
    assert b"320 of 320 trials" in said
    assert b"\x1b[" in said
    assert said.count(b"0.") > 63
