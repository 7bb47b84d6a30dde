"""Specimens of one's own: mass, stoichiometry, places, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tomoatlas.phantoms.kinds import SPECIMENS, make_specimen
from tomoatlas.phantoms.kinds.arrange import arrange
from tomoatlas.phantoms.kinds.bodies import Bodies
from tomoatlas.phantoms.materials import ATOMS_PER_NM3, MOST_ATOMS_PER_NM3, material
from tomoatlas.phantoms.paint import mean_of_cells, paint
from tomoatlas.phantoms.solids import RoundedBox
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.errors import BadInput

SHIPPED = ("au-fe3o4", "co3o4-mn3o4", "zns-cus", "cu-sic", "c-tio2")
GOLD: dict[str, Any] = {"shape": "sphere", "diameter_nm": 40.0, "material": "Au"}
FILM = {"shape": "film", "thickness_nm": 10.0, "material": "C"}
SHELL = {"shell": "Mn3O4", "shell_nm": 6.0, "shell_density": 4.86}
OXIDE = {"material": "Co3O4", "density": 6.11}


def built(size: int = 24, seed: int = 0, field_nm: float = 100.0, **bodies: Any) -> Specimen:
    return make_specimen("build", size, seed, field_nm=field_nm, bodies=bodies)


def atoms(specimen: Specimen) -> dict[str, float]:
    """Number of atoms of each element."""
    voxel = specimen.voxel_size_nm**3 * ATOMS_PER_NM3
    sums = specimen.volumes.sum(axis=(1, 2, 3), dtype=np.float64) * voxel
    return dict(zip(specimen.elements, sums, strict=True))


def volume_of(solid: RoundedBox) -> float:
    """Volume, by Steiner's formula for the points within a distance of a box."""
    a, b, c = 2 * solid.halves
    r = solid.radius
    edges = a * b * c + 2 * (a * b + b * c + c * a) * r
    return float(edges + np.pi * (a + b + c) * r**2 + 4 / 3 * np.pi * r**3)


@pytest.mark.parametrize(
    ("formula", "density", "counts"),
    [
        ("Au", None, {"Au": 19.3 / 196.97 * 602.214}),
        ("Co3O4", 6.11, {"O": 4 * 6.11 / 240.8 * 602.214, "Co": 3 * 6.11 / 240.8 * 602.214}),
        ("Cu0.64S0.36", 5.6, {"S": 0.36 * 64.59, "Cu": 0.64 * 64.59}),
    ],
)
def test_atoms_follow_from_formula_and_density(
    formula: str, density: float | None, counts: dict[str, float]
) -> None:
    assert dict(material(formula, density).atoms_per_nm3) == pytest.approx(counts, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["sphere", "cube", "rod", "plate"]),
    st.floats(12.0, 40.0),
    st.floats(12.0, 40.0),
    st.integers(0, 10_000),
)
def test_a_body_holds_its_mass_at_every_size(shape: str, a: float, b: float, seed: int) -> None:
    sizes = {
        "sphere": {"diameter_nm": a},
        "cube": {"edge_nm": a, "rounding_nm": b / 8},
        "rod": {"diameter_nm": a / 2, "length_nm": a / 2 + b},
        "plate": {"thickness_nm": a / 3, "width_nm": b},
    }[shape]
    body = {"shape": shape, **sizes, "count": 1, **OXIDE}
    (placed,) = arrange(100.0, Bodies.model_validate({"body": body}).root, seed)
    cobalt = volume_of(placed.solid) * 1e6 * dict(material("Co3O4", 6.11).atoms_per_nm3)["Co"]
    for size in (24, 40):
        assert atoms(built(size, seed, body=body))["Co"] == pytest.approx(cobalt, rel=0.02)


@pytest.mark.parametrize("size", [12, 32])
def test_even_particles_below_a_voxel_hold_their_mass(size: int) -> None:
    small = {"shape": "sphere", "diameter_nm": 10.0, "material": "Au", "count": 12}
    expected = 12 * np.pi / 6 * 1e3 * dict(material("Au").atoms_per_nm3)["Au"]
    assert atoms(built(size, small=small))["Au"] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("size", [12, 32])
@pytest.mark.parametrize(
    "body",
    [
        {"shape": "sphere", "diameter_nm": 0.3, "count": 20},
        {"shape": "sphere", "diameter_nm": 1.5, "count": 20},
        {"shape": "sphere", "diameter_nm": 2.2, "count": 20},
        {"shape": "cube", "edge_nm": 0.02, "count": 20},
        {"shape": "rod", "diameter_nm": 0.2, "length_nm": 50.0},
        {"shape": "plate", "thickness_nm": 0.3, "width_nm": 50.0},
    ],
)
def test_what_is_thinner_than_a_voxel_holds_its_mass(size: int, body: dict[str, Any]) -> None:
    gold = body | {"material": "Au", "rotation_deg": [20.0, 30.0, 40.0]}
    placed = arrange(100.0, Bodies.model_validate({"gold": gold}).root, 0)
    expected = (
        sum(volume_of(p.solid) for p in placed) * 1e6 * dict(material("Au").atoms_per_nm3)["Au"]
    )
    assert atoms(built(size, gold=gold))["Au"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("size", [12, 32])
@pytest.mark.parametrize("thickness_nm", [0.01, 0.3, 8.0])
def test_a_film_of_any_thickness_holds_its_mass(size: int, thickness_nm: float) -> None:
    expected = thickness_nm * 1e4 * dict(material("C").atoms_per_nm3)["C"]
    found = atoms(built(size, film=FILM | {"thickness_nm": thickness_nm}))["C"]
    assert found == pytest.approx(expected, rel=0.01)


def test_a_shell_and_its_core_share_the_volume() -> None:
    found = atoms(built(48, core=GOLD | OXIDE | SHELL))
    core, whole = (np.pi / 6 * d**3 for d in (28.0, 40.0))
    cobalt = core * dict(material("Co3O4", 6.11).atoms_per_nm3)["Co"]
    manganese = (whole - core) * dict(material("Mn3O4", 4.86).atoms_per_nm3)["Mn"]
    assert found["Co"] == pytest.approx(cobalt, rel=0.01)
    assert found["Mn"] == pytest.approx(manganese, rel=0.01)


@pytest.mark.parametrize("kind", SHIPPED)
def test_shipped_ones_are_the_same_at_every_size(kind: str) -> None:
    coarse, fine = make_specimen(kind, 32, 3), make_specimen(kind, 64, 3)
    assert coarse.elements == fine.elements == SPECIMENS.get(kind).elements_of({})
    for one, other in zip(coarse.volumes, fine.volumes, strict=True):
        assert np.linalg.norm(one - mean_of_cells(other, 2)) < 0.08 * np.linalg.norm(one)
        assert one.mean(dtype=float) == pytest.approx(other.mean(dtype=float), rel=0.04)


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        ("au-fe3o4", {"O": 4, "Fe": 3}),
        ("co3o4-mn3o4", {"O": (4, 4), "Mn": 3, "Co": 3}),
        ("cu-sic", {"C": 1, "Si": 1}),
    ],
)
def test_formulas_hold_in_every_voxel(kind: str, shares: dict[str, Any]) -> None:
    specimen = make_specimen(kind, 32)
    volume = dict(zip(specimen.elements, specimen.volumes.astype(float), strict=True))
    (anion, _), *cations = shares.items()
    ratio = shares[anion][0] if isinstance(shares[anion], tuple) else shares[anion]
    expected = sum(volume[e] / share for e, share in cations)
    np.testing.assert_allclose(volume[anion] / ratio, expected, rtol=1e-5, atol=1e-7)


def test_copper_sulfide_keeps_its_fractional_formula() -> None:
    body = GOLD | {"material": "Cu0.64S0.36", "density": 5.6}
    sulfur, copper = built(24, body=body).volumes.astype(float)
    np.testing.assert_allclose(copper * 0.36, sulfur * 0.64, rtol=1e-5, atol=1e-8)


def test_the_order_of_bodies_plays_no_part() -> None:
    bodies = {
        "large": GOLD | {"diameter_nm": 20.0, "count": 4},
        "small": {"shape": "cube", "edge_nm": 10.0, "count": 6, **OXIDE},
        "spots": {
            "shape": "sphere",
            "diameter_nm": 5.0,
            "count": 4,
            "on": "large",
            "material": "Pt",
        },
    }
    one = built(**bodies)
    other = built(**dict(reversed(bodies.items())))
    np.testing.assert_array_equal(one.volumes, other.volumes)
    assert not np.array_equal(built(seed=1, **bodies).volumes, one.volumes)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_packed_bodies_keep_their_gap_and_the_field(seed: int) -> None:
    packed = {
        "rods": {"shape": "rod", "diameter_nm": 6.0, "length_nm": 24.0, "count": 8, "gap_nm": 2.0},
        "cubes": {"shape": "cube", "edge_nm": 12.0, "spread_nm": 2.0, "count": 8, "gap_nm": 2.0},
    }
    bodies = {name: body | {"material": "Au"} for name, body in packed.items()}
    placed = arrange(100.0, Bodies.model_validate(bodies).root, seed)
    for one, other in itertools.combinations(placed, 2):
        assert one.solid.apart(other.solid) >= 0.02 - 1e-6
    for found in placed:
        z, y, x = np.abs(found.solid.corners()).max(axis=0)
        assert max(z, y, x) + found.solid.radius <= 0.5


def random_box(rng: np.random.Generator) -> RoundedBox:
    halves = rng.uniform(0, 0.15, 3) * rng.integers(0, 2, 3)
    axes = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    return RoundedBox(rng.uniform(-0.25, 0.25, 3), axes, halves, rng.uniform(0, 0.1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_gap_between_solids_is_that_of_their_nearest_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = random_box(rng), random_box(rng)
    points = one.centre + (rng.uniform(-1, 1, (20_000, 3)) * one.halves) @ one.axes
    sampled = float(other.distance(*points.T).min()) - one.radius
    if sampled > 0:
        assert one.apart(other) <= sampled + 1e-6
    if one.apart(other) > 0.01:
        assert one.clear_of(other, 0.0)
        assert sampled - one.apart(other) < 0.03


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_solid_fills_its_volume(seed: int) -> None:
    rng = np.random.default_rng(seed)
    solid = RoundedBox(np.zeros(3), random_box(rng).axes, rng.uniform(0.05, 0.15, 3), 0.08)
    assert paint(32, 1, [(solid, 0)]).mean(dtype=float) == pytest.approx(volume_of(solid), rel=0.01)
    core = solid.shrunk(0.03)
    assert core is not None
    edge = np.array([core.centre + core.corners()[0] * 0.99 + 0])
    assert solid.distance(*edge.T) <= -0.03 + 0.081
    assert solid.shrunk(solid.inner) is None


def test_bodies_on_another_touch_it_and_those_inside_stay_inside() -> None:
    ball = GOLD | {"diameter_nm": 50.0}
    on = {"shape": "sphere", "diameter_nm": 8.0, "count": 10, "material": "Pt", "on": "ball"}
    inside = {
        "shape": "sphere",
        "diameter_nm": 6.0,
        "count": 10,
        "material": "Ag",
        "inside": "ball",
    }
    table = Bodies.model_validate({"ball": ball, "on": on, "deep": inside})
    distances: dict[str, list[float]] = {}
    for placed in arrange(100.0, table.root, 0):
        centre = float(np.linalg.norm(placed.solid.centre)) * 100
        distances.setdefault(placed.name, []).append(centre)
    np.testing.assert_allclose(distances["on"], 25 + 4 * 0.7, atol=1e-3)
    assert max(distances["deep"]) <= 25 - 3 + 1e-6


def test_a_lattice_has_the_points_of_its_cell() -> None:
    body = GOLD | {"diameter_nm": 4.0, "lattice": "fcc", "period_nm": 10.0, "extent_nm": 60.0}
    placed = arrange(100.0, Bodies.model_validate({"ball": body}).root, 0)
    expected = 4 * np.pi / 6 * (60.0 - 4.0) ** 3 / 10.0**3
    assert len(placed) == pytest.approx(expected, rel=0.1)
    centres = np.array([found.solid.centre for found in placed]) * 100
    nearest = np.sort(np.linalg.norm(centres[:, None] - centres, axis=-1), axis=1)[:, 1]
    np.testing.assert_allclose(nearest, 10.0 / np.sqrt(2), rtol=1e-6)


def test_a_porous_body_has_its_solid_share() -> None:
    body = {"shape": "porous", "diameter_nm": 80.0, "pore_nm": 12.0, "solid_share": 0.4, **OXIDE}
    full = {"shape": "sphere", "diameter_nm": 80.0, **OXIDE}
    share = atoms(built(48, body=body))["Co"] / atoms(built(48, body=full))["Co"]
    assert share == pytest.approx(0.4, abs=0.06)


SMALL = GOLD | {"diameter_nm": 10.0}
ROD = {"shape": "rod", "diameter_nm": 30.0, "length_nm": 10.0, "material": "Au"}
CUBE = {"shape": "cube", "edge_nm": 20.0, "rounding_nm": 15.0, "material": "Au"}
PORES = {"shape": "porous", "diameter_nm": 40.0, "pore_nm": 50.0, "material": "C"}


@pytest.mark.parametrize(
    ("bodies", "key", "value"),
    [
        ({}, "specimen.bodies", None),
        ({"a": GOLD | {"material": "Xx2"}}, "specimen.bodies.a.material", "Xx2"),
        ({"a": GOLD | {"material": "Co3O4"}}, "specimen.bodies.a.material", "Co3O4"),
        ({"a": GOLD | {"density": 60.0}}, "specimen.bodies.a.density", 60.0),
        ({"a": GOLD | {"density": -1.0}}, "specimen.bodies.a.density", -1.0),
        ({"a": GOLD | OXIDE | {"density": 22.0}}, "specimen.bodies.a.density", 22.0),
        ({"a": GOLD | {"shell_density": 4.86}}, "specimen.bodies.a.shell_density", 4.86),
        ({"a": GOLD | {"sink": 0.5}}, "specimen.bodies.a.sink", 0.5),
        ({"a": GOLD | {"offset": [0.5, 0, 0]}}, "specimen.bodies.a.offset", [0.5, 0, 0]),
        ({"a": ROD}, "specimen.bodies.a.length_nm", 10.0),
        ({"a": CUBE}, "specimen.bodies.a.rounding_nm", 15.0),
        ({"a": PORES}, "specimen.bodies.a.pore_nm", 50.0),
        (
            {"a": FILM | {"rotation_deg": [0, 30, 0]}},
            "specimen.bodies.a.rotation_deg",
            [0, 30, 0],
        ),
        (
            {"a": FILM | {"position_nm": [80, 0, 0]}},
            "specimen.bodies.a.position_nm",
            [80.0, 0.0, 0.0],
        ),
        (
            {"a": SMALL | {"position_nm": [0, 56, 0], "cut": True}},
            "specimen.bodies.a.position_nm",
            [0.0, 56.0, 0.0],
        ),
        ({"a": GOLD | SHELL | {"shell": "gold"}}, "specimen.bodies.a.shell", "gold"),
        ({"a": GOLD | SHELL | {"shell_nm": 0.0}}, "specimen.bodies.a.shell", "Mn3O4"),
        ({"a": GOLD | SHELL | {"shell_nm": 20.0}}, "specimen.bodies.a.shell_nm", 20.0),
        ({"a": GOLD | {"shell_nm": 2.0}}, "specimen.bodies.a.shell_nm", 2.0),
        ({"a": GOLD | {"diameter_nm": 0.0}}, "specimen.bodies.a.diameter_nm", 0.0),
        ({"a": GOLD | {"edge_nm": 4.0}}, "specimen.bodies.a.edge_nm", 4.0),
        ({"a": GOLD | {"diametre_nm": 4.0}}, "specimen.bodies.a.diametre_nm", 4.0),
        ({"a": GOLD | {"spread_nm": 14.0}}, "specimen.bodies.a.spread_nm", 14.0),
        ({"a b": GOLD}, "specimen.bodies", {"a b": GOLD}),
        ({"a": GOLD | {"inside": "a"}}, "specimen.bodies.a.inside", "a"),
        ({"a": GOLD | {"inside": "b"}}, "specimen.bodies.a.inside", "b"),
        ({"a": GOLD | {"on": "a", "count": 2}}, "specimen.bodies.a.on", "a"),
        ({"a": GOLD, "b": SMALL | {"on": "a"}}, "specimen.bodies.b.on", "a"),
        ({"a": GOLD | {"lattice": "fcc"}}, "specimen.bodies.a.lattice", "fcc"),
        ({"a": GOLD | {"count": 3, "position_nm": [0, 0, 0]}}, "specimen.bodies.a.count", 3),
        ({"a": GOLD | {"count": 200}}, "specimen.bodies.a.count", 200),
        ({"a": GOLD | {"diameter_nm": 120.0}}, "specimen.field_nm", 100.0),
        ({"a": GOLD, "b": SMALL}, "specimen.bodies.b.position_nm", [0.0, 0.0, 0.0]),
        ({"a": SMALL, "b": GOLD | {"inside": "a"}}, "specimen.bodies.b.inside", "a"),
        (
            {"a": SMALL | {"lattice": "fcc", "period_nm": 12.0}},
            "specimen.bodies.a.period_nm",
            12.0,
        ),
    ],
)
def test_bodies_that_cannot_be_are_refused(bodies: dict[str, Any], key: str, value: object) -> None:
    with pytest.raises(BadInput) as caught:
        built(16, **bodies)
    assert (caught.value.key, caught.value.value) == (key, value)
    assert caught.value.accepted


@pytest.mark.parametrize("formula", ["C", "Au", "Os", "Be", "LiH", "CH2", "BeO", "BN"])
def test_no_solid_has_more_atoms_than_diamond(formula: str) -> None:
    densities = {"C": 3.52, "LiH": 0.78, "CH2": 0.97, "BeO": 3.02, "BN": 3.49}
    counts = dict(material(formula, densities.get(formula)).atoms_per_nm3)
    assert sum(counts.values()) < MOST_ATOMS_PER_NM3


def test_a_body_too_large_names_the_file_that_describes_it(tmp_path: Path) -> None:
    file = tmp_path / "large.toml"
    body = """shape = "sphere"\ndiameter_nm = 120.0\nmaterial = "Au"\n"""
    table = """[specimen]\nkind = "build"\nfield_nm = 100.0\n[specimen.bodies.gold]\n"""
    file.write_text(table + body)
    with pytest.raises(BadInput) as caught:
        make_specimen(str(file), 16)
    assert str(caught.value).startswith(f"{file}: specimen.field_nm = 100.0: ")


def test_bodies_may_overlap_and_leave_the_field_if_it_is_said() -> None:
    both = built(24, a=GOLD, b=SMALL | {"overlap": True, "material": "Pt"})
    assert set(both.elements) == {"Pt", "Au"}
    assert built(24, a=GOLD | {"diameter_nm": 120.0, "cut": True}).volumes.max() > 0
