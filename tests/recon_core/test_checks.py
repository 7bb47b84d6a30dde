"""Checks before a solve: silence on sound data, each kind of fault found, whatever the unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon_cases import tilt_series
from scipy.ndimage import gaussian_filter

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.checks import Finding, check_series
from tomoatlas.recon_core.geometry import film_thickness
from tomoatlas.recon_core.metrics.vacuum import chemical_backgrounds
from tomoatlas.recon_core.tiltseries import TiltSeries


@pytest.fixture(scope="module", params=["nanocubes", "composite"])
def series(request: pytest.FixtureRequest) -> TiltSeries:
    plan = Acquisition(haadf_tilts=21, chemical_tilts=9, oversample=2)
    return simulate(make_specimen(request.param, 64, 3), plan, 1)


def kinds(series: TiltSeries) -> list[str]:
    return [finding.kind for finding in check_series(series)]


def found(series: TiltSeries, kind: str) -> Finding:
    (finding,) = [finding for finding in check_series(series) if finding.kind == kind]
    return finding


def scaled(series: TiltSeries, factor: float) -> TiltSeries:
    return replace(
        series,
        haadf=np.float32(factor) * series.haadf,
        haadf_background=factor * series.haadf_background,
        haadf_scale=None,
    )


def in_order(series: TiltSeries, haadf: np.ndarray, chemical: np.ndarray) -> TiltSeries:
    return replace(
        series,
        haadf=series.haadf[haadf],
        haadf_angles_deg=tuple(np.asarray(series.haadf_angles_deg)[haadf].tolist()),
        chemical=series.chemical[:, chemical],
        chemical_angles_deg=tuple(np.asarray(series.chemical_angles_deg)[chemical].tolist()),
    )


def test_sound_data_raise_no_doubt(series: TiltSeries) -> None:
    assert check_series(series) == ()


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_tilts_may_come_in_any_order(seed: int) -> None:
    plan = Acquisition(haadf_tilts=21, chemical_tilts=9)
    series = simulate(make_specimen("composite", 32, 0), plan, 1)
    rng = np.random.default_rng(seed)
    haadf, chemical = rng.permutation(21), rng.permutation(9)
    assert kinds(in_order(series, haadf, chemical)) == []
    assert kinds(in_order(series, np.r_[0, haadf], np.r_[0, chemical])) == []
    blank = replace(series, chemical=series.chemical.copy())
    blank.chemical[:, 4] = 0
    shuffled = in_order(blank, haadf, chemical)
    assert found(shuffled, "blank-tilt") == found(blank, "blank-tilt")


@pytest.mark.parametrize("modality", ["haadf", "chemical"])
def test_radians_are_no_degrees(series: TiltSeries, modality: str) -> None:
    name = f"{modality}_angles_deg"
    angles = tuple(float(np.deg2rad(angle)) for angle in getattr(series, name))
    finding = found(replace(series, **{name: angles}), "radians")
    assert (finding.key, finding.value) == (f"{modality}/angles_deg", max(angles))
    assert "radians" in str(finding)


@pytest.mark.parametrize("axis", [None, 1, 2])
def test_another_orientation_is_named(series: TiltSeries, axis: int | None) -> None:
    if axis is None:
        other = replace(series, haadf_angles_deg=tuple(-a for a in series.haadf_angles_deg))
    else:
        other = replace(series, haadf=np.ascontiguousarray(np.flip(series.haadf, axis)))
    finding = found(other, "orientation")
    assert finding.value < 0.7
    assert ("opposite sign" in finding.words) == (axis is None)
    assert ("(y)" in finding.words, "(x)" in finding.words) == (axis == 1, axis == 2)


def test_images_with_x_and_y_exchanged_are_named(series: TiltSeries) -> None:
    other = replace(series, chemical=np.ascontiguousarray(series.chemical.swapaxes(2, 3)))
    finding = found(other, "orientation")
    assert finding.key == "haadf/projections"
    assert "x and y of the images exchanged" in finding.words


@pytest.mark.parametrize("factor", [1e-5, 1 / 300, 20.0, 1000.0])
def test_haadf_in_no_counts_is_measured(series: TiltSeries, factor: float) -> None:
    finding = found(scaled(series, factor), "unit")
    # edges of the specimen add to what is taken for noise
    assert 0.8 * factor < finding.value < 5 * factor


@pytest.mark.parametrize("factor", [1e-3, 50.0])
def test_faults_are_found_in_any_unit(series: TiltSeries, factor: float) -> None:
    counts = series.haadf.copy()
    counts[7, 10, 12] = 65535 * 4
    bad = scaled(replace(series, haadf=counts, haadf_background=0.0), factor)
    assert kinds(bad) == ["unit", "hot-pixel", "vacuum-level"]


def test_haadf_of_the_other_sign_is_told(series: TiltSeries) -> None:
    bright_field = replace(series, haadf=float(series.haadf.max()) - series.haadf)
    finding = found(bright_field, "inverted")
    assert finding.value < -0.5
    assert "bright field" in finding.words


@pytest.mark.parametrize("chemical_snr", [1.05, 2.0, 8.0])
def test_maps_that_are_no_counts_any_more(chemical_snr: float) -> None:
    plan = Acquisition(haadf_tilts=5, chemical_tilts=9, chemical_snr=chemical_snr)
    series = simulate(make_specimen("composite", 48, 3), plan, 1)
    assert "not-counts" not in kinds(series)
    smooth = gaussian_filter(series.chemical, (0, 0, 1, 1))
    for maps in (series.chemical / 100, smooth.astype(np.float32)):
        levels = tuple(float(m.min()) for m in maps)
        assert "not-counts" in kinds(replace(series, chemical=maps, chemical_background=levels))


@pytest.mark.parametrize("factor", [12.0, 1e5])
def test_intensities_that_are_no_counts(series: TiltSeries, factor: float) -> None:
    levels = tuple(factor * b for b in series.chemical_background)
    scaled_up = replace(series, chemical=series.chemical * factor, chemical_background=levels)
    finding = found(scaled_up, "not-counts")
    assert 0.5 * factor < finding.value < 2 * factor
    assert "missing-element" not in kinds(scaled_up)  # their noise is not that of counts


@pytest.mark.parametrize("whole", [1.0, 100.0])
def test_shares_of_atoms_are_no_counts(series: TiltSeries, whole: float) -> None:
    total = series.chemical.sum(axis=0)
    shares = (whole * series.chemical / np.maximum(total, 1)).astype(np.float32)
    assert "shares" in found(replace(series, chemical=shares), "not-counts").words


def test_haadf_that_shows_nothing_is_named(series: TiltSeries) -> None:
    empty = replace(series, haadf=np.full_like(series.haadf, 7))
    assert found(empty, "no-counts").key == "haadf/projections"


@pytest.mark.parametrize(("modality", "group"), [("haadf", 1), ("haadf", 2), ("chemical", 1)])
def test_angles_that_were_sorted_and_images_that_were_not(modality: str, group: int) -> None:
    series = tilt_series(32, haadf_tilts=41, chemical_tilts=13, chemical_snr=8.0)
    images = series.haadf if modality == "haadf" else series.chemical
    count = images.shape[-3]
    # + - + - … or + - - + + - - …, ever farther from the middle
    sign = [1 - 2 * ((i + group - 1) // group % 2) for i in range(count)]
    sides = {side: iter(range(1, count)) for side in (1, -1)}
    taken = [count // 2] + [count // 2 + s * next(sides[s]) for s in sign[1:]]
    taken = [i for i in taken if 0 <= i < count]
    rest = [i for i in range(count) if i not in taken]
    mixed = images[..., [*taken, *rest], :, :]
    assert "order" in kinds(replace(series, **{modality: mixed}))


def test_a_map_of_one_value_is_named(series: TiltSeries) -> None:
    maps = series.chemical.copy()
    maps[1] = 3.0
    words = found(replace(series, chemical=maps), "no-counts").words
    assert f"all pixels of {series.elements[1]} have one value" in words


def test_one_map_under_two_names_is_named(series: TiltSeries) -> None:
    maps = series.chemical.copy()
    maps[1] = maps[0]
    words = found(replace(series, chemical=maps), "same-map").words
    assert " and ".join(series.elements[:2]) in words


@pytest.mark.parametrize(
    "change",
    [
        lambda maps, levels: np.maximum(maps - levels, 0.0),
        lambda maps, levels: np.where(maps < levels, 0.0, maps),
        lambda maps, levels: 2.0 * maps,
        lambda maps, levels: 0.5 * maps,
    ],
    ids=["cut off at 0", "thresholded", "doubled", "averaged"],
)
def test_maps_that_scatter_otherwise_than_counts_in_vacuum(
    change: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> None:
    series = tilt_series(32, haadf_tilts=21, chemical_tilts=9, chemical_snr=8.0)
    levels = np.array(series.chemical_background)[:, None, None, None]
    changed = replace(series, chemical=np.float32(change(series.chemical, levels)))
    changed = replace(changed, chemical_background=chemical_backgrounds(changed))
    assert "in vacuum" in found(changed, "not-counts").words


@pytest.mark.parametrize("factor", [0.05, 20.0])
def test_one_element_in_another_unit_is_named(factor: float) -> None:
    series = tilt_series(32, haadf_tilts=21, chemical_tilts=9, chemical_snr=8.0)
    maps = series.chemical.copy()
    maps[2] *= np.float32(factor)
    changed = replace(series, chemical=maps)
    changed = replace(changed, chemical_background=chemical_backgrounds(changed))
    words = found(changed, "not-counts").words
    assert f"O {factor:.1g}" in words or "one gives" in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda angle: angle / 0.9, "1.11 times the tilts of the maps"),
        (lambda angle: angle + 6.0, "tilts +6° from"),
        (lambda angle: angle - 8.0, "tilts -8° from"),
    ],
)
def test_angles_that_are_not_those_of_the_maps(
    change: Callable[[float], float], words: str
) -> None:
    series = tilt_series(32, haadf_tilts=41, chemical_tilts=13, chemical_snr=20.0)
    angles = tuple(change(angle) for angle in series.haadf_angles_deg)
    assert words in found(replace(series, haadf_angles_deg=angles), "tilts").words


def test_a_hot_pixel_is_located(series: TiltSeries) -> None:
    counts = series.haadf.copy()
    counts[7, 10, 12] = 65535 * 4
    finding = found(replace(series, haadf=counts), "hot-pixel")
    assert finding.value == 65535 * 4
    assert f"{series.haadf_angles_deg[7]:.3g}°, (y, x) = (10, 12)" in finding.words


@pytest.mark.parametrize("at", [(7, 0, 0), (0, -1, -1)])
def test_a_hot_pixel_in_a_corner_is_found(series: TiltSeries, at: tuple[int, int, int]) -> None:
    counts = series.haadf.copy()
    counts[at] = 65535 * 4
    assert found(replace(series, haadf=counts), "hot-pixel").value == 65535 * 4


def test_blank_tilts_are_named(series: TiltSeries) -> None:
    maps, counts = series.chemical.copy(), series.haadf.copy()
    maps[:, 4], counts[10] = 0, 3 * counts[10]
    finding = found(replace(series, chemical=maps), "blank-tilt")
    assert (finding.key, finding.value) == ("chemical/projections", 0.0)
    finding = found(replace(series, haadf=counts), "blank-tilt")
    assert finding.key == "haadf/projections"
    assert finding.value == pytest.approx(3.0, rel=0.2)


def test_a_cut_field_is_seen_at_the_edge(series: TiltSeries) -> None:
    inside = slice(8, 24)
    cut = replace(
        series,
        haadf=np.ascontiguousarray(series.haadf[:, inside]),
        chemical=np.ascontiguousarray(series.chemical[:, :, inside]),
    )
    assert "cut-off" in kinds(cut)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_a_vacuum_level_off_by_a_fifth(series: TiltSeries, factor: float) -> None:
    level = series.haadf_background
    finding = found(replace(series, haadf_background=factor * level), "vacuum-level")
    assert finding.key == "haadf/background"
    assert finding.value == pytest.approx(level, rel=0.01)


def test_a_film_behind_the_specimen(series: TiltSeries) -> None:
    film = 0.1 * float(series.haadf.max())
    behind = film * film_thickness(series.haadf_angles_deg)[:, None, None]
    filmed = replace(series, haadf=(series.haadf + behind).astype(np.float32))
    assert found(filmed, "film").value == pytest.approx(film, rel=0.05)
    assert "film" not in kinds(replace(filmed, haadf_film=film))


def test_vacuum_levels_that_were_not_given(series: TiltSeries) -> None:
    finding = found(replace(series, haadf_background=0.0), "vacuum-level")
    assert finding.key == "haadf/background"
    assert finding.value == pytest.approx(series.haadf_background, rel=0.05)
    finding = found(replace(series, chemical_background=()), "vacuum-level")
    assert finding.key == "chemical/background"


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_backgrounds_of_maps_off_by_a_fifth(series: TiltSeries, factor: float) -> None:
    level = sum(series.chemical_background)
    given_levels = tuple(factor * b for b in series.chemical_background)
    finding = found(replace(series, chemical_background=given_levels), "vacuum-level")
    assert finding.key == "chemical/background"
    assert finding.value == pytest.approx(level, rel=0.05)


def test_an_element_without_a_map(series: TiltSeries) -> None:
    heaviest = max(series.atomic_numbers)
    without = series.of(np.array([z != heaviest for z in series.atomic_numbers]))
    finding = found(without, "missing-element")
    assert finding.value > 0.02
    assert "an element without a map, scales" in finding.words
    # what leaves HAADF unexplained otherwise is named alone
    moved = replace(without, haadf=np.roll(series.haadf, 3, axis=1))
    assert "missing-element" not in kinds(moved)
    counts = scaled(without, 1e-3)
    assert kinds(counts) == ["unit", "missing-element"]


@pytest.mark.parametrize("shift", [(3, 0), (-1, 0), (0, 2), (2, -2)])
def test_a_shift_is_measured(series: TiltSeries, shift: tuple[int, int]) -> None:
    moved = replace(series, haadf=np.roll(series.haadf, shift, axis=(1, 2)))
    assert found(moved, "shift").value == pytest.approx(np.hypot(*shift), abs=0.4)


def test_the_order_of_elements_changes_nothing(series: TiltSeries) -> None:
    moved = replace(series, haadf=np.roll(series.haadf, 2, axis=1))
    turned = replace(
        moved,
        elements=moved.elements[::-1],
        chemical=moved.chemical[::-1],
        chemical_background=moved.chemical_background[::-1],
        chemical_scale=None,
    )
    assert found(turned, "shift").value == pytest.approx(found(moved, "shift").value, abs=1e-3)


CUT: dict[str, Callable[[TiltSeries], TiltSeries]] = {
    "no HAADF": lambda s: replace(s, haadf=s.haadf[:0], haadf_angles_deg=()),
    "one tilt each": lambda s: in_order(s, np.array([10]), np.array([4])),
    "two tilts each": lambda s: in_order(s, np.array([0, 20]), np.array([0, 8])),
    "nothing": lambda s: replace(
        s,
        haadf=np.zeros_like(s.haadf),
        chemical=np.zeros_like(s.chemical),
        haadf_background=0.0,
        chemical_background=(),
    ),
    "few pixels": lambda s: replace(
        s, haadf=s.haadf[:, 14:18, :4], chemical=s.chemical[:, :, 14:18, :4]
    ),
}


@pytest.mark.parametrize("name", CUT)
def test_little_data_pass(series: TiltSeries, name: str) -> None:
    assert all(np.isfinite(finding.value) for finding in check_series(CUT[name](series)))
