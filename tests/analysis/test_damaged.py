"""Journals that went wrong, or are of another version: every reader accepts the same trials."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas import analysis
from tomoatlas.analysis.atlas import atlas_of
from tomoatlas.analysis.figures import FIGURES, TRIALS, draw_figure
from tomoatlas.analysis.figures.draw import figure_bytes
from tomoatlas.analysis.figures.source import Source
from tomoatlas.analysis.journal import JournalReader
from tomoatlas.analysis.progress import failure_classes
from tomoatlas.analysis.report.data import page_data
from tomoatlas.analysis.report.text import page_text
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import parse_study

STUDY = """
[study]
name = "damaged"
[specimen]
kind = "nanocubes"
size = 16
[solver]
max_iterations = 3
[search]
trials = 12
initial = 12
chemistry_tv_trials = 1
[axes]
"acquisition.haadf_tilts" = [9, 18]
"acquisition.chemical_tilts" = [5, 9]
"""

NEWER = {"method": "deep-learning", "status": "paused", "nrmse": "0.1", "future": {"a": 1}}
DAMAGES = {
    "nan": [{"nrmse": math.nan}, {"nrmse_by_element": {"Co": math.inf}, "status": "failed"}],
    "newer": [
        NEWER,
        {"cell": {"acquisition.haadf_tilts": [9], "acquisition.chemical_tilts": 5}},
        {"weights": {"haadf": 0.1, "tv": 0.1, "sparsity": 1.0}},
        {"status": "paused", "nrmse": None, "seconds": None, "started": None, "future": [1]},
    ],
    "impossible": [
        {"nrmse": -1.0},
        {"nrmse": "0.1"},
        {"nrmse": True},
        {"nrmse": 2.1},
        {"seconds": -1e30, "started": "yesterday", "error": ["no", "text"], "worker": 3},
        {"weights": {"haadf": 0.0, "tv": -1.0}},
    ],
}
VOLUMES = ("convergence", "fsc", "overlay", "pareto", "profiles", "render", "slices", "spectra",
           "stoichiometry")  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory, response):
    """The folder of a finished study, and the records of its fused trials first."""
    folder = tmp_path_factory.mktemp("sound") / "out"
    run(parse_study(STUDY), folder, InlineExecutor(response))
    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    return folder, sorted(lines, key=lambda record: record["method"] != "fused")


@pytest.fixture
def damaged(sound, tmp_path):
    """damaged(name or changes): a folder in which so many records are changed, and a torn end."""

    def make(changes):
        folder, records = sound
        (tmp_path / "study.toml").write_bytes((folder / "study.toml").read_bytes())
        bad = [record | change for record, change in zip(records, changes, strict=False)]
        lines = [json.dumps(record) for record in [*bad, *records[len(bad) :]]]
        (tmp_path / "trials.jsonl").write_text("\n".join([*lines, '{"trial_id": "ab', ""])[:-1])
        return tmp_path

    return make


@pytest.mark.parametrize("name", DAMAGES)
def test_figures_and_the_page_are_of_the_same_trials(damaged, name):
    folder = damaged(DAMAGES[name])
    reader, source = JournalReader(folder), Source((folder,))
    assert source.trials.equals(reader.trials)
    assert source.notes == reader.notes
    for figure in FIGURES.names():
        if figure not in VOLUMES:
            draw_figure(figure, source)


@pytest.mark.parametrize("name", VOLUMES)
def test_figures_of_volumes_are_drawn_from_a_newer_journal(damaged, name, request):
    source = Source((damaged(DAMAGES["newer"]),), {"haadf_tilts": "18", "chemical_tilts": "9"})
    if name == "render":
        request.getfixturevalue("rendering")
    assert figure_bytes(draw_figure(name, source), "png", dpi=20)


@pytest.mark.parametrize("content", ["", "garbage\n", json.dumps(NEWER) + "\n"])
def test_without_a_trial_every_figure_of_trials_says_so(damaged, content):
    folder = damaged([])
    (folder / "trials.jsonl").write_text(content)
    for name in FIGURES.names():
        if FIGURES.get(name).needs == TRIALS:
            with pytest.raises(BadInput):
                draw_figure(name, Source((folder,)))


def test_notebooks_get_the_trials_of_the_report_and_are_warned(damaged):
    folder = damaged(DAMAGES["newer"])
    with pytest.warns(RuntimeWarning) as told:
        trials = analysis.load_trials(folder)
    assert [str(warning.message) for warning in told] == list(JournalReader(folder).notes)
    assert "unknown method, 'deep-learning'" in str(told[0].message)
    assert trials.equals(JournalReader(folder).trials)
    with pytest.warns(RuntimeWarning):
        assert atlas_of(folder).table.equals(atlas_of(folder, trials).table)


@pytest.mark.parametrize("score", [-1.0, "0.1", True, 2.1, math.nan, math.inf, [0.1], None])
def test_a_value_that_is_no_nrmse_is_never_the_best(damaged, score):
    folder = damaged([{"nrmse": score}])
    reader = JournalReader(folder)
    assert math.isnan(reader.trials["nrmse"][0])
    assert failure_classes(reader.trials)[0] == "no finite score"
    assert atlas_of(folder, reader.trials).table["nrmse"].between(0.2, 2.0).all()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_no_line_of_a_journal_stops_the_page(sound, tmp_path_factory, data):
    folder, records = sound
    other = tmp_path_factory.mktemp("any")
    (other / "study.toml").write_bytes((folder / "study.toml").read_bytes())
    keys = st.sampled_from([*records[0], "weights.tv", "cell.acquisition.haadf_tilts"])
    changed = [_changed(record, data.draw(keys), data.draw(ANYTHING)) for record in records[:4]]
    lines = [json.dumps(record) + "\n" for record in [*changed, *records[4:]]]
    (other / "trials.jsonl").write_text("".join(lines))
    reader = JournalReader(other)
    atlas = atlas_of(other, reader.trials)
    json.dumps(page_data(atlas, reader.trials, reader.study, {}), allow_nan=False)
    assert page_text(reader, atlas, other, ())["rows"]
    assert len(reader.trials) >= len(records) - 4


def _changed(record, key, value):
    table, _, name = key.partition(".")
    return record | {table: record[table] | {name: value} if name else value}
