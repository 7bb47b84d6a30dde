from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoatlas.analysis.atlas import atlas_of, load_atlas
from tomoatlas.analysis.journal import JournalReader, load_trials
from tomoatlas.analysis.posterior import posterior
from tomoatlas.analysis.report import MIDDLE, write_page, write_report
from tomoatlas.analysis.report import data as page_data
from tomoatlas.analysis.table import trials_of_cell
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus

ONE_AXIS = """
[study]
name = "one axis"
[specimen]
kind = "nanocubes"
size = 16
[solver]
max_iterations = 5
[search]
trials = 2
chemistry_tv_trials = 2
[axes]
"acquisition.chemical_tilts" = [5, 9]
"""


class Page(HTMLParser):
    """Collects what a browser would fetch, checks that tags close, and keeps the page's data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.data: dict = {}
        self.inside = ""
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.inside = given.get("id", "") if tag == "script" else tag
        if tag not in ("meta", "img", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.inside == "data" and data.strip():
            self.data = json.loads(data)
        elif self.inside not in ("style", ""):
            self.text += data + " "


def page_of(folder):
    """The page without the figures, which take seconds to draw."""
    reader = JournalReader(folder)
    index = write_page(folder, reader, atlas_of(folder, reader.trials))
    return Page(index.read_text(encoding="utf-8"))


@pytest.fixture
def one_axis(folder_of):
    return folder_of(parse_study(ONE_AXIS))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, study, response):
    """The folder of a finished study of two axes with its report."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run(study, folder, InlineExecutor(response))
    assert write_report(folder).index == folder / "report" / "index.html"
    return folder


@pytest.fixture(scope="module")
def page(whole):
    return Page((whole / "report" / "index.html").read_text(encoding="utf-8"))


def test_the_page_stands_alone(page, whole):
    assert page.open == []
    assert page.links == ["data:,"]
    text = (whole / "report" / "index.html").read_text(encoding="utf-8")
    assert "@import" not in text
    assert len(text) < 6_000_000


def test_figures_and_atlas_lie_beside_it(whole):
    names = {path.name for path in (whole / "report").iterdir()}
    figures = ("nrmse", "baselines", "gain", "weights")
    assert names == {"index.html"} | {f"{f}.{kind}" for f in figures for kind in ("png", "pdf")}
    assert (whole / "atlas.csv").is_file()
    assert (whole / "atlas.h5").is_file()


def test_maps_hold_the_numbers_of_the_atlas(page, whole):
    table = load_atlas(whole / "atlas.csv").table
    shown = {q["key"]: q["values"] for q in page.data["quantities"]}
    for column in ("nrmse", "nrmse_ml", "nrmse_Au", "haadf", "tv", "trials"):
        assert shown[column] == pytest.approx(table[column].tolist(), rel=1e-4)
    gain = 100 * (1 - table["nrmse"] / table["nrmse_chemistry_tv"])
    assert shown["gain_nrmse_chemistry_tv"] == pytest.approx(gain.tolist(), rel=1e-3)


def test_trials_of_every_cell_are_there(page, study):
    trials = page.data["trials"]
    assert [trials["cell"].count(i) for i in range(9)] == [5 + 3 + 1 + 1] * 9
    assert set(trials["failure"]) == {None}
    assert len(page.data["cells"]) == len(study.cells())


def test_landscapes_are_those_of_the_figure(page, study, whole):
    assert set(page.data["landscapes"]) == {str(cell.index) for cell in study.cells()}
    found = page.data["landscapes"]["4"]
    mine = trials_of_cell(load_trials(whole), dict(study.cells()[4].values))
    for method, points in ((Method.FUSED, 23), (Method.CHEMISTRY_TV, 61)):
        drawn = posterior(mine, study.search.space.of(method), method, points)
        assert np.array(found[method]["mean"]) == pytest.approx(drawn.mean, rel=1e-3)
        assert np.array(found[method]["sigma"]) == pytest.approx(
            drawn.sigma, abs=1e-3 * drawn.sigma.max()
        )
    assert len(json.dumps(found)) < 20_000


def test_of_many_cells_the_most_accurate_have_landscapes(folder, study, monkeypatch):
    monkeypatch.setattr(page_data, "LANDSCAPES", 2)
    page = page_of(folder)
    scores = next(q["values"] for q in page.data["quantities"] if q["key"] == "nrmse")
    assert set(page.data["landscapes"]) == {str(i) for i in np.argsort(scores)[:2]}


def test_too_few_good_trials_are_no_landscape(one_axis):
    assert page_of(one_axis).data["landscapes"] == {"0": {}, "1": {}}


def test_names_of_the_user_are_text_everywhere(page, whole):
    assert "synthetic <study>" in page.text
    assert "<study>" not in (whole / "report" / "index.html").read_text(encoding="utf-8")


def test_a_complete_study_says_so_and_how_to_repeat_it(page):
    assert "Partial" not in page.text
    assert "90 of 90, 90 good" in page.text
    assert "None: every cell is complete" in page.text
    assert "tomoatlas run out/study.toml --out out_again" in page.text
    assert "astra-toolbox" in page.text


def test_cost_and_its_assumption_are_told(page):
    assert re.search(r"Fused 45 45 45 2 0\.025 ", page.text)
    assert "Assumed: steps of a factor of 2" in page.text
    assert "Fused: 91, Chemistry + TV: 7 trials" in page.text


def test_a_partial_study_is_called_so(one_axis):
    journal = one_axis / "trials.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:7]))
    page = page_of(one_axis)
    assert "Partial: 7 of 12 trials" in page.text
    assert "Trials are still to come in" in page.text


@pytest.mark.parametrize("content", [b"", b'{"trial_id": "to'])
def test_a_study_without_results_has_a_page_of_holes(one_axis, content):
    (one_axis / "trials.jsonl").write_bytes(content)
    page = page_of(one_axis)
    assert "Partial: 0 of 12" in page.text
    assert "Fused has no good trial in any cell." in page.text
    assert "can be estimated once every method" in page.text
    holes = [q["values"] for q in page.data["quantities"] if q["kind"] != "count"]
    assert all(value is None for values in holes for value in values)


def test_a_whole_report_of_an_empty_study_tells_why_there_are_no_slices(one_axis):
    (one_axis / "trials.jsonl").write_bytes(b"")
    assert write_report(one_axis, [MIDDLE]).notes == (
        "No slices: no cell has a good fused trial yet.",
    )


def test_a_damaged_journal_is_reported_on_the_page(one_axis):
    journal = one_axis / "trials.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    newer = json.dumps(json.loads(lines[3]) | {"method": "diffusion"}).encode() + b"\n"
    journal.write_bytes(b"".join([lines[0], b"\x00garbage\n", newer, *lines[4:]]))
    page = page_of(one_axis)
    assert "not records of trials (line 2): left out." in page.text
    assert "of an unknown method, 'diffusion' (line 3): left out." in page.text
    assert len(page.data["trials"]["cell"]) == len(lines) - 3


def test_a_cell_of_failures_is_a_hole_with_its_reasons(folder_of, response):
    def flaky(study, trial, device="cpu"):
        if trial.method is Method.FUSED and dict(trial.cell.values).popitem()[1] == 9:
            return TrialResult(TrialStatus.FAILED, error="diverged: <b>step</b> 3", seconds=1.0)
        return response(study, trial)

    page = page_of(folder_of(parse_study(ONE_AXIS), flaky))
    assert "failed: diverged 2 0.001 " in page.text
    assert "Fused has no good trial in 1 of 2 cells (Chemical tilts 9)." in page.text
    fused = page.data["quantities"][0]["values"]
    assert fused[0] is not None
    assert fused[1] is None
    assert page.data["trials"]["error"].count("diverged: <b>step</b> 3") == 2


def test_only_methods_of_the_study_are_compared_and_doses_are_as_the_study_has_them(folder_of):
    counts = "HAADF = 0.1, Co = 1e-4, Cu = 1e-4, O = 1e-4, Au = 1e-4"
    own = f'[acquisition]\ncounts_per_electron = {{ {counts} }}\n[search]\nmethods = ["fused"]\n'
    dosed = ONE_AXIS.replace("[search]\n", own)
    page = page_of(folder_of(parse_study(dosed + '"acquisition.dose_e_per_A2" = [6250.0, 1e5]\n')))
    assert "Chemistry + TV" not in page.text
    assert "6250" in page.text
    assert "e+0" not in page.text


def test_scores_that_are_not_numbers_are_holes(folder_of, response):
    def blank(study, trial, device="cpu"):
        return TrialResult(TrialStatus.OK, nrmse=float("nan"), seconds=1.0)

    page = page_of(folder_of(parse_study(ONE_AXIS), blank))
    assert page.data["quantities"][0]["values"] == [None, None]
    assert set(page.data["trials"]["failure"]) == {"failed: the score is nan"}


def test_without_haadf_tilts_the_weight_is_no_result(folder_of):
    study = parse_study(ONE_AXIS + '"acquisition.haadf_tilts" = [0, 9]\n')
    page = page_of(folder_of(study))
    weight = next(q for q in page.data["quantities"] if q["key"] == "haadf")
    assert [value is None for value in weight["values"]] == [True, False, True, False]


@pytest.mark.parametrize(
    ("axes", "across", "upwards"),
    [
        ("", None, None),
        ('"acquisition.haadf_snr" = [50.0, 100.0]', 0, None),
        (
            '"solver.gamma" = [1.7, 2.0]\n"acquisition.haadf_tilts" = [9, 18]\n'
            '"acquisition.chemical_tilts" = [5, 9]',
            2,
            1,
        ),
    ],
)
def test_any_number_of_axes_is_drawn(folder_of, axes, across, upwards):
    head = '[study]\nname = "n"\n[specimen]\nkind = "nanocubes"\nsize = 16\n[search]\ntrials = 1\n'
    study = parse_study(f"{head}chemistry_tv_trials = 1\n[axes]\n{axes}\n")
    data = page_of(folder_of(study)).data
    assert (data["across"], data["upwards"]) == (across, upwards)
    assert len(data["quantities"][0]["values"]) == len(study.cells())


def test_a_specimen_that_is_gone_is_missing(one_axis):
    study = one_axis / "study.toml"
    text = study.read_text().replace('"nanocubes"', '"/data/gone.h5"')
    study.write_text(text.replace("size = 16\n", ""))
    assert "The volume /data/gone.h5 is missing" in page_of(one_axis).text


def test_by_default_slices_are_made_where_they_take_no_time(folder_of, response):
    def slow(study, trial, device="cpu"):
        return replace(response(study, trial), seconds=1000.0)

    quick, long = (folder_of(parse_study(ONE_AXIS), f, f.__name__) for f in (response, slow))
    assert write_report(quick, None).notes == ()
    assert len(list((quick / "report" / "slices").iterdir())) == 1
    (note,) = write_report(long, None).notes
    assert "take about 1 h 6 min" in note
    assert not (long / "report" / "slices").exists()


def test_not_a_study_folder(tmp_path):
    with pytest.raises(BadInput) as caught:
        write_report(tmp_path)
    assert caught.value.source == tmp_path


@given(
    cells=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    most=st.integers(1, 40),
    data=st.data(),
)
def test_of_many_trials_the_best_of_each_cell_and_an_equal_part_are_drawn(cells, most, data):
    places, count = np.array(cells), len(cells)
    score = np.array(data.draw(st.permutations(range(count))), dtype=float)
    failed = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    columns = {"number": np.arange(count), "score": score, "nrmse": score, "method": "fused"}
    trials = pd.DataFrame({**columns, "status": np.where(failed, "failed", "ok")})
    rows = page_data.drawn(trials, places, most)
    assert len(rows) <= max(most, len(set(cells)))
    drawn = [sum(places[rows] == cell) for cell in set(cells)]
    whole = [sum(places == cell) for cell in set(cells)]
    assert all(few >= min(all_, max(drawn) - 1) for few, all_ in zip(drawn, whole, strict=True))
    for cell in set(cells):
        good = np.flatnonzero((places == cell) & ~failed)
        assert not good.size or good[score[good].argmin()] in rows


def test_a_page_that_draws_a_part_still_counts_all_trials(whole, monkeypatch):
    monkeypatch.setattr(page_data, "DRAWN", 3)
    before, after = Page((whole / "report" / "index.html").read_text()).data, page_of(whole).data
    monkeypatch.undo()
    assert len(after["trials"]["cell"]) < len(before["trials"]["cell"])
    assert after["methods"] == before["methods"]
    ended = [method["ended"] for method in after["methods"]]
    assert sum(map(sum, ended)) == len(before["trials"]["cell"])
