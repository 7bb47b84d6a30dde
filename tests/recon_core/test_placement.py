"""Images that lie elsewhere, and pixels that do not count: in the projector, not in the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from host_launcher import HostLauncher, needs_compiler
from hypothesis import given
from hypothesis import strategies as st
from recon_cases import tilt_series, two_threads, with_threads
from recon_conformance import SHORT, inner, normal

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import Mask, Placement, TiltGeometry
from tomoatlas.recon_core.gpu import CudaDevice
from tomoatlas.recon_core.gpu.projector import CudaProjector
from tomoatlas.recon_core.projection import SparseProjector, cached_projector
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct

ANGLES = (-61.0, -20.0, 0.0, 33.0, 70.0)
SHIFTS = ((0.3, -1.2), (-2.0, 0.0), (1.7, 2.5), (0.0, 0.4), (0.5, -3.0))
MOVED = Placement(SHIFTS, axis_offset=0.7, rotation_deg=2.0)

NUMBERS = st.floats(-5, 5)


def blob(size: int, at: tuple[float, float, float]) -> np.ndarray:
    """A smooth Gaussian of 2 voxels around (z, y, x), from the middle."""
    axes = [np.arange(size) - (size - 1) / 2 - centre for centre in at]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.exp(-(z**2 + y**2 + x**2) / 8.0).astype(np.float32)


def centres(images: np.ndarray) -> np.ndarray:
    """Centre of mass of each image from the middle, (angle, (y, x))."""
    places = [np.arange(n) - (n - 1) / 2 for n in images.shape[1:]]
    mass = images.sum((1, 2))
    y, x = images.sum(2) @ places[0], images.sum(1) @ places[1]
    return np.stack([y, x], axis=1) / mass[:, None]


@SHORT
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=2), NUMBERS, NUMBERS)
def test_the_adjoint_is_exact_wherever_images_lie(
    shifts: list[tuple[float, float]], offset: float, rotation: float
) -> None:
    placement = Placement(tuple(shifts), offset, rotation)
    mask = Mask.of(normal((2, 9, 8), 2) < 1)
    projector = SparseProjector(TiltGeometry((-35.0, 62.0), (7, 9), placement, mask))
    x, p = normal((2, 7, 9, 8), 0), normal((2, 2, 9, 8), 1)
    ax, atp = projector.forward(x), projector.adjoint(p)
    size = np.sqrt(inner(ax, ax) * inner(p, p)) + np.sqrt(inner(x, x) * inner(atp, atp))
    assert abs(inner(ax, p) - inner(x, atp)) <= 1e-5 * size


def test_zero_shifts_are_the_projector_without_any() -> None:
    still = TiltGeometry((-20.0, 30.0), (6, 6))
    zero = TiltGeometry((-20.0, 30.0), (6, 6), Placement(((0.0, 0.0), (-0.0, 0.0))))
    assert zero == still
    assert cached_projector(zero) is cached_projector(still)


@pytest.mark.parametrize("rotation", [0.0, 2.0, -7.0])
def test_a_blob_is_where_the_placement_says(rotation: float) -> None:
    """Turned about the middle from x towards y, then shifted; the axis lies at its offset."""
    placement = Placement(SHIFTS, 0.7, rotation)
    size, at = 32, (1.0, -2.0, 3.0)
    projector = SparseProjector(TiltGeometry(ANGLES, (size, size), placement))
    tilts, turn = np.deg2rad(ANGLES), np.deg2rad(rotation)
    y, x = at[1] * np.cos(tilts) - at[0] * np.sin(tilts), at[2]
    turned = np.stack([y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)], 1)
    expected = turned + np.array(SHIFTS) + (0.7, 0.0)
    np.testing.assert_allclose(centres(projector.forward(blob(size, at))), expected, atol=0.02)


def test_centred_images_are_back_in_the_middle() -> None:
    still, moved = (
        SparseProjector(TiltGeometry(ANGLES, (32, 32), p)).forward(blob(32, (1.0, -2.0, 3.0)))
        for p in (Placement(), MOVED)
    )
    np.testing.assert_allclose(centres(MOVED.centred(moved)), centres(still), atol=0.5)


def test_a_row_shift_of_whole_pixels_interpolates_nothing() -> None:
    there = TiltGeometry((25.0,), (8, 8), Placement(((0.0, 3.0),)))
    volume = normal((8, 8, 8), 0)
    still = cached_projector(there.still).forward(volume)
    moved = cached_projector(there).forward(volume)
    np.testing.assert_array_equal(moved[..., 3:], still[..., :-3])
    assert not moved[..., :3].any()


@two_threads
def test_threads_do_not_change_the_result() -> None:
    projector, p = SparseProjector(TiltGeometry(ANGLES, (9, 9), MOVED)), normal((2, 5, 9, 9), 0)
    one, two = (with_threads(n, lambda: projector.adjoint(p)) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


@needs_compiler
def test_the_cuda_kernels_follow_shifts_across_the_axis() -> None:
    placement = Placement(tuple((y, 0.0) for y, _ in SHIFTS), 0.7)
    geometry = TiltGeometry(ANGLES, (8, 9), placement)
    volume, ours = normal((2, 8, 9, 6), 0), SparseProjector(geometry)
    theirs = CudaProjector(geometry, HostLauncher())
    p = ours.forward(volume)
    np.testing.assert_allclose(theirs.forward(volume), p, atol=1e-4)
    np.testing.assert_allclose(theirs.adjoint(p), ours.adjoint(p), atol=1e-3)


@needs_compiler
def test_a_gpu_refuses_what_mixes_slices() -> None:
    with pytest.raises(BadInput) as refused:
        CudaDevice(HostLauncher(), "a GPU").projector(TiltGeometry(ANGLES, (8, 8), MOVED))
    assert refused.value.key == "device"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"haadf_placement": Placement(((0.0, 1.0),))}, "haadf/shifts"),
        ({"chemical_placement": Placement(rotation_deg=60.0)}, "chemical.attrs[rotation_deg]"),
        ({"haadf_placement": Placement(axis_offset=np.nan)}, "haadf.attrs[axis_offset]"),
        ({"haadf_mask": Mask.of(np.ones((1, 2, 3), bool))}, "haadf/mask"),
    ],
)
def test_a_placement_of_other_images_is_named(change: dict[str, object], key: str) -> None:
    with pytest.raises(BadInput) as refused:
        replace(tilt_series(), **change)
    assert refused.value.key == key


QUICK = SolverSettings(max_iterations=15)


@pytest.mark.parametrize("method", ["fused", "ml"])
def test_masked_pixels_do_not_matter(method: str) -> None:
    """A hot pixel and a blank tilt that are masked: another value there changes nothing."""
    series = tilt_series()
    good, maps = np.ones(series.haadf.shape, bool), np.ones(series.chemical.shape[1:], bool)
    good[3, 4, 5] = good[4] = maps[2, 6, 7] = False
    masked = replace(series, haadf_mask=Mask.of(good), chemical_mask=Mask.of(maps))
    haadf, chemical = series.haadf.copy(), series.chemical.copy()
    haadf[3, 4, 5], haadf[4], chemical[:, 2, 6, 7] = 1e6, 0.0, 500.0
    spoiled = replace(masked, haadf=haadf, chemical=chemical)
    whole, found = (reconstruct(each, method, settings=QUICK) for each in (masked, spoiled))
    np.testing.assert_array_equal(found.volumes, whole.volumes)
    clean = reconstruct(series, method, settings=QUICK).volumes
    near = np.linalg.norm(found.volumes - clean) / np.linalg.norm(clean)
    assert near < 0.2


@pytest.mark.parametrize("method", ["fused", "ml"])
def test_shifted_data_give_the_volumes_of_data_in_place(method: str) -> None:
    """Whole pixels in both directions; without placement the result is another."""
    series = tilt_series(24)
    steps = [(1, -1), (0, 2), (-1, 0)]
    shifts = tuple(steps[i % 3] for i in range(9))
    rolled = np.stack(
        [np.roll(image, s, (0, 1)) for image, s in zip(series.haadf, shifts, strict=True)]
    )
    moved = replace(series, haadf=rolled)
    placed = replace(
        moved, haadf_placement=Placement(tuple((float(y), float(x)) for y, x in shifts))
    )
    right, lost, found = (
        reconstruct(each, method, settings=QUICK).volumes for each in (series, moved, placed)
    )
    if method == "fused":
        assert np.linalg.norm(found - right) < 0.5 * np.linalg.norm(lost - right)
    else:
        np.testing.assert_array_equal(found, right)  # maps are where they were
