from __future__ import annotations

import base64
import json
from io import BytesIO

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from tomoatlas.analysis.journal import JournalReader
from tomoatlas.analysis.report import write_report
from tomoatlas.analysis.report.slice_images import LARGEST, kept_slices, make_slices, slice_facts
from tomoatlas.analysis.rerun import Rerun, SliceSet
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.study import parse_study

STUDY = """
[study]
name = "slices"
[specimen]
kind = "nanocubes"
size = 16
[solver]
max_iterations = 4
[search]
trials = 1
chemistry_tv_trials = 1
[axes]
"acquisition.chemical_tilts" = [5, 9]
"""


@pytest.fixture(scope="module")
def sliced(tmp_path_factory, response):
    """A study folder with slices of its second cell, made from real reconstructions."""
    from tomoatlas.sweep.executors.local import InlineExecutor
    from tomoatlas.sweep.run.driver import run

    folder = tmp_path_factory.mktemp("sliced") / "out"
    run(parse_study(STUDY), folder, InlineExecutor(response))
    assert write_report(folder, ["chemical_tilts=9"]).notes == ()
    return folder


def opened(uri: str) -> Image.Image:
    head, data = uri.split(",", 1)
    assert head == "data:image/webp;base64"
    return Image.open(BytesIO(base64.b64decode(data)))


def test_slices_of_the_chosen_cell_are_kept(sliced):
    reader = JournalReader(sliced)
    kept = kept_slices(sliced / "report" / "slices", reader.study, reader.trials)
    assert list(kept) == [1]
    columns = kept[1]["columns"]
    assert [c["method"] for c in columns] == [None, "ml", "ml-stopped", "chemistry-tv", "fused"]
    assert all(opened(uri).size == (16, 16) for c in columns for uri in c["images"])
    assert len(kept[1]["history"]["iterations"]) == len(kept[1]["history"]["haadf"]) > 0


def test_they_are_not_made_twice_and_go_with_a_better_trial(sliced, monkeypatch):
    reader = JournalReader(sliced)
    place = sliced / "report" / "slices"
    monkeypatch.setattr(
        "tomoatlas.analysis.report.slice_images.rerun_best",
        lambda *_, **__: pytest.fail("made again"),
    )
    make_slices(place, reader.study, reader.study.cells()[1], reader.trials)
    better = reader.trials.copy()
    better.loc[better["method"] == "fused", "trial_id"] = "another"
    assert kept_slices(place, reader.study, better) == {}


def test_a_specimen_that_is_gone_is_a_note(sliced, tmp_path, monkeypatch):
    from tomoatlas.recon_core.errors import BadInput

    def gone(*_, **__):
        raise BadInput("no such file", source="cubes.h5")

    monkeypatch.setattr("tomoatlas.analysis.report.slice_images.rerun_best", gone)
    report = write_report(sliced, ["chemical_tilts=5"])
    assert report.notes == ("No slices of chemical_tilts=5: cubes.h5: no such file.",)
    assert report.notes[0] in report.index.read_text(encoding="utf-8")


def test_large_slices_are_averaged_down_and_the_beam_is_upwards():
    truth = np.zeros((1, 2 * LARGEST, 2 * LARGEST, 3), dtype=np.float32)
    truth[0, : LARGEST // 2, :, 1] = 2.0  # low z: the bottom quarter of the image
    shown = SliceSet(truth, {Method.ML: truth / 2}, ("Co",), 0.5)
    facts = slice_facts(Rerun(shown))
    image = np.asarray(opened(facts["columns"][0]["images"][0]).convert("L"), dtype=float)
    assert image.shape == (LARGEST, LARGEST)
    assert image[-10:].min() > 200
    assert image[:64].max() < 20
    red, green, blue = np.asarray(opened(facts["columns"][0]["composite"]))[-5, 5].tolist()
    expected = to_rgb(facts["elements"]["Co"])
    assert [red, green, blue] == pytest.approx([255 * c for c in expected], abs=8)
    assert facts["bar"] == {"nm": 20.0, "part": pytest.approx(20.0 / 128.0)}
    assert json.dumps(facts, allow_nan=False)
