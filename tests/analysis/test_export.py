"""Exported volumes as the readers of other programs see them."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest

from tomoatlas.phantoms.formats import export_volumes, exported_paths, load_volumes
from tomoatlas.recon_core.errors import BadInput

ELEMENTS = ("Co", "O", "Au")
VOXEL = 1.75


@pytest.fixture
def volumes() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (3, 4, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("elements", [ELEMENTS, ("C", "Cu", "Co"), ("Si", "S", "C")])
def test_emd_is_read_by_rosettasciio_with_names_and_voxel_size(volumes, tmp_path, elements):
    emd = pytest.importorskip("rsciio.emd", reason="needs rosettasciio")
    export_volumes(tmp_path / "v.emd", volumes, elements, VOXEL)
    found = emd.file_reader(tmp_path / "v.emd")
    assert [s["metadata"]["General"]["title"] for s in found] == list(elements)
    for signal, volume in zip(found, volumes, strict=True):
        axes = {axis["name"]: axis for axis in signal["axes"]}
        order = [axes[name]["index_in_array"] for name in "zyx"]
        assert np.array_equal(np.transpose(signal["data"], order), volume)
        assert [axes[name]["scale"] for name in "zyx"] == pytest.approx([VOXEL] * 3)
        assert {axis["units"] for axis in axes.values()} == {"nm"}


def test_emd_holds_what_tomviz_looks_for(volumes, tmp_path):
    export_volumes(tmp_path / "v.emd", volumes, ELEMENTS, VOXEL)
    with h5py.File(tmp_path / "v.emd") as file:
        node = file["data/tomography"]
        assert node.attrs["emd_group_type"] == 1
        assert node["data"].attrs["name"] == b"Co"
        assert np.array_equal(node["data"][()], volumes[0].T)
        assert [node[f"dim{i}"].attrs["name"] for i in (1, 2, 3)] == [b"x", b"y", b"z"]
        assert np.diff(node["dim1"][()]) == pytest.approx(VOXEL)
        assert list(node["tomviz_scalars"]) == ["Au", "O"]
        assert isinstance(node["tomviz_scalars"].get("Au", getlink=True), h5py.HardLink)
        assert np.array_equal(node["tomviz_scalars/Au"][()], volumes[2].T)


def test_the_arrays_of_an_emd_are_stored_once(volumes, tmp_path):
    large = np.repeat(volumes, 20, axis=1)
    export_volumes(tmp_path / "v.emd", large, ELEMENTS, VOXEL)
    assert (tmp_path / "v.emd").stat().st_size < 1.5 * large.nbytes + 20_000


def test_tif_is_an_imagej_hyperstack_with_elements_as_channels(volumes, tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="needs the extra export")
    export_volumes(tmp_path / "v.tif", volumes, ELEMENTS, VOXEL)
    with tifffile.TiffFile(tmp_path / "v.tif") as file:
        assert file.is_imagej
        assert file.series[0].axes == "ZCYX"
        assert np.array_equal(np.moveaxis(file.asarray(), 1, 0), volumes)
        facts = file.imagej_metadata
        assert (facts["channels"], facts["slices"], facts["unit"]) == (3, 4, "nm")
        assert float(facts["spacing"]) == pytest.approx(VOXEL)
        assert facts["Labels"][:4] == ["Co z=0", "O z=0", "Au z=0", "Co z=1"]
        numerator, denominator = file.pages[0].tags["XResolution"].value
        assert denominator / numerator == pytest.approx(VOXEL)


def test_tif_is_read_by_rosettasciio(volumes, tmp_path):
    tiff = pytest.importorskip("rsciio.tiff", reason="needs rosettasciio")
    export_volumes(tmp_path / "v.tif", volumes, ELEMENTS, VOXEL)
    signal = tiff.file_reader(tmp_path / "v.tif")[0]
    assert np.array_equal(np.moveaxis(signal["data"], 1, 0), volumes)
    scales = {axis["name"]: axis["scale"] for axis in signal["axes"]}
    assert [scales[n] for n in ("depth", "height", "width")] == pytest.approx([VOXEL] * 3)


def test_mrc_is_one_file_per_element(volumes, tmp_path):
    mrcfile = pytest.importorskip("mrcfile", reason="needs the extra export")
    paths = export_volumes(tmp_path / "v.mrc", volumes, ELEMENTS, VOXEL)
    assert [p.name for p in paths] == ["v_Co.mrc", "v_O.mrc", "v_Au.mrc"]
    for path, volume, element in zip(paths, volumes, ELEMENTS, strict=True):
        assert mrcfile.validate(path)
        with mrcfile.open(path) as file:
            assert np.array_equal(file.data, volume)
            assert float(file.voxel_size.z) == pytest.approx(10 * VOXEL)
            assert element in file.get_labels()[0]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the reader's own
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_mrc_is_read_by_rosettasciio(volumes, tmp_path):
    mrc = pytest.importorskip("rsciio.mrc", reason="needs rosettasciio")
    pytest.importorskip("mrcfile", reason="needs the extra export")
    path = export_volumes(tmp_path / "v.mrc", volumes, ELEMENTS, VOXEL)[0]
    signal = mrc.file_reader(str(path))[0]
    assert np.array_equal(signal["data"], volumes[0])
    assert [axis["scale"] for axis in signal["axes"]] == pytest.approx([VOXEL] * 3)


def test_hspy_is_read_by_rosettasciio(volumes, tmp_path):
    hspy = pytest.importorskip("rsciio.hspy", reason="needs rosettasciio")
    export_volumes(tmp_path / "v.hspy", volumes, ELEMENTS, VOXEL)
    (signal,) = hspy.file_reader(str(tmp_path / "v.hspy"))
    assert np.array_equal(signal["data"], volumes)
    assert list(signal["metadata"]["Sample"]["elements"]) == list(ELEMENTS)
    assert signal["package"] == "hyperspy"  # which warns of a package that it does not find
    assert [axis["name"] for axis in signal["axes"]] == ["element", "z", "y", "x"]
    assert [axis["scale"] for axis in signal["axes"][1:]] == [VOXEL] * 3
    assert {axis["units"] for axis in signal["axes"][1:]} == {"nm"}
    again, elements, size = load_volumes(tmp_path / "v.hspy")
    assert np.array_equal(again, volumes)
    assert (elements, size) == (ELEMENTS, VOXEL)


FACTS = {"method": "fused", "haadf": 0.3, "tv": 1.4, "film": True, "by_tilt": (1.0, 2.0), "µ": "é"}


def test_every_format_keeps_how_the_volumes_were_made(volumes, tmp_path):
    mrcfile = pytest.importorskip("mrcfile", reason="needs mrcfile")
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    emd = pytest.importorskip("rsciio.emd", reason="needs rosettasciio")
    hspy = pytest.importorskip("rsciio.hspy", reason="needs rosettasciio")
    for suffix in ("emd", "tif", "mrc", "hspy"):
        export_volumes(tmp_path / f"v.{suffix}", volumes, ELEMENTS, VOXEL, FACTS)
    with tifffile.TiffFile(tmp_path / "v.tif") as file:
        assert "haadf = 0.3" in file.imagej_metadata["Info"].splitlines()
    with mrcfile.open(next(tmp_path.glob("v_*.mrc"))) as file:
        labels = file.get_labels()
    assert any("method fused, haadf 0.3, tv 1.4" in label for label in labels)
    assert max(map(len, labels)) <= 80
    (signal,) = hspy.file_reader(str(tmp_path / "v.hspy"))
    kept = signal["original_metadata"]["tomoatlas"]
    assert (kept["method"], kept["tv"], kept["µ"]) == ("fused", 1.4, "é")
    signals = emd.file_reader(str(tmp_path / "v.emd"))
    assert signals[0]["original_metadata"]["comments"]["haadf"] == 0.3
    assert "by_tilt" not in kept


def test_other_suffixes_and_missing_packages_are_one_line(volumes, tmp_path, monkeypatch):
    with pytest.raises(BadInput) as caught:
        exported_paths(tmp_path / "v.raw", ELEMENTS)
    assert caught.value.value == ".raw"
    assert ".mrc" in str(caught.value.accepted)
    monkeypatch.setitem(sys.modules, "mrcfile", None)
    with pytest.raises(BadInput) as caught:
        export_volumes(tmp_path / "v.mrc", volumes, ELEMENTS, VOXEL)
    assert caught.value.accepted == "pip install 'tomoatlas[export]'"
    assert list(tmp_path.iterdir()) == []
