"""Files of microscopes and of other programs become the tilt series that was put into them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.formats.gather import Choices, Gathered, gather
from tomoatlas.phantoms.formats.lines import LINES, Spectra, Window, window_of
from tomoatlas.phantoms.formats.microscope import read_channels
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.tiltseries import TiltSeries

# readers of RosettaSciIO leave files open
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

ELEMENTS = ("Co", "Cu", "O", "Au")
ENERGIES = 0.01 * np.arange(1100)


@cache
def series() -> TiltSeries:
    plan = Acquisition(haadf_tilts=15, chemical_tilts=7, chemical_snr=30.0)
    return simulate(make_specimen("nanocubes", 24, 0), plan, 0)


def write_mrc(
    path: Path, images: np.ndarray, angles: tuple[float, ...], pixel: float = 1.0
) -> Path:
    with mrcfile.new(path) as file:
        file.set_data(images.astype(np.float32))
        file.set_image_stack()
        file.voxel_size = 10.0 * pixel
    path.with_suffix(".rawtlt").write_text("".join(f"{a:.4f}\n" for a in angles))
    return path


def stacks(folder: Path, haadf_pixel: float = 1.0, **change: object) -> list[Path]:
    """HAADF.mrc and an MRC stack of every element, with angles beside them."""
    known = {"haadf": series().haadf, "angles": series().haadf_angles_deg} | change
    found = [write_mrc(folder / "HAADF.mrc", known["haadf"], known["angles"], haadf_pixel)]
    for name, maps in zip(ELEMENTS, series().chemical, strict=True):
        found.append(write_mrc(folder / f"{name}.mrc", maps, series().chemical_angles_deg))
    return found


def gathered(paths: list[Path], **choices: object) -> Gathered:
    return gather([c for path in paths for c in read_channels(path)], Choices(**choices))


def close(found: TiltSeries) -> None:
    np.testing.assert_array_equal(found.haadf, series().haadf)
    np.testing.assert_array_equal(found.chemical, series().chemical)
    assert found.haadf_angles_deg == pytest.approx(series().haadf_angles_deg, abs=1e-3)
    assert found.elements == ELEMENTS


def test_mrc_stacks_with_rawtlt(tmp_path: Path) -> None:
    found = gathered(stacks(tmp_path), axis="x").series
    close(found)
    assert found.voxel_size_nm == pytest.approx(1.0)


def test_images_in_another_order_and_in_radians(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(15)
    angles = tuple(np.deg2rad(series().haadf_angles_deg)[order])
    found = gathered(stacks(tmp_path, haadf=series().haadf[order], angles=angles), axis="x")
    assert found.series.haadf_angles_deg == pytest.approx(series().haadf_angles_deg, abs=0.01)
    np.testing.assert_array_equal(found.series.haadf, series().haadf)
    assert any("radians" in note for note in found.notes)


def test_angles_beyond_a_right_angle_are_views_from_behind(tmp_path: Path) -> None:
    haadf = series().haadf.copy()
    angles = [a + 180.0 if a < -60 else a for a in series().haadf_angles_deg]
    behind = np.array(angles) > 90
    haadf[behind] = haadf[behind, ::-1]
    close(gathered(stacks(tmp_path, haadf=haadf, angles=tuple(angles)), axis="x").series)


def test_an_upright_axis_is_found(tmp_path: Path) -> None:
    paths = stacks(tmp_path)
    for path in paths:
        with mrcfile.open(path, "r+") as file:
            file.set_data(np.ascontiguousarray(np.rot90(file.data, -1, axes=(1, 2))))
    found = gathered(paths)
    close(found.series)
    close(gathered(paths, axis="y").series)


def test_finer_haadf_is_added_up(tmp_path: Path) -> None:
    fine = np.repeat(np.repeat(series().haadf, 2, 1), 2, 2) / 4
    close(gathered(stacks(tmp_path, haadf_pixel=0.5, haadf=fine), axis="x").series)


def write_dxchange(
    path: Path, images: np.ndarray, angles: tuple[float, ...], **fields: float
) -> Path:
    """As tomopy has it: an upright axis, white and dark fields."""
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.rot90(images, -1, axes=(1, 2))
        file["exchange/theta"] = np.asarray(angles)
        file["exchange/theta"].attrs["units"] = "deg"
        for name, level in {"white": 1.0, "dark": 0.0, **fields}.items():
            file[f"exchange/data_{name}"] = np.full((2, *images.shape[1:]), level)
    return path


def in_dxchange(folder: Path) -> list[Path]:
    maps = zip(ELEMENTS, series().chemical, strict=True)
    return [
        write_dxchange(folder / "HAADF.h5", series().haadf, series().haadf_angles_deg),
        *(write_dxchange(folder / f"{e}.h5", m, series().chemical_angles_deg) for e, m in maps),
    ]


def test_data_exchange_of_tomopy(tmp_path: Path) -> None:
    close(gathered(in_dxchange(tmp_path)).series)


def test_sinograms_and_radians_of_data_exchange(tmp_path: Path) -> None:
    paths = in_dxchange(tmp_path)
    with h5py.File(paths[0], "r+") as file:
        images, angles = file["exchange/data"][()], file["exchange/theta"][()]
        del file["exchange"]
        file["exchange/data"] = images.swapaxes(0, 1)
        file["exchange/theta"] = np.deg2rad(angles)
        file["exchange/theta"].attrs["units"] = "rad"
    close(gathered(paths).series)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("exchange/theta", None, "--angles"),
        ("exchange/theta", np.zeros(9), "exchange/data"),
        ("exchange/data", np.zeros((15, 24)), "exchange/data"),
        ("exchange/data_white", np.arange(4.0), "exchange/data_white"),
    ],
)
def test_what_data_exchange_lacks_is_named(
    tmp_path: Path, key: str, value: np.ndarray | None, named: str
) -> None:
    paths = in_dxchange(tmp_path)
    with h5py.File(paths[0], "r+") as file:
        del file[key]
        if value is not None:
            file[key] = value
    with pytest.raises(BadInput) as refused:
        gathered(paths)
    assert refused.value.key == named


def test_a_reversed_sense_is_found(tmp_path: Path) -> None:
    opposite = tuple(-a for a in series().haadf_angles_deg)
    found = gathered(stacks(tmp_path, angles=opposite), axis="x")
    close(found.series)
    assert any("opposite" in note for note in found.notes)


def test_background_subtracted_maps_keep_a_level(tmp_path: Path) -> None:
    paths = stacks(tmp_path)
    lowered = series().chemical[0] - 5.0
    paths[1].unlink()
    write_mrc(paths[1], lowered, series().chemical_angles_deg)
    found = gathered(paths, axis="x").series
    level = found.chemical_background[0]
    assert level == pytest.approx(-lowered.min())
    np.testing.assert_allclose(found.chemical[0], lowered + level, atol=1e-3)


def test_tiff_one_tilt_a_file(tmp_path: Path) -> None:
    paths = []
    for name, images in (("haadf", series().chemical[0]), ("Co", series().chemical[1])):
        for angle, image in zip(series().chemical_angles_deg, images, strict=True):
            paths.append(tmp_path / f"{name}_{angle:+.1f}.tif")
            tifffile.imwrite(paths[-1], image)
    found = gathered(paths, axis="x").series
    np.testing.assert_array_equal(found.haadf, series().chemical[0])
    np.testing.assert_array_equal(found.chemical[0], series().chemical[1])
    assert found.chemical_angles_deg == pytest.approx(series().chemical_angles_deg, abs=0.1)


def test_an_emd_of_tomviz(tmp_path: Path) -> None:
    path = tmp_path / "tilts.emd"
    with h5py.File(path, "w") as file:
        group = file.create_group("data/tomography")
        group.attrs["emd_group_type"] = 1
        for i, (name, count) in enumerate((("x", 24), ("y", 24)), start=1):
            group[f"dim{i}"] = np.arange(count, dtype=np.float32)
            group[f"dim{i}"].attrs.update({"name": np.bytes_(name), "units": np.bytes_("[n_m]")})
        group["dim3"] = np.float32(series().chemical_angles_deg)
        group["dim3"].attrs.update({"name": np.bytes_("angles"), "units": np.bytes_("[deg]")})
        group["data"] = series().chemical[0].T
        group["tomviz_scalars/Co"] = series().chemical[1].T
    found = gathered([path], axis="x").series
    np.testing.assert_array_equal(found.haadf, series().chemical[0])
    np.testing.assert_array_equal(found.chemical[0], series().chemical[1])
    assert found.voxel_size_nm == pytest.approx(1.0)


def spectra(maps: np.ndarray, element: str) -> np.ndarray:
    """Maps as peaks of one element on a background of 2 counts a channel."""
    width = 0.13 / 2.355
    peak = np.exp(-((ENERGIES - LINES[element]) ** 2) / (2 * width**2))
    return maps[..., None] * peak / peak.sum() + 2.0


def test_a_window_takes_the_line_and_not_its_background() -> None:
    maps = np.full((1, 12, 12), 100.0)
    counts, level = window_of("Co").map_of(Spectra(spectra(maps, "Co"), ENERGIES))
    assert counts.mean() == pytest.approx(84, abs=5)  # what 1.2 widths hold
    assert level == pytest.approx(2.0 * 16, abs=6)
    with pytest.raises(BadInput) as refused:
        Window("Co", 20.0, 21.0).map_of(Spectra(spectra(maps, "Co"), ENERGIES))
    assert refused.value.key == "--window Co"


def test_a_spectrum_image_in_hspy(tmp_path: Path) -> None:
    writer = pytest.importorskip("rsciio.hspy").file_writer
    data = spectra(series().chemical[0], "Co")
    sizes = [("y", 24, "nm"), ("x", 24, "nm"), ("Energy", 1100, "keV")]
    axes = [{"name": "tilt", "size": 7, "units": "deg", "offset": -70.0, "scale": 140 / 6}]
    axes += [{"name": n, "size": s, "units": u, "offset": 0.0, "scale": 1.0} for n, s, u in sizes]
    axes[-1]["scale"] = 0.01
    for axis in axes:
        axis |= {
            "navigate": axis["name"] != "Energy",
            "is_binned": False,
            "_type": "UniformDataAxis",
        }
    signal = {
        "data": data,
        "axes": axes,
        "metadata": {"General": {"title": "EDX"}, "Sample": {"elements": ["Co"]}},
        "original_metadata": {},
        "tmp_parameters": {},
        "attributes": {"_lazy": False},
        "models": {},
        "learning_results": {},
        "package_info": {"package": "hyperspy", "package_version": "2"},
    }
    writer(str(tmp_path / "edx.hspy"), signal)
    (channel,) = read_channels(tmp_path / "edx.hspy")
    assert channel.name == "Co"
    assert channel.angles_deg == pytest.approx(series().chemical_angles_deg, abs=1e-6)
    counted = np.corrcoef(channel.images.ravel(), series().chemical[0].ravel())[0, 1]
    assert counted > 0.95
    # a spectrum without numbers spoils no other
    signal["data"] = data.copy()
    signal["data"][0, 3, 4] = np.nan
    writer(str(tmp_path / "holed.hspy"), signal)
    (holed,) = read_channels(tmp_path / "holed.hspy")
    assert np.argwhere(np.isnan(holed.images)).tolist() == [[0, 3, 4]]
    assert np.abs(holed.images - channel.images)[~np.isnan(holed.images)].max() < 1
    assert holed.level == pytest.approx(channel.level, rel=0.01)


@pytest.mark.parametrize(
    ("name", "content"),
    [("gone.mrc", None), ("bad.mrc", b"x" * 99), ("odd.xyz", b"1"), ("e.h5", b"")],
)
def test_what_is_no_image_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as refused:
        read_channels(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)


def test_a_stack_without_angles_says_what_to_give(tmp_path: Path) -> None:
    paths = stacks(tmp_path)
    paths[1].with_suffix(".rawtlt").unlink()
    with pytest.raises(BadInput) as refused:
        gathered(paths)
    assert refused.value.key == "--angles"
