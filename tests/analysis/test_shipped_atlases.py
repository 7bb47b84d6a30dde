"""Atlases by name, by folder and by file, and those of another version."""

from __future__ import annotations

import shutil
import tomllib

import h5py
import numpy as np
import pandas as pd
import pytest

from tomoatlas.analysis import atlas_names, located, shipped_atlas
from tomoatlas.analysis.atlas import load_atlas, write_atlas
from tomoatlas.analysis.recommend import recommend
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.sweep.record import StudyFolder

NAME = "fig4_nanocubes_64"


@pytest.fixture
def written(folder):
    write_atlas(folder)
    return folder


@pytest.mark.parametrize("name", atlas_names())
def test_every_shipped_atlas_answers_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    atlas, folder = load_atlas(name), located(name)
    pd.testing.assert_frame_equal(atlas.table, load_atlas(folder / "atlas.h5").table)
    assert atlas.notes == ()
    assert recommend(name, 41, 9) == recommend(atlas, 41, 9)
    assert StudyFolder(folder).study().axes.keys() == dict.fromkeys(atlas.axes).keys()


def test_a_folder_of_the_person_comes_before_a_shipped_name(written, tmp_path, monkeypatch):
    shutil.copytree(written, tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    assert shipped_atlas(NAME) is None
    assert len(load_atlas(NAME).table) == len(load_atlas(written).table) == 9


def test_a_folder_gives_the_atlas_of_its_journal(written):
    (written / "atlas.h5").unlink()
    pd.testing.assert_frame_equal(
        load_atlas(written).table, load_atlas(written / "atlas.csv").table, check_dtype=False
    )


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(BadInput) as refused:
        load_atlas("fig4_nanocube_64")
    assert refused.value.source == "fig4_nanocube_64"
    assert f"did you mean {NAME}?" in refused.value.problem
    assert all(name in refused.value.accepted for name in atlas_names())


def test_columns_of_another_version_are_left_out_and_named(written):
    with h5py.File(written / "atlas.h5", "a") as file:
        file["totals_Co"], file["nrmse_low"] = np.ones(9), np.ones(9)
    atlas = load_atlas(written / "atlas.h5")
    assert not {"totals_Co", "nrmse_low"} & set(atlas.table)
    assert atlas.elements == load_atlas(written).elements
    (note,) = atlas.notes
    assert note.endswith("totals_Co, nrmse_low")
    assert note in recommend(atlas, 9, 9).notes


def with_solver(atlas_h5, **settings):
    """The file ``atlas_h5``, made by a solver of these settings."""
    with h5py.File(atlas_h5, "a") as file:
        text = str(file.attrs["study"])
        assert tomllib.loads(text)["solver"]["gamma"] == 2.0
        lines = "\n".join(f"{key} = {value}" for key, value in settings.items())
        old = [line for line in text.splitlines() if line.startswith("gamma = ")][-1]
        head, _, tail = text.rpartition(old)
        file.attrs["study"] = f"{head}{lines}{tail}"
    return load_atlas(atlas_h5)


def test_advice_is_for_the_settings_of_the_atlas(written):
    advice = recommend(with_solver(written / "atlas.h5", gamma=1.7), 9, 9)
    assert advice.settings == SolverSettings(gamma=1.7)


def test_advice_without_a_known_study_is_for_the_defaults(written):
    (written / "study.toml").unlink()
    advice = recommend(written / "atlas.csv", 9, 9)
    assert advice.settings == SolverSettings()


def test_a_setting_of_a_newer_atlas_is_named(written):
    advice = recommend(with_solver(written / "atlas.h5", gamma=2.0, optics=3), 9, 9)
    with pytest.raises(BadInput) as refused:
        _ = advice.settings
    assert (refused.value.key, refused.value.value) == ("optics", 3)
