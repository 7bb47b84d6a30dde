from __future__ import annotations

import fcntl
import tomllib
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest

from tomoatlas.analysis.atlas import Atlas, atlas_of, load_atlas, write_atlas
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.identity import LATER


@pytest.fixture
def written(folder):
    write_atlas(folder)
    return folder


@pytest.mark.parametrize("name", ["atlas.csv", "atlas.h5"])
def test_what_is_read_is_what_was_written(written, name):
    atlas, read = atlas_of(written), load_atlas(written / name)
    pd.testing.assert_frame_equal(read.table, atlas.table, check_exact=True)
    assert read.axes == atlas.axes
    assert read.settings == atlas.settings
    assert read.elements == ("Co", "Cu", "O", "Au")


def test_h5_holds_columns_axes_study_and_version(written, study):
    with h5py.File(written / "atlas.h5") as file:
        assert file["nrmse"].shape == (9,)
        assert file["nrmse"].dtype == np.float64
        assert list(file.attrs["axes"]) == list(study.axes)
        assert parse_study(file.attrs["study"]) == study
        assert file.attrs["version"]


@pytest.mark.parametrize("name", ["atlas.csv", "atlas.h5"])
def test_axes_of_words_and_no_axes_survive(folder_of, name):
    head = '[study]\nname = "w"\n[specimen]\nkind = "nanocubes"\nsize = 16\n'
    head += "[search]\ntrials = 1\nchemistry_tv_trials = 1\n"
    for i, axes in enumerate(("", '[axes]\n"specimen.kind" = ["nanocubes", "composite"]\n')):
        folder = folder_of(parse_study(head + axes), name=str(i))
        atlas = write_atlas(folder)
        read = load_atlas(folder / name)
        assert read.axes == atlas.axes
        pd.testing.assert_frame_equal(read.table, atlas.table, check_dtype=False)


def test_a_text_is_no_formula_in_the_csv_and_comes_back(written, monkeypatch):
    atlas = atlas_of(written)
    texts = [f"{start}SUM(1)" for start in "=+-@"] + ["a", "'b", "-c", "d", "e"]
    axis = "specimen.kind"
    table = pd.DataFrame({axis: texts}).join(atlas.table)
    odd = replace(atlas, table=table, axes=(axis, *atlas.axes))
    monkeypatch.setattr("tomoatlas.analysis.atlas.atlas_of", lambda folder, trials=None: odd)
    write_atlas(written)
    lines = (written / "atlas.csv").read_text().splitlines()
    assert not any(line.startswith(tuple("=+-@")) for line in lines)
    assert load_atlas(written / "atlas.csv").table[axis].tolist() == texts
    assert load_atlas(written / "atlas.h5").table[axis].tolist() == texts


@pytest.mark.parametrize("lock", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_locks_of_files_do_not_matter(written, lock):
    with (written / "atlas.h5").open("rb") as file:
        fcntl.flock(file, lock)
        write_atlas(written)
        load_atlas(written / "atlas.h5")
    with (written / "atlas.h5").open("rb") as file:
        fcntl.flock(file, lock)
        load_atlas(written / "atlas.h5")


def test_csv_alone_knows_no_study(written, tmp_path):
    lonely = tmp_path / "elsewhere.csv"
    lonely.write_bytes((written / "atlas.csv").read_bytes())
    read = load_atlas(lonely)
    assert read.settings == {}
    assert read.axes == ("acquisition.haadf_tilts", "acquisition.chemical_tilts")


def test_study_of_other_axes_beside_a_csv_is_not_believed(written):
    text = (written / "study.toml").read_text()
    (written / "study.toml").write_text(text[: text.index("[axes]")])
    assert load_atlas(written / "atlas.csv").settings == {}


def test_setting_by_path(written):
    atlas = load_atlas(written / "atlas.h5")
    assert atlas.setting("acquisition.haadf_snr") == 2208.67
    assert atlas.setting("acquisition.nothing.here") is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"\xff\xfe\x00\x01garbage"),
        ("a.csv", b"a,b\n1,2\n"),
        ("a.csv", b'"unclosed\n1,2'),
        (
            "a.csv",
            b"haadf,tv,nrmse,nrmse_ml,nrmse_ml_stopped,nrmse_chemistry_tv,trials\nx,1,1,1,1,1,1\n",
        ),
        ("a.h5", b"not hdf5"),
        ("a.h5", b"\x89HDF\r\n\x1a\n truncated"),
        ("a.txt", b"text"),
    ],
)
def test_garbage_is_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        load_atlas(path)
    assert caught.value.source == path
    assert "\n" not in str(caught.value)


def test_missing_column_is_named(written):
    table = pd.read_csv(written / "atlas.csv").drop(columns="nrmse_ml")
    table.to_csv(written / "atlas.csv", index=False)
    with pytest.raises(BadInput) as caught:
        load_atlas(written / "atlas.csv")
    assert caught.value.key == "nrmse_ml"
    assert "nrmse_ml_stopped" in str(caught.value.accepted)


@pytest.mark.parametrize("change", ["group", "length", "study", "axes"])
def test_damaged_h5_is_refused(written, change):
    with h5py.File(written / "atlas.h5", "a") as file:
        if change == "group":
            file.create_group("more")
        elif change == "length":
            del file["tv"]
            file["tv"] = np.ones(3)
        elif change == "study":
            file.attrs["study"] = "not = = toml"
        else:
            file.attrs["axes"] = np.array(["solver.gamma"], dtype=h5py.string_dtype())
    with pytest.raises(BadInput) as caught:
        load_atlas(written / "atlas.h5")
    assert caught.value.source == written / "atlas.h5"


def test_a_specimen_is_no_atlas(tmp_path):
    with h5py.File(tmp_path / "specimen.h5", "w") as file:
        file["volumes"] = np.ones((2, 3, 3, 3))
    with pytest.raises(BadInput) as caught:
        load_atlas(tmp_path / "specimen.h5")
    assert caught.value.source == tmp_path / "specimen.h5"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"acquisition.haadf_tilts": "many"}, "acquisition.haadf_tilts"),
        ({"nrmse": "low"}, "nrmse"),
        (None, None),
    ],
)
def test_a_table_that_is_no_atlas_is_refused(written, change, key):
    table = pd.read_csv(written / "atlas.csv")
    table = table.assign(**change) if change else table.iloc[:0]
    table.to_csv(written / "atlas.csv", index=False)
    with pytest.raises(BadInput) as caught:
        load_atlas(written / "atlas.csv")
    assert caught.value.key == key


def test_no_such_file(tmp_path):
    with pytest.raises(BadInput) as caught:
        load_atlas(tmp_path / "atlas.csv")
    assert caught.value.source == tmp_path / "atlas.csv"


def test_weight_of_an_absent_signal_is_no_weight():
    axis = "acquisition.haadf_tilts"
    table = pd.DataFrame({axis: [0, 9, 35], "haadf": [5.0, 0.1, 0.0], "tv": [1.0, 1.0, 1.0]})
    atlas = Atlas(table, (axis,))
    assert atlas.weights("haadf").isna().tolist() == [True, False, True]
    assert atlas.weights("tv").notna().all()


def test_a_key_newer_than_the_study_has_its_neutral_value(written, tmp_path, monkeypatch):
    monkeypatch.setitem(LATER, "acquisition.later", "as before")
    assert load_atlas(written / "atlas.h5").setting("acquisition.later") == "as before"
    (tmp_path / "alone.csv").write_bytes((written / "atlas.csv").read_bytes())
    assert load_atlas(tmp_path / "alone.csv").setting("acquisition.later") is None


def test_study_text_in_the_h5_is_toml(written):
    with h5py.File(written / "atlas.h5") as file:
        assert tomllib.loads(file.attrs["study"])["study"]["name"] == "synthetic <study>"


@pytest.mark.parametrize("spoil", ["semicolons", "first line", "utf-16"])
def test_a_table_that_a_spreadsheet_saved_names_the_separator(spoil, tmp_path):
    text = "acquisition.haadf_tilts,haadf,tv,nrmse\n9,0.1,0.5,0.4\n"
    spoilt = {
        "semicolons": text.replace(".", ",").replace(",", ";").encode(),
        "first line": f"sep=,\n{text}".encode(),
        "utf-16": text.encode("utf-16"),
    }[spoil]
    (tmp_path / "atlas.csv").write_bytes(spoilt)
    with pytest.raises(BadInput) as refused:
        load_atlas(tmp_path / "atlas.csv")
    assert "comma" in str(refused.value.accepted)
