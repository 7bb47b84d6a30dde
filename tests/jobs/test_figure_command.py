from __future__ import annotations

import json

import pytest

from tomoatlas.analysis.figures import FIGURES
from tomoatlas.jobs.cli import main


def test_the_list_names_every_figure_and_what_it_needs(capsys):
    assert main(["figure", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(FIGURES.names())
    assert all(line.endswith("]") for line in lines)


def test_a_figure_is_written_once_and_replaced_when_asked(folder, tmp_path, capsys, refusal):
    out = tmp_path / "f.svg"
    argv = ["figure", "search", str(folder), "--out", str(out)]
    assert main(argv) == 0
    assert capsys.readouterr().out.strip() == str(out)
    before = out.read_bytes()
    assert b"fused trials of a cell" in before
    assert refusal(*argv).source == out
    assert main([*argv, "--force", "-q"]) == 0
    assert capsys.readouterr().out == ""


def test_the_name_of_the_file_is_that_of_the_figure(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["figure", "curves", str(folder), "-q"]) == 0
    assert (tmp_path / "curves.png").is_file()


def test_a_chosen_cell_is_reconstructed_again(folder, tmp_path):
    out = tmp_path / "slices.svg"
    argv = ["figure", "slices", str(folder), "--cell", "haadf_tilts=9", "--out", str(out), "-q"]
    assert main(argv) == 0
    assert "HAADF tilts 9" in out.read_text()


@pytest.mark.parametrize(
    ("argv", "source", "key", "value"),
    [
        ([], None, "NAME DIR|FILE", None),
        (["nrmse"], None, "NAME DIR|FILE", None),
        (["nosuch", "."], None, "NAME", "nosuch"),
        (["nrmse", ".", "--out", "f.bmp"], "f.bmp", "suffix", ".bmp"),
        (["slices", ".", "--cell", "haadf_tilts"], None, "--cell", "haadf_tilts"),
        (["nrmse", "."], ".", None, None),
        (["nrmse", "nothing.csv"], "nothing.csv", None, None),
    ],
)
def test_bad_input_is_one_line(argv, source, key, value, tmp_path, monkeypatch, refusal):
    monkeypatch.chdir(tmp_path)
    error = refusal("figure", *argv)
    assert (error.source and str(error.source), error.key, error.value) == (source, key, value)
    assert error.accepted


def test_volumes_are_exported_once(specimen, tmp_path, capsys, refusal):
    out = tmp_path / "v.emd"
    assert main(["export", str(specimen), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert refusal("export", specimen, "--out", out).source == out
    assert main(["export", str(specimen), "--out", str(out), "--force", "-q"]) == 0
    error = refusal("export", specimen, "--out", tmp_path / "v.png")
    assert error.value == ".png"
    assert all(suffix in str(error.accepted) for suffix in (".emd", ".tif", ".mrc"))


@pytest.mark.parametrize("name", FIGURES.names())
def test_a_study_without_a_trial_gives_holes_or_one_line(name, study_file, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "study.toml").write_text(study_file.read_text())
    code = main(["figure", name, str(empty), "--out", str(tmp_path / "f.png"), "-q"])
    err = capsys.readouterr().err
    assert (code, err.count("\n")) in ((0, 0), (2, 1))
    assert (tmp_path / "f.png").exists() == (code == 0)
    assert code == 0 or "accepted: " in err


def test_a_newer_journal_and_scores_that_are_no_numbers_are_drawn_as_holes(folder, tmp_path):
    journal = folder / "trials.jsonl"
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    for record in records:
        record |= {"nrmse": None, "attempts": 3, "rank": {"id": 7}}
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    out = tmp_path / "f.svg"
    assert main(["figure", "baselines", str(folder), "--out", str(out), "-q"]) == 0
    assert "no result yet" in out.read_text()


def test_what_a_figure_leaves_out_is_told_on_stderr(folder, tmp_path, capsys):
    with (folder / "trials.jsonl").open("ab") as journal:
        journal.write(b"garbage\n")
    assert main(["figure", "nrmse", str(folder), "--out", str(tmp_path / "n.png")]) == 0
    said = capsys.readouterr()
    assert "not records of trials" in said.err
    assert said.out == f"{tmp_path / 'n.png'}\n"
