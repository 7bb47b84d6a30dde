"""Specimen ``composite``: CoO nanoparticles embedded in a porous NiO support.

After the second simulated specimen of Schwartz et al., Nat. Commun. 15, 3555 (2024), Supp. Fig. 10,
whose sizes and positions were not published; those here are drawn from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from ..paint import concentrations, paint
from ..shapes import Ball, PorousEllipsoid, RandomWave, Shape
from ..specimen import Specimen
from . import SpecimenKind

ELEMENTS = ("Co", "Ni", "O")
BOX_NM = 150.0
NIO, COO = range(2)
COMPOSITIONS = ({"Ni": 0.5, "O": 0.5}, {"Co": 0.5, "O": 0.5})

SEMI_AXES = (0.36, 0.42, 0.45)
"""Of the support's ellipsoid along (z, y, x): inside the field at every tilt about x."""
SOLID = 0.55
"""Share of the ellipsoid that is solid."""
MODES = 48
WAVELENGTHS = (0.18, 0.28)
PARTICLES = 30
RADII = (0.04, 0.07)


@dataclass(frozen=True)
class Layout:
    """Objects of one specimen, in fractions of the box.

    Parameters
    ----------
    support : porous NiO.
    particles : CoO balls inside its solid.
    """

    support: PorousEllipsoid
    particles: tuple[Ball, ...]

    def bodies(self) -> tuple[tuple[Shape, int], ...]:
        """Return (shape, phase) in painting order: CoO displaces NiO."""
        return ((self.support, NIO), *((ball, COO) for ball in self.particles))


def composite(size: int, seed: int = 0) -> Specimen:
    """Build the specimen; the objects are the same at every size.

    A voxel holds each oxide by the share of the voxel that it covers
    (:mod:`tomoatlas.phantoms.paint`); both are stoichiometric (0.5/0.5), so c_Co + c_Ni = c_O
    everywhere.

    Parameters
    ----------
    size : voxels per edge.
    seed : of support and particles.

    Examples
    --------
    >>> specimen = composite(16)
    >>> specimen.elements, specimen.shape
    (('Co', 'Ni', 'O'), (16, 16, 16))
    """
    # The products are small: threads of BLAS would cost more than they bring.
    with threadpool_limits(1, "blas"):
        fractions = paint(size, len(COMPOSITIONS), layout(seed).bodies())
    volumes = concentrations(fractions, COMPOSITIONS, ELEMENTS)
    return Specimen(volumes, ELEMENTS, BOX_NM / size, "composite")


def layout(seed: int) -> Layout:
    """Draw the support, and particles centred in its solid and apart from each other.

    Parameters
    ----------
    seed : of the draw; the size of the grid plays no part.
    """
    rng = np.random.default_rng(seed)
    wave, level = RandomWave.draw(rng, MODES, WAVELENGTHS), RandomWave.level_of(SOLID)
    support = PorousEllipsoid(wave, level, np.asarray(SEMI_AXES))
    return Layout(support, _embed(support, rng))


def _embed(support: PorousEllipsoid, rng: np.random.Generator) -> tuple[Ball, ...]:
    balls: list[Ball] = []
    while len(balls) < PARTICLES:
        ball = Ball(rng.uniform(-0.5, 0.5, 3), rng.uniform(*RADII))
        # the whole ball inside the envelope
        inside = np.linalg.norm(ball.centre / (support.semi_axes - ball.radius)) < 1
        if inside and support.holds(ball.centre) and all(_apart(ball, b) for b in balls):
            balls.append(ball)
    return tuple(balls)


def _apart(a: Ball, b: Ball) -> bool:
    # a tenth of a diameter of NiO between particles
    return bool(np.linalg.norm(a.centre - b.centre) > 1.1 * (a.radius + b.radius))


COMPOSITE = SpecimenKind(
    "composite", ELEMENTS, composite, "CoO nanoparticles embedded in a porous NiO support"
)
