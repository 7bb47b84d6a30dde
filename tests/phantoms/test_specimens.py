"""The specimens: stoichiometry, size independence, room to tilt, determinism, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas.phantoms.kinds import SPECIMENS, composite, make_specimen, nanocubes
from tomoatlas.phantoms.paint import mean_of_cells
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.errors import BadInput

kinds = pytest.mark.parametrize("kind", ["composite", "nanocubes"])
CATIONS = {"nanocubes": ("Co", "Cu"), "composite": ("Co", "Ni")}


@kinds
def test_oxides_are_stoichiometric_in_every_voxel(kind: str) -> None:
    specimen = make_specimen(kind, 48, 3)
    volume = dict(zip(specimen.elements, specimen.volumes, strict=True))
    cations = sum(volume[cation] for cation in CATIONS[kind])
    np.testing.assert_array_equal(cations, volume["O"])
    assert volume["O"].max() == pytest.approx(0.5)


@kinds
def test_no_voxel_holds_more_than_matter_can(kind: str) -> None:
    occupancy = make_specimen(kind, 48, 1).volumes.sum(axis=0)
    assert occupancy.max() <= 1 + 1e-6
    assert 0.05 < occupancy.mean() < 0.25


@kinds
@pytest.mark.parametrize("seed", [0, 5])
def test_coarse_is_the_block_mean_of_fine(kind: str, seed: int) -> None:
    coarse, fine = make_specimen(kind, 64, seed), make_specimen(kind, 128, seed)
    assert fine.voxel_size_nm * 128 == pytest.approx(coarse.voxel_size_nm * 64)
    for one, other in zip(coarse.volumes, fine.volumes, strict=True):
        difference = np.linalg.norm(one - mean_of_cells(other, 2)) / np.linalg.norm(one)
        assert difference < 0.05
        assert one.mean(dtype=float) == pytest.approx(other.mean(dtype=float), rel=0.02)


@kinds
def test_nothing_leaves_the_field_when_tilted(kind: str) -> None:
    size = 64
    z, y, x = (np.indices((size,) * 3) + 0.5) / size - 0.5
    outside = (np.hypot(z, y) > 0.5) | (np.abs(x) > 0.49)
    assert not make_specimen(kind, size, 2).volumes[:, outside].any()


@kinds
def test_the_seed_alone_decides(kind: str) -> None:
    one, same, other = (make_specimen(kind, 24, seed).volumes for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@kinds
def test_elements_are_known_before_building(kind: str) -> None:
    assert make_specimen(kind, 16).elements == SPECIMENS.get(kind).elements


def test_nanocubes_are_solid_and_core_shell_of_both_oxides() -> None:
    layout = nanocubes.layout(0)
    assert sorted(phase for _, phase in layout.cubes) == [nanocubes.COO] * 4 + [nanocubes.CUO] * 4
    assert sorted(phase for _, phase in layout.cores) == [nanocubes.COO] * 2 + [nanocubes.CUO] * 2
    assert len(layout.gold) == nanocubes.GOLD_COUNT


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_nanocubes_lie_apart_and_gold_lies_on_a_face(seed: int) -> None:
    layout = nanocubes.layout(seed)
    cubes = [cube for cube, _ in layout.cubes]
    for i, cube in enumerate(cubes):
        assert nanocubes.in_field(cube.corners())
        assert all(cube.clear_of(other, nanocubes.GAP) for other in cubes[:i])
    for ball in layout.gold:
        heights = [cube.distance(ball.centre) / ball.radius for cube in cubes]
        assert min(heights) == pytest.approx(nanocubes.LIFT, abs=1e-6)
        assert sorted(heights)[1] > 1


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000))
def test_composite_particles_sit_in_the_solid(seed: int) -> None:
    layout = composite.layout(seed)
    assert len(layout.particles) == composite.PARTICLES
    assert all(layout.support.holds(ball.centre) for ball in layout.particles)


def test_composite_support_is_porous() -> None:
    specimen = make_specimen("composite", 48, 0)
    envelope = 4 / 3 * np.pi * np.prod(composite.SEMI_AXES)
    solid = 2 * specimen.volumes[2].mean(dtype=float) / envelope
    assert 0.4 < solid < 0.75


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (("nanocube", 32, 0), "specimen.kind", "nanocube"),
        (("nanocubes", 4, 0), "specimen.size", 4),
        (("composite", 32, -1), "specimen.seed", -1),
    ],
)
def test_impossible_specimens_are_refused(
    arguments: tuple[str, int, int], key: str, value: object
) -> None:
    with pytest.raises(BadInput) as caught:
        make_specimen(*arguments)
    assert (caught.value.key, caught.value.value) == (key, value)


def volumes(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("array", "elements", "key", "value"),
    [
        (volumes(4, 4, 4), ("Co",), "volumes", (4, 4, 4)),
        (volumes(4, 4, 4, 2), ("Co", "O"), "volumes", (4, 4, 4, 2)),
        (volumes(3, 4, 4, 4), ("Co", "O"), "volumes", (3, 4, 4, 4)),
        (volumes(2, 4, 4, 4), ("Co", "Co"), "elements", ["Co", "Co"]),
        (volumes(2, 4, 4, 4), ("Co", "Xx"), "element", "Xx"),
        (volumes(0, 4, 4, 4), (), "elements", []),
        (volumes(1, 4, 0, 4), ("Co",), "volumes", (1, 4, 0, 4)),
        (np.full((1, 2, 2, 2), np.nan, np.float32), ("Co",), "volumes", None),
        (-volumes(1, 2, 2, 2), ("Co",), "volumes", -1.0),
        (
            volumes(2, 2, 2, 2) * np.array([1, 0]).reshape(2, 1, 1, 1),
            ("Co", "O"),
            "volumes",
            "O",
        ),
    ],
)
def test_volumes_that_are_no_specimen(
    array: np.ndarray, elements: tuple[str, ...], key: str, value: object
) -> None:
    with pytest.raises(BadInput) as caught:
        Specimen(array, elements, 1.0)
    assert (caught.value.key, caught.value.value) == (key, value)


def test_a_wrong_axis_order_names_the_axis_of_the_elements() -> None:
    with pytest.raises(BadInput) as caught:
        Specimen(volumes(4, 4, 4, 2), ("Co", "O"), 1.0)
    assert "axis 3" in caught.value.problem


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan")])
def test_a_voxel_has_a_size(size: float) -> None:
    with pytest.raises(BadInput) as caught:
        Specimen(volumes(1, 2, 2, 2), ("Co",), size)
    assert (caught.value.key, caught.value.value) == ("voxel_size_nm", size)
