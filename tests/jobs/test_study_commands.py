from __future__ import annotations

import html
import json
import math
import os
import re
import shlex
import shutil
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from tomoatlas.analysis import report
from tomoatlas.analysis.journal import load_trials
from tomoatlas.jobs import run as running
from tomoatlas.jobs.cli import main
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.sweep.estimate import Share
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.run.scheduler import Summary
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus

ATLASES = ("atlas.csv", "atlas.h5", "atlas.nc")


ATLAS = "fig4_nanocubes_64"


class Ran(NamedTuple):
    """A study that a worker has run, and what the command printed."""

    folder: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def ran(tiny, tmp_path_factory) -> Ran:
    folder = tmp_path_factory.mktemp("ran") / "my study's"
    path = folder.with_name("tiny.toml")
    path.write_text(tiny)
    silent = redirect_stdout(StringIO()), redirect_stderr(StringIO())
    # Slices are of quick trials, which no trial is on a machine that is busy enough.
    with silent[0] as out, silent[1] as err, pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "QUICK_S", math.inf)
        assert main(["run", str(path), "--out", str(folder), "--workers", "1"]) == 0
    return Ran(folder, out.getvalue(), err.getvalue())


@pytest.fixture
def own(ran, tmp_path) -> Path:
    """A copy of the folder that was run."""
    return Path(shutil.copytree(ran.folder, tmp_path / ran.folder.name))


def test_check_tells_the_cost(study_file, capsys):
    assert main(["check", str(study_file)]) == 0
    out = capsys.readouterr().out
    assert "tiny: valid" in out
    assert re.search(r"^cells +2$", out, re.M)
    assert re.search(r"^trials +10 \(fused 4, chemistry-tv 2, ml 2, ml-stopped 2\)$", out, re.M)
    for word in ("memory", "time", "device-hours", "HAADF tilts: 5, 9"):
        assert word in out


def test_check_prices_the_gpus_of_a_site_and_says_how_many_are_enough(study_file, capsys):
    asked = ["--walltime", "02:00:00", "--nodes", "1"]
    assert main(["check", str(study_file), "--site", "perlmutter", *asked]) == 0
    shown = capsys.readouterr().out
    assert "GPU-hours" in shown
    assert "on one A100-40GB (predicted" in shown
    assert "1 GPU (1 node) for 2 h 0 min" in shown
    assert main(["check", str(study_file), "--gpu", "H200"]) == 0
    assert "on one H200 (predicted" in capsys.readouterr().out
    assert main(["check", str(study_file), *asked]) == 0
    assert "1 core for 2 h 0 min" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value"), [("--gpu", "GTX"), ("--measured", "nosuch"), ("--measured", ATLAS)]
)
def test_check_refuses_a_price_that_there_is_not(option, value, study_file, capsys):
    """The shipped atlas was made on a CPU."""
    argv = ["check", str(study_file), "--site", "polaris", option, value]
    assert main([a for a in argv if option != "--gpu" or a not in ("--site", "polaris")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_check_takes_times_from_a_journal(study_file, capsys):
    assert main(["check", str(study_file), "--measured", ATLAS]) == 0
    assert "(measured: 1088 trials on cpu)" in capsys.readouterr().out


def test_check_quiet_says_nothing_but_still_refuses(study_file, capsys, refusal):
    assert main(["check", str(study_file), "-q"]) == 0
    assert capsys.readouterr().out == ""
    study_file.write_text(study_file.read_text().replace("size = 16", "siez = 16"))
    error = refusal("check", study_file, "-q")
    assert (error.source, error.key) == (study_file, "specimen.siez")
    assert "size" in str(error.accepted)


def test_run_writes_everything_and_a_second_call_changes_no_trial(ran, own, capsys, refusal):
    assert ran.err == ""
    assert re.match(r"computing on 1 CPU worker \(.+\)\n10 trials\n1/10 trials", ran.out)
    assert "10 trials, 0 failed" in ran.out
    names = {path.name for path in own.iterdir()}
    assert names == {"study.toml", "trials.jsonl", "runs.jsonl", "report", "volumes", *ATLASES}
    assert len(list((own / "report" / "slices").iterdir())) == 1
    journal = (own / "trials.jsonl").read_bytes()
    shutil.rmtree(own / "report")
    argv = ["run", str(own / "study.toml"), "--out", str(own), "--workers", "1", "--no-slices"]
    assert main([*argv, "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert (own / "trials.jsonl").read_bytes() == journal
    assert (own / "report" / "index.html").is_file()
    assert not (own / "report" / "slices").exists()
    table = pd.read_csv(own / "atlas.csv")
    assert table["acquisition.haadf_tilts"].tolist() == [5, 9]
    scores = ["nrmse", "nrmse_ml", "nrmse_ml_stopped", "nrmse_chemistry_tv"]
    assert table[scores].notna().all(axis=None)
    assert main(["report", str(own), "-q", "--cell", "haadf_tilts=9"]) == 0
    assert len(list((own / "report" / "slices").iterdir())) == 1
    assert main(["report", str(own), "--slices"]) == 0
    assert len(list((own / "report" / "slices").iterdir())) == 2
    error = refusal("report", own, "--cell", "haadf_tilts=8")
    assert (error.key, error.value) == ("--cell acquisition.haadf_tilts", "8")
    assert error.accepted == "5, 9"


def test_the_commands_of_a_report_run_when_pasted(own, monkeypatch):
    monkeypatch.setattr(running, "executor_of", lambda *args: nullcontext(InlineExecutor()))
    page = (own / "report" / "index.html").read_text(encoding="utf-8")
    text = html.unescape(re.search(r'<pre id="commands"[^>]*>(.*?)</pre>', page, re.S)[1])
    lines = [shlex.split(line, comments=True) for line in text.splitlines() if line]
    assert {line[0] for line in lines} == {"tomoatlas"}
    monkeypatch.chdir(own.parent)
    for _, *argv in lines:
        assert main([*argv, *(["--workers", "1"] if "run" in argv else []), "-q"]) == 0
    again = load_trials(own.with_name(f"{own.name}_again"))
    assert again["nrmse"].equals(load_trials(own)["nrmse"])
    assert len(list((own / "report" / "slices").iterdir())) == 2


def test_slices_are_of_the_trial_in_the_journal(ran):
    from tomoatlas.analysis.rerun import rerun_best
    from tomoatlas.recon_core.methods import Method
    from tomoatlas.recon_core.metrics import nrmse_by_element

    out = ran.folder
    study, trials = parse_study((out / "study.toml").read_text()), load_trials(out)
    rerun = rerun_best(study, study.cells()[1], trials)
    table = pd.read_csv(out / "atlas.csv")
    scores = nrmse_by_element(rerun.slices.volumes[Method.FUSED], rerun.slices.truth)
    columns = [f"nrmse_{element}" for element in rerun.slices.elements]
    assert table.loc[1, columns].tolist() == pytest.approx(list(scores), rel=1e-4)


@pytest.mark.parametrize(
    ("summary", "code", "said"),
    [
        (Summary(4, 4, 0, 0), 0, ""),
        (Summary(4, 4, 1, 0), 3, ""),
        (
            Summary(4, 2, 0, 0, interrupted=True),
            130,
            "interrupted: 2 of 4 trials are kept; resume with: tomoatlas run",
        ),
    ],
)
def test_exit_codes_of_a_run(summary, code, said, study_file, folder, monkeypatch, capsys):
    monkeypatch.setattr(running.driver, "run", lambda *args: summary)
    assert main(["run", str(study_file), "--out", str(folder), "--workers", "1", "-q"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == bool(said)
    if said:
        assert f"--out {folder}" in err


def test_folder_of_another_study_is_refused_and_untouched(study_file, folder, refusal):
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    study_file.write_text(study_file.read_text().replace("size = 16", "size = 24"))
    error = refusal("run", study_file, "--out", folder)
    assert (error.source, error.key, error.value) == (folder, "specimen.size", 24)
    assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder_is_refused(study_file, tmp_path, refusal):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert refusal("run", study_file, "--out", locked / "out").source == locked / "out"


def test_out_that_is_a_file_is_refused(study_file, refusal):
    assert refusal("run", study_file, "--out", study_file).source == study_file


def test_status_for_people(folder, capsys):
    assert main(["status", str(folder)]) == 0
    out = capsys.readouterr().out
    for line in (
        "tiny: complete",
        "trials         10 of 10 (8 ok)",
        "cells          2 of 2",
        "failed         2 x crashed: the worker ended with SIGKILL",
        "HAADF tilts 9: NRMSE 0.400 at haadf",
    ):
        assert line in out


def test_status_of_many_cells_fits_a_screen(capsys):
    assert main(["status", "nanocubes_64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines if not line.startswith("note")) <= 80
    assert any(line.split()[:2] == ["141", "0.30"] for line in lines)


def test_check_names_every_mistake_of_a_study(tmp_path, capsys):
    path = tmp_path / "wrong.toml"
    path.write_text(
        '[study]\nname = "wrong"\n[specimen]\nkind = "nanocubes"\nsze = 32\n[solver]\n'
        'gamma = "two"\n[search]\ntrials = -1\n[axes]\n"acquisition.hadf_tilts" = [9, 18]\n'
    )
    assert main(["check", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()
    keys = ("specimen.sze", "solver.gamma", "search.trials", "acquisition.hadf_tilts")
    assert len(said) == 4
    assert all(any(key in line for line in said) for key in keys)


def test_check_names_no_mistake_that_another_one_made(tmp_path, capsys):
    path = tmp_path / "wrong.toml"
    path.write_text(
        '[study]\nname = "wrong"\n[specimen]\nkind = "build"\n'
        '[specimen.bodies.a]\nmaterial = "C"\n'
        '[specimen.bodies.b]\nshape = "sphere"\ndiameter_nm = 5.0\nmaterial = "Au"\n'
        'inside = "a"\nshell_nm = 2.0\nshell = "gold"\n'
        "[acquisition]\ndose_e_per_A2 = -1.0\nhaadf_share = 0.2\n"
        '[acquisition.microscope]\nsignal = "edx"\n'
    )
    assert main(["check", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()
    keys = ("specimen.bodies.a = ", "specimen.bodies.b.shell = ", "acquisition.dose_e_per_A2")
    assert len(said) == 3, said
    assert all(any(key in line for line in said) for key in keys)


def test_a_study_and_its_folder_swapped_are_told_apart(tmp_path, monkeypatch, refusal):
    monkeypatch.chdir(tmp_path)
    error = refusal("run", "first", "--out", "quickstart")
    assert error.accepted == "tomoatlas run quickstart --out first"
    error = refusal("figure", "nanocubes_64", "nrmse")
    assert error.accepted == "tomoatlas figure nrmse nanocubes_64"
    assert list(tmp_path.iterdir()) == []


def test_recommend_of_a_folder_alone_lists_what_is_good(folder, capsys):
    assert main(["recommend", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "note: no tilts were asked for" in out
    assert "HAADF tilts" in out.splitlines()[0]


def test_status_for_programs(folder, capsys):
    journal = folder / "trials.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    assert main(["status", str(folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    ok = 4 - sum(facts["failures"].values())
    assert facts["trials"] == {"planned": 10, "estimated": False, "done": 4, "ok": ok}
    assert not facts["complete"]
    assert facts["device_seconds_left"] > 0
    assert [row["acquisition.haadf_tilts"] for row in facts["best"]] == [5, 9]


def test_status_and_report_of_an_empty_journal(folder, capsys):
    (folder / "trials.jsonl").write_bytes(b"")
    assert main(["status", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "time left      unknown" in out
    assert out.count("none yet") == 2
    assert main(["report", str(folder), "-q"]) == 0
    assert "Partial: 0 of 10" in (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_status_of_records_that_lack_weights_or_times(folder, capsys):
    record = {"trial_id": "x", "cell": {"acquisition.haadf_tilts": 5}, "method": "fused"}
    record |= {"number": 0, "status": "ok", "nrmse": 0.1}
    timeless = record | {"trial_id": "y", "weights": {"haadf": 0.1, "tv": 1.0}, "nrmse": 0.2}
    (folder / "trials.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps(timeless)}\n")
    assert main(["status", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "without the weights of their method (line 1): left out" in out
    assert "NRMSE 0.200 at haadf 0.1, tv 1" in out
    assert main(["status", str(folder), "--json"]) == 0


def test_status_writes_nothing(folder):
    before = sorted(folder.rglob("*"))
    assert main(["status", str(folder)]) == 0
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["atlas.csv", "atlas.h5"])
def test_recommend(folder, name, capsys):
    assert main(["report", str(folder), "-q"]) == 0
    argv = ["recommend", str(folder / name), "--haadf-tilts", "9", "--chemical-tilts", "9"]
    assert main([*argv, "--snr", "4"]) == 0
    out = capsys.readouterr().out
    assert "note: Chemical SNR is fixed at 3 in this atlas" in out
    assert main([*argv, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    low, high = facts["interval"]
    assert facts["nrmse"] == pytest.approx(0.4)
    assert low < 0.4 < high
    assert facts["conditions"]["specimen"] == "nanocubes"
    assert main([*argv, "--snr", "4", "-q"]) == 0
    assert "note" not in capsys.readouterr().out
    assert main([*argv, "--snr", "0.5"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_recommend_lists_what_reaches_a_target(folder, capsys, refusal):
    argv = ["recommend", str(folder), "--target-nrmse"]
    assert main([*argv, "0.5", "--json"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)["acquisitions"]
    assert first["nrmse"] <= 0.5
    assert main([*argv, "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-2:] == [f"{first['weights'][name]:.3g}" for name in ("haadf", "tv")]
    assert "cost / maps" in lines[0]
    (unit,) = [line for line in lines if line.startswith("cost ")]
    assert unit.endswith("in that of one chemical map; 50 HAADF images count as one map")
    assert refusal(*argv, "0.01").key == "target_nrmse"
    assert refusal(*argv, "0.5", "--haadf-tilts", "9").key == "--haadf-tilts"
    assert refusal(*argv[:2], "--haadf-tilts", "9").key == "--chemical-tilts"


def test_a_shipped_atlas_is_read_by_name_and_not_written_to(tmp_path, monkeypatch, capsys, refusal):
    monkeypatch.chdir(tmp_path)
    name = "fig4_nanocubes_64"
    assert main(["recommend", name, "--haadf-tilts", "41", "--chemical-tilts", "9", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    of_first = {"gamma": 2.0, "chemistry": "poisson", "contrast": "power", "film": False}
    assert facts["solver"].items() >= of_first.items()
    assert SolverSettings.model_validate(facts["solver"]) == SolverSettings()
    assert main(["status", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"]["done"] == 1088
    assert main(["figure", "weights", name, "-q"]) == 0
    assert (tmp_path / "weights.png").is_file()
    assert refusal("report", name).source == Path(name)
    assert name in refusal("figure", "weights", "fig4_nanocube", "-q", "--force").problem


def test_merge(study_file, tmp_path, capsys, refusal):
    study = parse_study(study_file.read_text())
    executors = [InlineExecutor(lambda *_: TrialResult(TrialStatus.OK, 0.5)) for _ in range(2)]
    for number, executor in enumerate(executors, start=1):
        run(study, tmp_path / str(number), executor, share=Share(number, 2))
    parts, out = [str(tmp_path / "1"), str(tmp_path / "2")], str(tmp_path / "all")
    assert main(["merge", *parts, "--out", out]) == 0
    assert "10 of 10 trials" in capsys.readouterr().out
    assert main(["status", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"]
    assert main(["report", out, "--no-slices", "-q"]) == 0
    assert refusal("merge", *parts, "--out", out).source == Path(out)


@pytest.mark.parametrize("cells", ["2", "0/2", "3/2", "a/b", "1/3"])
def test_a_share_of_cells_that_is_none_is_refused(study_file, tmp_path, cells, refusal):
    error = refusal("run", study_file, "--out", tmp_path / "run", "--cells", cells)
    assert error.key == "--cells"
    assert not (tmp_path / "run").exists()
