"""Specimen ``nanocubes``: CoO and CuO nanocubes, solid and core-shell, decorated with Au.

After the simulated specimen of Schwartz et al., Nat. Commun. 15, 3555 (2024), Fig. 4, whose
sizes and positions were not published; those here are drawn from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..paint import concentrations, paint
from ..shapes import FIELD, Ball, Cube, Shape, Vector, field_needed, random_axes
from ..specimen import Specimen
from . import SpecimenKind

ELEMENTS = ("Co", "Cu", "O", "Au")
BOX_NM = 150.0
COO, CUO, GOLD = range(3)
COMPOSITIONS = ({"Co": 0.5, "O": 0.5}, {"Cu": 0.5, "O": 0.5}, {"Au": 1.0})

RECIPES = ((COO, CUO), (CUO, COO), (COO, None), (CUO, None)) * 2
"""(outer phase, core phase) of each cube, the largest first: two of every kind."""
EDGES = (0.30, 0.17)
"""Edges of the largest and the smallest cube; the others lie evenly between."""
CORE_EDGES = (0.58, 0.70)
"""Range of a core's edge as a share of its cube's."""
GOLD_COUNT = 24
GOLD_RADII = (0.022, 0.04)
LIFT = 0.3
"""Height of an Au centre over the face it sits on, in radii."""
GAP = 0.015
"""Least distance between cubes."""
TRIES = 1000
"""Positions drawn for a cube before the packing starts over."""


@dataclass(frozen=True)
class Layout:
    """Objects of one specimen, in fractions of the box.

    Parameters
    ----------
    cubes : oxide cubes, (cube, phase).
    cores : concentric cores of other oxide, (cube, phase).
    gold : Au balls on the faces.
    """

    cubes: tuple[tuple[Cube, int], ...]
    cores: tuple[tuple[Cube, int], ...]
    gold: tuple[Ball, ...]

    def bodies(self) -> tuple[tuple[Shape, int], ...]:
        """Return (shape, phase) in painting order: cores displace cubes, Au displaces oxide."""
        return (*self.cubes, *self.cores, *((ball, GOLD) for ball in self.gold))


def nanocubes(size: int, seed: int = 0) -> Specimen:
    """Build the specimen; the objects are the same at every size.

    A voxel holds each phase by the share of the voxel that it covers
    (:mod:`tomoatlas.phantoms.paint`), CoO and CuO are stoichiometric (0.5/0.5) and Au 1.0 in their
    share, so c_Co + c_Cu = c_O everywhere.

    Parameters
    ----------
    size : voxels per edge.
    seed : of the objects.

    Examples
    --------
    >>> specimen = nanocubes(16)
    >>> specimen.elements, specimen.shape, specimen.voxel_size_nm
    (('Co', 'Cu', 'O', 'Au'), (16, 16, 16), 9.375)
    """
    fractions = paint(size, len(COMPOSITIONS), layout(seed).bodies())
    volumes = concentrations(fractions, COMPOSITIONS, ELEMENTS)
    return Specimen(volumes, ELEMENTS, BOX_NM / size, "nanocubes")


def layout(seed: int) -> Layout:
    """Draw the objects: apart from each other, inside the field at every tilt about x.

    Parameters
    ----------
    seed : of the draw; the size of the grid plays no part.
    """
    rng = np.random.default_rng(seed)
    shells = _pack(rng)
    cubes = tuple((cube, outer) for cube, (outer, _) in zip(shells, RECIPES, strict=True))
    cores = tuple(
        (cube.scaled(rng.uniform(*CORE_EDGES)), core)
        for cube, (_, core) in zip(shells, RECIPES, strict=True)
        if core is not None
    )
    return Layout(cubes, cores, _decorate(shells, rng))


def _pack(rng: np.random.Generator) -> list[Cube]:
    while True:
        placed: list[Cube] = []
        # largest first: small cubes still find gaps
        for edge in np.linspace(*EDGES, len(RECIPES)):
            cube = _place_cube(edge / 2, placed, rng)
            if cube is None:
                break
            placed.append(cube)
        else:
            return placed


def _place_cube(half_edge: float, placed: list[Cube], rng: np.random.Generator) -> Cube | None:
    """Draw a cube clear of those placed; None after :data:`TRIES` misses, to start over."""
    # all positions at once: the checks below are vectorised
    centres = rng.uniform(-FIELD, FIELD, (TRIES, 3))
    # Reject by inscribed balls first: cheap, and it settles most misses before any cube is made.
    hopeful = np.hypot(centres[:, 0], centres[:, 1]) + half_edge < FIELD
    hopeful &= np.abs(centres[:, 2]) + half_edge < FIELD
    for other in placed:
        apart = np.linalg.norm(centres - other.centre, axis=1)
        hopeful &= apart > half_edge + other.half_edge + GAP
    for centre in centres[hopeful]:
        cube = Cube(centre, random_axes(rng), half_edge)
        if in_field(cube.corners()) and all(cube.clear_of(other, GAP) for other in placed):
            return cube
    return None


def _decorate(cubes: list[Cube], rng: np.random.Generator) -> tuple[Ball, ...]:
    # particles settle on surface, so cubes are chosen by their area
    areas = np.array([cube.half_edge**2 for cube in cubes])
    gold: list[Ball] = []
    while len(gold) < GOLD_COUNT:
        cube = cubes[rng.choice(len(cubes), p=areas / areas.sum())]
        ball = _on_face(cube, rng)
        # it touches its own cube by construction
        others = [other for other in cubes if other is not cube]
        if _sits_free(ball, others, gold):
            gold.append(ball)
    return tuple(gold)


def _on_face(cube: Cube, rng: np.random.Generator) -> Ball:
    radius = rng.uniform(*GOLD_RADII)
    local = rng.uniform(-cube.half_edge, cube.half_edge, 3)
    # a random one of the six faces
    local[rng.integers(3)] = rng.choice([-1, 1]) * (cube.half_edge + LIFT * radius)
    return Ball(cube.centre + local @ cube.axes, radius)


def _sits_free(ball: Ball, others: list[Cube], gold: list[Ball]) -> bool:
    return (
        in_field(ball.centre[None], ball.radius)
        and all(cube.distance(ball.centre) > ball.radius for cube in others)
        and all(
            np.linalg.norm(ball.centre - g.centre) > 1.1 * (ball.radius + g.radius) for g in gold
        )
    )


def in_field(points: Vector, margin: float = 0.0) -> bool:
    """Check whether points stay inside the field of view at every tilt about x.

    Parameters
    ----------
    points : (point, 3), along (z, y, x), fractions of the box.
    margin : least distance to the border, fraction of the box.
    """
    return bool(field_needed(points).max() + margin <= FIELD)


NANOCUBES = SpecimenKind(
    "nanocubes",
    ELEMENTS,
    nanocubes,
    "CoO and CuO nanocubes, solid and core-shell, decorated with Au",
)
