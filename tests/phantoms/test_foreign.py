"""Files in the manner of other programs: what they leave open is found, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas.phantoms.formats import microscope, signals
from tomoatlas.phantoms.formats.angles import angles_of_names, degrees_of_axis
from tomoatlas.phantoms.formats.gather import Choices, Gathered, gather
from tomoatlas.phantoms.formats.lines import Spectra, Window
from tomoatlas.phantoms.formats.microscope import Channel, read_channels
from tomoatlas.phantoms.formats.names import HAADF
from tomoatlas.phantoms.formats.pixels import Stack, registered
from tomoatlas.recon_core.errors import BadInput

TILTS = (-40.0, -20.0, 0.0, 20.0, 40.0)


def blob(shape: tuple[int, int], y: float, x: float, width: float) -> np.ndarray:
    """Counts of a spot at (y, x) from the middle."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape)
    spot = np.exp(-((rows[:, None] - y) ** 2 + (columns - x) ** 2) / (2 * width**2))
    return spot[None].astype(np.float32)


def middle(images: np.ndarray) -> np.ndarray:
    """Centre of mass from the middle, (y, x)."""
    mass = images[0] / images[0].sum()
    return np.array(
        [mass.sum(1 - a) @ (np.arange(n) - (n - 1) / 2) for a, n in enumerate(mass.shape)]
    )


def stack(images: np.ndarray, name: str = "Co", pixel: float | None = 1.0) -> Stack:
    angles = tuple(map(float, range(len(images))))
    return Stack(name, images, angles, "", pixel, np.zeros((len(images), 2)))


@settings(max_examples=40)
@given(
    st.tuples(st.integers(60, 67), st.integers(60, 67)),
    st.integers(1, 4),
    st.integers(0, 3),
    st.floats(1.05, 2.6),
    st.booleans(),
)
def test_what_moves_the_middle_is_kept_beside_the_images(
    shape: tuple[int, int], factor: int, rows: int, ratio: float, turned: bool
) -> None:
    made = stack(blob(shape, 2.3, -1.7, 6.0))  # over a sharper one large pixels average too roughly
    made = made.cut(shape[0] - rows, shape[1] - 1)
    made = made.turned() if turned else made
    coarse = made.added_up(factor).spread(ratio)
    place = np.array([1.7, 2.3] if turned else [2.3, -1.7])
    np.testing.assert_allclose(
        middle(coarse.images) - coarse.off[0], place / (factor * ratio), atol=0.02
    )
    assert coarse.images.sum() == pytest.approx(made.images.sum(), rel=1e-3)
    assert coarse.pixel_nm == pytest.approx(factor * ratio)


def test_odd_edges_of_both_modalities_meet_in_the_projector() -> None:
    fine = np.concatenate([blob((65, 65), 6.0, 4.0, 6.0)] * 5)
    channels = [
        Channel(HAADF, fine, TILTS, "", 0.5, Path("HAADF")),
        Channel(
            "Co", np.concatenate([blob((32, 32), 3.0, 2.0, 3.0)] * 5), TILTS, "", 1.0, Path("Co")
        ),
    ]
    found = gather(channels, Choices(axis="x")).series
    assert found.haadf.shape == found.chemical[0].shape == (5, 32, 32)
    off = [p.axis_offset for p in (found.haadf_placement, found.chemical_placement)]
    along = [p.of_each(5)[0][1] for p in (found.haadf_placement, found.chemical_placement)]
    at = np.array([middle(found.haadf), middle(found.chemical[0])]) - np.stack([off, along], axis=1)
    np.testing.assert_allclose(at[0] - at[1], 0.0, atol=0.01)


def test_the_same_field_stands_in_for_a_missing_pixel_size() -> None:
    notes: list[str] = []
    images = [np.ones((3, n, n), np.float32) for n in (64, 16)]
    fine, coarse = (stack(i, n, None) for i, n in zip(images, (HAADF, "Co"), strict=True))
    found, pixel = registered([fine, coarse], 1, notes)
    assert [s.field for s in found] == [(16, 16)] * 2
    assert pixel == 1.0
    assert found[0].images.max() == 16.0


def by_tilt(pixels: tuple[float, ...], **change: object) -> Gathered:
    """One tilt a file, of a field that stays the same."""
    files = [
        Channel(
            "Co",
            np.full((1, round(16 / p), round(16 / p)), p**2, np.float32),
            (t,),
            "",
            p,
            Path(str(t)),
        )
        for p, t in zip(pixels, TILTS, strict=True)
    ]
    return gather(files, Choices(axis="x", **change))


def test_files_of_one_channel_are_brought_to_one_pixel() -> None:
    found = by_tilt((1.0, 0.5, 0.5, 1.0, 1.0)).series
    assert found.voxel_size_nm == 1.0
    np.testing.assert_allclose(found.chemical, 1.0)
    with pytest.raises(BadInput) as refused:
        by_tilt((1.0,) * 5, binning=32)
    assert refused.value.key == "--bin"


@pytest.mark.parametrize(
    ("names", "angles"),
    [
        (["HAADF-40", "HAADF+0", "HAADF+40"], (-40, 0, 40)),
        (["s_-40.5_0001", "s_0_0002", "s_40.5_0003"], (-40.5, 0, 40.5)),
        (["2024-11-03_Co_m30", "2024-11-03_Co_0", "2024-11-03_Co_p30"], (-30, 0, 30)),
        (["tilt30_2", "tilt-30_1"], (30, -30)),
        (["001_-30deg", "002_10deg"], (-30, 10)),
        (["Co_40_1", "Co_20_2", "Co_0_3"], (40, 20, 0)),
        (["Co_\u221240\u00b0", "Co_\u221220\u00b0", "Co_40\u00b0"], (-40, -20, 40)),
    ],
)
def test_angles_in_names(names: list[str], angles: tuple[float, ...]) -> None:
    assert angles_of_names([Path(f"{n}.tif") for n in names]) == angles


def test_one_element_may_have_fewer_tilts() -> None:
    maps = np.arange(5, dtype=np.float32)[:, None, None] + np.ones((5, 8, 8), np.float32)
    near = tuple(t + 0.03 for t in TILTS[1:])
    channels = [Channel("Co", maps, TILTS, "", 1.0, Path("Co"))]
    channels.append(Channel("O", maps[1:], near, "", 1.0, Path("O")))
    found = gather(channels, Choices(axis="x")).series
    assert found.chemical.shape[1] == 4
    np.testing.assert_array_equal(*found.chemical)
    with pytest.raises(BadInput) as refused:
        gather(
            [channels[0], Channel("O", maps, (1.0, 2.0, 3.0, 4.0, 5.0), "", 1.0, Path("O"))],
            Choices(),
        )
    assert refused.value.key == "--angles"


def read(monkeypatch: pytest.MonkeyPatch, path: Path, *found: dict[str, object]) -> list[Channel]:
    """Channels of signals as if RosettaSciIO had read them."""
    path.write_bytes(b"")
    parts = [signals.described(signal) for signal in found]
    monkeypatch.setattr(microscope, "read_signals", lambda _: parts)
    return read_channels(path, ("Co",))


def image(title: str, shape: tuple[int, ...] = (8, 8), **facts: object) -> dict[str, object]:
    names = ["", "", "y", "x"][-len(shape) :]
    axes = [
        {"name": n, "units": "nm", "scale": 1.0, "size": s}
        for n, s in zip(names, shape, strict=True)
    ]
    return {"data": np.ones(shape), "axes": axes, "metadata": {"General": {"title": title}}} | facts


def test_the_tilt_of_the_stage_stands_where_hyperspy_looks_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    facts = {
        "original_metadata": {"Stage": {"AlphaTilt": "0.5"}},
        "mapping": {
            "Stage.AlphaTilt": (
                "Acquisition_instrument.TEM.Stage.tilt_alpha",
                lambda a: np.degrees(float(a)),
            ),
            "Stage.BetaTilt": ("Acquisition_instrument.TEM.Stage.tilt_beta", None),
        },
    }
    found = read(monkeypatch, tmp_path / "a.emd", image("HAADF", **facts), image("BF", **facts))
    assert found[0].angles_deg == pytest.approx((np.degrees(0.5),))
    assert [c.name == HAADF for c in found] == [True, False]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("EDS_Co-K", "Co"),
        ("Au Lα1", "Au"),
        ("K", "K"),
        ("EDS_K", "K"),
        ("O K", "O"),
        ("Survey", HAADF),
    ],
)
def test_names_of_maps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, title: str, name: str
) -> None:
    assert [c.name for c in read(monkeypatch, tmp_path / "1.dm4", image(title))] == [name]


def test_an_axis_of_unknown_meaning_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert read(monkeypatch, tmp_path / "1.hspy", image("Co", (1, 1, 8, 8)))[0].images.shape == (
        1,
        8,
        8,
    )
    with pytest.raises(BadInput) as refused:
        read(monkeypatch, tmp_path / "1.hspy", image("Co", (3, 5, 8, 8)))
    assert refused.value.key == "axes"


@pytest.mark.parametrize(("units", "angles"), [("deg", (-2.0, 0.0, 2.0)), ("", None)])
def test_an_axis_z_holds_angles_if_its_unit_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, units: str, angles: tuple[float, ...] | None
) -> None:
    stacked = image("HAADF", (3, 8, 8))
    axes = [{"name": "z", "units": units, "offset": -2.0, "scale": 2.0, "size": 3}]
    found = read(monkeypatch, tmp_path / "a.dm3", stacked | {"axes": axes + stacked["axes"][1:]})
    assert found[0].angles_deg == angles


def test_tilts_in_radians_say_so_by_their_unit() -> None:
    axis = {"units": "rad", "axis": np.deg2rad([10.0, 12.0])}
    assert degrees_of_axis(axis, 2) == pytest.approx((10.0, 12.0))


def test_a_spectral_axis_may_have_any_steps() -> None:
    even = 0.02 * np.arange(400)
    odd = np.cumsum(np.where(np.arange(400) % 2, 0.01, 0.03))
    maps = []
    for energies in (even, odd):
        widths = np.gradient(energies)
        line = 900 * np.exp(-((energies - 4.0) ** 2) / (2 * 0.1**2)) * widths + 50 * widths
        counts = np.broadcast_to(line, (1, 4, 4, 400))
        maps.append(Window("Co", 3.7, 4.3).map_of(Spectra(counts, energies))[0].mean())
    assert maps[1] == pytest.approx(maps[0], rel=0.03)


def test_the_background_of_an_edge_is_a_power_law() -> None:
    energies = np.arange(400.0, 900.0)
    law = 1e9 * energies**-3.0
    edge = np.where(energies >= 779, 0.5, 0.0)
    counts = np.broadcast_to(law + edge, (1, 4, 4, 500))
    window = Window("Co", 779.0, 829.0)
    found, level = window.map_of(Spectra(counts, energies, kilo=False, eels=True))
    assert found.mean() == pytest.approx(0.5 * 51, rel=0.02)
    assert level == pytest.approx(law[379:430].sum(), rel=0.01)


def test_losses_need_a_window(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    axes = [{"name": n, "units": u, "scale": 1.0} for n, u in (("y", ""), ("x", ""), ("E", "eV"))]
    facts = {"Signal": {"signal_type": "EELS"}}
    signal = {"data": np.ones((4, 4, 900)), "axes": axes, "metadata": facts}
    with pytest.raises(BadInput) as refused:
        read(monkeypatch, tmp_path / "-4.dm4", signal)
    assert refused.value.key == "--window Co"


def test_a_file_of_the_authors(tmp_path: Path) -> None:
    path = tmp_path / "authors.h5"
    with h5py.File(path, "w") as file:
        file["haadf/tiltSeries"] = np.ones((6, 7, 5))
        file["eels/Co"] = np.ones((6, 7, 5))
        file["haadf/tiltAngles"] = file["eels/tiltAngles"] = TILTS
    found = {c.name: c for c in read_channels(path)}
    assert found[HAADF].images.shape == found["Co"].images.shape == (5, 7, 6)
    assert found["Co"].angles_deg == TILTS
