"""File formats: each by its suffix and by a look inside; others may add some."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from tomoatlas.jobs.cli import main
from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.formats import (
    export_volumes,
    load_specimen,
    load_tilt_series,
    load_volumes,
    save_specimen,
    save_tilt_series,
    save_volumes,
)
from tomoatlas.phantoms.formats.registry import FORMATS, Concentrations, Format, format_to_read
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.checks import check_series
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.study import load_study
from tomoatlas.sweep.study.specimens import build

SPECIMEN = make_specimen("composite", 16, 0)
SERIES = simulate(SPECIMEN, Acquisition(haadf_tilts=5, chemical_tilts=4), 1)


def exported(path: Path, volumes: np.ndarray = SPECIMEN.volumes) -> list[Path]:
    elements = SPECIMEN.elements[: len(volumes)]
    return export_volumes(path, volumes, elements, SPECIMEN.voxel_size_nm)


@pytest.mark.parametrize("suffix", [".emd", ".tif", ".h5"])
@pytest.mark.parametrize("planes", [1, 16])
@pytest.mark.parametrize("elements", [1, 3])
def test_what_is_exported_is_read_back(
    tmp_path: Path, suffix: str, planes: int, elements: int
) -> None:
    if suffix == ".tif":
        pytest.importorskip("tifffile", reason="needs the extra export")
    content = SPECIMEN.volumes[:elements, :planes, :9, :7]
    (path,) = exported(tmp_path / f"v{suffix}", content)
    volumes, symbols, voxel_size_nm = load_volumes(path)
    np.testing.assert_array_equal(volumes, content)
    assert symbols == SPECIMEN.elements[:elements]
    assert voxel_size_nm == pytest.approx(SPECIMEN.voxel_size_nm)


def test_an_mrc_is_read_back_element_by_element(tmp_path: Path) -> None:
    pytest.importorskip("mrcfile", reason="needs the extra export")
    for path, element, volume in zip(
        exported(tmp_path / "v.mrc"), SPECIMEN.elements, SPECIMEN.volumes, strict=True
    ):
        volumes, symbols, voxel_size_nm = load_volumes(path)
        np.testing.assert_array_equal(volumes, volume[None])
        assert symbols == (element,)
        assert voxel_size_nm == pytest.approx(SPECIMEN.voxel_size_nm)


def test_an_mrc_of_another_program_has_no_element(tmp_path: Path) -> None:
    mrcfile = pytest.importorskip("mrcfile", reason="needs the extra export")
    with mrcfile.new(tmp_path / "v.mrc") as file:
        file.set_data(np.ones((4, 4, 4), np.float32))
    with pytest.raises(BadInput) as caught:
        load_volumes(tmp_path / "v.mrc")
    assert (str(caught.value.source), caught.value.key) == (str(tmp_path / "v.mrc"), "label")


@pytest.mark.parametrize(
    ("facts", "key"),
    [
        ({}, "Labels"),
        ({"Labels": ["first"]}, "Labels"),
        ({"Labels": ["Co"] * 4, "spacing": 2.0, "unit": "parsec"}, "unit"),
    ],
)
def test_a_tiff_of_another_program(tmp_path: Path, facts: dict[str, object], key: str) -> None:
    tifffile = pytest.importorskip("tifffile", reason="needs the extra export")
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, np.ones((4, 5, 6), np.float32), imagej=True, metadata=facts)
    with pytest.raises(BadInput) as caught:
        load_volumes(path)
    assert caught.value.key == key


@pytest.mark.parametrize("suffix", [".emd", ".tif", ".mrc"])
def test_garbage_is_one_line(tmp_path: Path, suffix: str) -> None:
    for package in ("tifffile", "mrcfile"):
        pytest.importorskip(package, reason="needs the extra export")
    path = tmp_path / f"v{suffix}"
    for content in (b"", b"not such a file" * 200):
        path.write_bytes(content)
        with pytest.raises(BadInput) as caught:
            load_volumes(path)
        assert str(caught.value.source) == str(path)
    path.unlink()
    with pytest.raises(BadInput):
        load_volumes(path)


def test_an_emd_names_what_is_no_element(tmp_path: Path) -> None:
    (path,) = exported(tmp_path / "v.emd")
    with h5py.File(path, "r+") as file:
        file["data/tomography/tomviz_scalars/phase"] = np.ones((4, 4, 4))
    with pytest.raises(BadInput) as caught:
        load_volumes(path)
    assert caught.value.value == "phase"


def test_one_suffix_of_several_formats_is_distinguished_inside(tmp_path: Path) -> None:
    save_volumes(tmp_path / "ours.emd", SPECIMEN.volumes, SPECIMEN.elements, 2.0)
    exported(tmp_path / "theirs.emd")
    found = [format_to_read(tmp_path / f"{n}.emd", "volumes").name for n in ("ours", "theirs")]
    assert found == ["tomoatlas HDF5", "EMD"]
    np.testing.assert_array_equal(load_volumes(tmp_path / "ours.emd")[0], SPECIMEN.volumes)


def test_a_file_of_any_suffix_is_recognised_inside(tmp_path: Path) -> None:
    save_tilt_series(tmp_path / "tilts.data", SERIES)
    np.testing.assert_array_equal(load_tilt_series(tmp_path / "tilts.data").haadf, SERIES.haadf)


def test_a_format_without_tilt_series_is_named(tmp_path: Path) -> None:
    (path,) = exported(tmp_path / "v.tif")
    with pytest.raises(BadInput) as caught:
        load_tilt_series(path)
    assert caught.value.source == path
    assert "h5" in str(caught.value.accepted)


def test_a_study_takes_an_exported_volume(tmp_path: Path) -> None:
    exported(tmp_path / "mine.emd")
    (tmp_path / "study.toml").write_text('[study]\nname = "t"\n[specimen]\nkind = "mine.emd"\n')
    study = load_study(tmp_path / "study.toml")
    np.testing.assert_array_equal(build(study.specimen).volumes, SPECIMEN.volumes)


def write_npz(path: Path, content: Concentrations) -> None:
    with path.open("wb") as file:
        np.savez(file, volumes=content.volumes, elements=content.elements)


def read_npz(path: Path) -> Concentrations:
    with np.load(path) as file:
        return Concentrations(file["volumes"], tuple(map(str, file["elements"])), 1.0)


@pytest.fixture
def npz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A distribution that adds the format npz."""
    info = tmp_path / "site" / "tomo_npz-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tomo-npz\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tomoatlas.formats]\nnpz = tomo_npz_format:NPZ\n")
    code = "from tomoatlas.phantoms.formats.registry import Format\nimport test_npz as t\n"
    (tmp_path / "site" / "tomo_npz_format.py").write_text(
        f"{code}NPZ = Format('npz', ('.npz',), None, t.read, t.write)\n"
    )
    monkeypatch.setitem(sys.modules, "test_npz", SimpleNamespace(read=read_npz, write=write_npz))  # type: ignore[arg-type]
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    FORMATS.refresh()
    yield
    monkeypatch.undo()
    FORMATS.refresh()


@pytest.mark.usefixtures("npz")
def test_a_format_of_a_plugin_is_exported_and_read(tmp_path: Path) -> None:
    save_specimen(tmp_path / "s.h5", SPECIMEN)
    argv = ["export", str(tmp_path / "s.h5"), "--out", str(tmp_path / "s.npz"), "-q"]
    assert main(argv) == 0
    back = load_specimen(tmp_path / "s.npz")
    np.testing.assert_array_equal(back.volumes, SPECIMEN.volumes)
    assert back.name == "s"
    (tmp_path / "study.toml").write_text('[study]\nname = "t"\n[specimen]\nkind = "s.npz"\n')
    assert load_study(tmp_path / "study.toml").specimen.from_file


def test_a_format_of_tilt_series_alone_takes_one(tmp_path: Path) -> None:
    def write(path: Path, series: object) -> None:
        path.write_text(type(series).__name__)

    FORMATS.register("names", Format("names", (".names",), write_series=write))
    save_tilt_series(tmp_path / "t.h5", SERIES)
    out = tmp_path / "t.names"
    assert main(["export", str(tmp_path / "t.h5"), "--out", str(out), "-q"]) == 0
    assert out.read_text() == "TiltSeries"


def test_subtracted_counts_are_read_with_a_level(tmp_path: Path) -> None:
    path = tmp_path / "tilts.h5"
    save_tilt_series(path, SERIES)
    with h5py.File(path, "r+") as file:
        file["chemical/projections"][0] -= 3.0
        file["chemical/background"][...] = 0.0
        low = float(file["chemical/projections"][0].min())
    found = load_tilt_series(path)
    assert found.chemical_background[0] == pytest.approx(-low)
    assert found.chemical_background[1:] == (0.0,) * (len(SERIES.elements) - 1)
    np.testing.assert_allclose(found.chemical[0], SERIES.chemical[0] - 3.0 - low, atol=1e-5)
    np.testing.assert_array_equal(found.chemical[1:], SERIES.chemical[1:])
    assert [finding.kind for finding in check_series(found)][:1] == ["level"]


@pytest.mark.parametrize("name", ["stack.mrc", "stack.tif"])
def test_stacks_of_other_programs_are_told_the_way(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x" * 2000)
    with pytest.raises(BadInput) as refused:
        load_tilt_series(tmp_path / name)
    assert "tomoatlas import" in str(refused.value.accepted)
