from __future__ import annotations

import json

import pandas as pd
import pytest

from tomoatlas.analysis.journal import JournalReader, load_trials
from tomoatlas.recon_core.errors import BadInput


def lines_of(folder):
    return (folder / "trials.jsonl").read_bytes().splitlines(keepends=True)


def changed(line, **changes):
    return json.dumps(json.loads(line) | changes).encode() + b"\n"


def test_a_sound_journal_reads_as_it_always_did(folder):
    reader = JournalReader(folder)
    assert reader.trials.equals(load_trials(folder))
    assert reader.notes == ()


def test_what_is_appended_is_taken_in(folder):
    lines = lines_of(folder)
    journal = folder / "trials.jsonl"
    journal.write_bytes(b"".join(lines[:10]) + lines[10][:30])
    reader = JournalReader(folder)
    assert len(reader.trials) == 10
    assert not reader.read()
    with journal.open("ab") as file:
        file.write(lines[10][30:] + lines[11])
    assert reader.read()
    assert len(reader.trials) == 12
    assert reader.notes == ()


def test_a_journal_that_was_cut_is_read_from_its_start(folder):
    reader = JournalReader(folder)
    (folder / "trials.jsonl").write_bytes(b"".join(lines_of(folder)[:3]))
    assert reader.read()
    assert len(reader.trials) == 3


def test_a_missing_journal_is_an_empty_one(folder):
    (folder / "trials.jsonl").unlink()
    assert len(JournalReader(folder).trials) == 0


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b"\x00\xff nonsense\n", "not records of trials"),
        (b"[1, 2]\n", "not records of trials"),
        ({"trial_id": None}, "not records of trials"),
        ({"weights": [1.0]}, "not records of trials"),
        ({"method": "diffusion"}, "of an unknown method, 'diffusion'"),
        ({"cell": {"acquisition.haadf_tilts": 7}}, "of no cell of this study"),
        ({"cell": {"acquisition.haadf_tilts": [7]}}, "of no cell of this study"),
    ],
)
def test_lines_that_are_no_trials_are_left_out_and_told(folder, bad, told):
    lines = lines_of(folder)
    lines[4] = bad if isinstance(bad, bytes) else changed(lines[4], **bad)
    (folder / "trials.jsonl").write_bytes(b"".join(lines))
    reader = JournalReader(folder)
    assert len(reader.trials) == len(lines) - 1
    (note,) = reader.notes
    assert note == f"1 of {len(lines)} lines of the journal are {told} (line 5): left out."


def test_what_a_newer_version_adds_is_read_over_and_told(folder):
    lines = lines_of(folder)
    lines[2] = changed(lines[2], energy_kwh=0.1)
    lines[3] = changed(lines[3], status="preempted", nrmse=None)
    (folder / "trials.jsonl").write_bytes(b"".join(lines))
    reader = JournalReader(folder)
    assert len(reader.trials) == len(lines)
    (note,) = reader.notes
    assert "key 'energy_kwh' (1×), status 'preempted' (1×)" in note


def test_not_a_study_folder(tmp_path):
    with pytest.raises(BadInput) as caught:
        JournalReader(tmp_path)
    assert caught.value.source == tmp_path


def test_many_trials_are_tabled_in_parts_and_read_alike(folder, monkeypatch):
    lines = lines_of(folder)
    lost = {"final": False, "status": "crashed", "nrmse": None, "seconds": 5.0}
    attempt = changed(lines[11], **lost)
    text = b"".join([attempt, *lines[:8], lines[2], *lines[8:], lines[9]])
    (folder / "trials.jsonl").write_bytes(text)
    whole = load_trials(folder)
    monkeypatch.setattr("tomoatlas.analysis.journal.TABLED", 4)
    monkeypatch.setattr("tomoatlas.analysis.journal.BLOCK", 100)
    pd.testing.assert_frame_equal(load_trials(folder), whole, check_dtype=False)
    assert whole["device_seconds"][11] == whole["seconds"][11] + 5.0
