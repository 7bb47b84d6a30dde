"""Where the bodies of a specimen lie: fixed, on a lattice, at random, inside or on others.

A position does not depend on the grid, on the order of the bodies or on how many others there are
of another name, save that later ones keep clear of earlier ones: fixed bodies first, then lattices,
then random ones, the largest first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from ...recon_core.errors import BadInput
from ..shapes import FIELD, PorousEllipsoid, Vector, field_needed
from ..solids import RoundedBox
from .bodies import LATTICES, Body, Porous, host_of

EDGE = 0.5
"""What :data:`FIELD` is to random bodies and lattices, of bodies at a given place."""
WHOLE_FIELD = RoundedBox(np.zeros(3), np.eye(3), np.full(3, EDGE), 0.0)
TRIES = 1000
"""Places drawn for a body at once."""
AT_ONCE = 32
"""Of them, looked at together."""
ROUNDS = 5
CLIP = 2.5
"""Standard deviations at which sizes are cut off."""
MOST = 20_000
"""Bodies of a specimen."""
SKIN = 0.02
"""Points this near a surface, in fractions of the box, are moved onto it."""


@dataclass(frozen=True, eq=False)
class Placed:
    """One body in its place.

    Parameters
    ----------
    name : of its table.
    solid : its outside, shell included.
    pores : what of it is solid; None for all.
    """

    name: str
    solid: RoundedBox
    pores: PorousEllipsoid | None = None

    def holds(self, points: Vector, depth: float) -> NDArray[np.bool_]:
        """Check which balls lie inside.

        Parameters
        ----------
        points : centres, (ball, 3).
        depth : their radius; in pores, the centre alone has to be in the solid.

        Returns
        -------
        array : (ball,), bool.
        """
        inside = np.asarray(self.solid.distance(*points.T)) <= -depth
        if self.pores is not None:
            value, _ = self.pores.wave.at_points(points - self.pores.centre)
            inside &= value > self.pores.level
        return inside

    def to_surface(self, points: Vector) -> tuple[Vector, Vector]:
        """Move points near the surface onto it; see :meth:`RoundedBox.to_surface`."""
        return (self.pores or self.solid).to_surface(points)


@dataclass
class Crowd:
    """Bodies placed so far, and their balls as arrays."""

    placed: list[Placed] = field(default_factory=list)
    centres: Vector = field(default_factory=lambda: np.zeros((MOST, 3)))
    outer: Vector = field(default_factory=lambda: np.zeros(MOST))
    inner: Vector = field(default_factory=lambda: np.zeros(MOST))

    def add(self, found: Placed) -> None:
        """Add a body.

        Parameters
        ----------
        found : the body.
        """
        i = len(self.placed)
        if i == MOST:
            raise BadInput("too many", key=_key(found.name), accepted=f"up to {MOST} in all")
        solid = found.solid
        self.centres[i], self.outer[i], self.inner[i] = solid.centre, solid.outer, solid.inner
        self.placed.append(found)

    def in_the_way(self, solid: RoundedBox, gap: float, aside: set[int]) -> Placed | None:
        """Return a body that a solid overlaps, or comes too near; None if there is none.

        Parameters
        ----------
        solid : the solid.
        gap : least distance.
        aside : numbers of bodies that it may overlap.
        """
        n = len(self.placed)
        between = np.linalg.norm(self.centres[:n] - solid.centre, axis=1)
        # balls about the two settle most pairs
        for i in np.nonzero(between < self.outer[:n] + solid.outer + gap)[0]:
            if int(i) not in aside and not solid.clear_of(self.placed[i].solid, gap):
                return self.placed[i]
        return None

    def hopeful(self, places: Vector, solid: RoundedBox, gap: float, aside: set[int]) -> Vector:
        """Leave out places at which balls inside the bodies overlap.

        Parameters
        ----------
        places : centres, (place, 3).
        solid, gap, aside : as of :meth:`in_the_way`.
        """
        others = [i for i in range(len(self.placed)) if i not in aside]
        if not others:
            return places
        between = np.linalg.norm(places[:, None] - self.centres[others], axis=-1)
        found: Vector = places[(between >= self.inner[others] + solid.inner + gap).all(axis=1)]
        return found


def arrange(field_nm: float, bodies: Mapping[str, Body], seed: int) -> tuple[Placed, ...]:
    """Place the bodies of a specimen.

    Parameters
    ----------
    field_nm : edge of the box.
    bodies : by name; see :class:`tomoatlas.phantoms.kinds.bodies.Body`.
    seed : of all draws; every name has a stream of its own.

    Returns
    -------
    tuple of Placed : in painting order: hosts before what is in or on them, what may overlap last.

    Raises
    ------
    BadInput : bodies that do not fit, or overlap.
    """
    crowd = Crowd()
    for name in sorted(bodies, key=lambda name: _turn(name, bodies)):
        # Not hash(), which Python salts anew in every process.
        rng = np.random.default_rng([seed, int(hashlib.sha256(name.encode()).hexdigest()[:15], 16)])
        place = _lattice if bodies[name].lattice else _random if bodies[name].count else _fixed
        place(name, bodies, field_nm, crowd, rng)
    by_name: dict[str, list[Placed]] = {}
    for found in crowd.placed:
        by_name.setdefault(found.name, []).append(found)
    order = sorted(bodies, key=lambda n: (bodies[n].overlap, _depth(n, bodies), n))
    return tuple(found for name in order for found in by_name[name])


def _depth(name: str, bodies: Mapping[str, Body]) -> int:
    host = host_of(bodies[name])
    return 0 if host is None else 1 + _depth(host, bodies)


def _turn(name: str, bodies: Mapping[str, Body]) -> tuple[int, int, float, str]:
    """When a body is placed: hosts first, then by how free it is, then by size."""
    body = bodies[name]
    freedom = 1 if body.lattice else 2 if body.count else 0
    return _depth(name, bodies), freedom, -body.size_nm, name


def _key(name: str, key: str = "") -> str:
    return f"specimen.bodies.{name}{f'.{key}' if key else ''}"


def _refused(name: str, body: Body, key: str, problem: str, accepted: str) -> BadInput:
    return BadInput(problem, key=_key(name, key), value=getattr(body, key), accepted=accepted)


def _misplaced(name: str, body: Body, problem: str, accepted: str) -> BadInput:
    place = list(body.position_nm or (0.0, 0.0, 0.0))
    return BadInput(problem, key=_key(name, "position_nm"), value=place, accepted=accepted)


def _drawn(body: Body, field_nm: float, rng: np.random.Generator) -> RoundedBox:
    """One body at the origin, of a size from the normal distribution cut off at CLIP."""
    axes = body.axes(rng)
    deviation = ndtri(rng.uniform(ndtr(-CLIP), ndtr(CLIP)))
    scale = 1 + body.spread_nm / body.size_nm * deviation
    return body.solid(field_nm, float(scale), axes)


def _put(
    name: str, body: Body, field_nm: float, solid: RoundedBox, rng: np.random.Generator
) -> Placed:
    pores = body.pores(field_nm, solid, rng) if isinstance(body, Porous) else None
    if body.shell_nm and solid.shrunk(body.shell_nm / field_nm) is None:
        accepted = f"less than {solid.inner * field_nm:.4g} nm, half the smallest body"
        raise _refused(name, body, "shell_nm", "no core left", accepted)
    return Placed(name, solid, pores)


def _aside(name: str, bodies: Mapping[str, Body], crowd: Crowd) -> set[int]:
    """Numbers of the bodies that one may overlap: those it lies in, and with ``overlap`` all."""
    if bodies[name].overlap:
        return set(range(len(crowd.placed)))
    above, host = set(), host_of(bodies[name])
    while host is not None:
        above.add(host)
        host = host_of(bodies[host])
    return {i for i, found in enumerate(crowd.placed) if found.name in above}


def _fixed(
    name: str, bodies: Mapping[str, Body], field_nm: float, crowd: Crowd, rng: np.random.Generator
) -> None:
    body = bodies[name]
    solid = _drawn(body, field_nm, rng)
    solid = solid.moved(np.array(body.position_nm or (0, 0, 0), float) / field_nm)
    need = float(field_needed(solid.corners()).max() + solid.radius)
    # A body that just fits must not fail by rounding.
    if not (body.cut or body.shape == "film") and need > EDGE + 1e-9:
        accepted = f"at least {field_nm * need / EDGE:.4g} nm, a smaller body, or cut = true"
        raise BadInput(
            f"too small for {name}",
            key="specimen.field_nm",
            value=field_nm,
            accepted=accepted,
        )
    if solid.clear_of(WHOLE_FIELD, 0.0):
        accepted = f"a body that reaches into the field, {field_nm:g} nm wide"
        raise _misplaced(name, body, "outside the field", accepted)
    if body.inside is not None:
        hosts = [found for found in crowd.placed if found.name == body.inside]
        if not any(host.holds(solid.corners(), solid.radius).all() for host in hosts):
            accepted = "a smaller body, or another position_nm"
            raise _refused(name, body, "inside", "does not lie in it", accepted)
    other = crowd.in_the_way(solid, body.gap_nm / field_nm, _aside(name, bodies, crowd))
    if other is not None:
        accepted = "bodies apart, inside another, or overlap = true"
        raise _misplaced(name, body, f"overlaps {other.name}", accepted)
    crowd.add(_put(name, body, field_nm, solid, rng))


def _lattice(
    name: str, bodies: Mapping[str, Body], field_nm: float, crowd: Crowd, rng: np.random.Generator
) -> None:
    body = bodies[name]
    aside = _aside(name, bodies, crowd)
    for centre in _lattice_points(body, field_nm):
        solid = _drawn(body, field_nm, rng).moved(centre)
        other = crowd.in_the_way(solid, body.gap_nm / field_nm, aside)
        if other is not None:
            problem = f"bodies overlap those of {other.name}"
            accepted = "a longer period, smaller bodies, or overlap = true"
            raise _refused(name, body, "period_nm", problem, accepted)
        crowd.add(_put(name, body, field_nm, solid, rng))
        if body.overlap:
            aside.add(len(crowd.placed) - 1)
    if not any(found.name == name for found in crowd.placed):
        accepted = "a shorter period, or a larger extent_nm"
        raise _refused(name, body, "period_nm", "no lattice point in the field", accepted)


def _lattice_points(body: Body, field_nm: float) -> Vector:
    period = (body.period_nm or field_nm) / field_nm
    # One box edge to each side: turned, the lattice must still reach the corners, at 0.87.
    cells = int(np.ceil(1 / period)) + 2
    if (2 * cells + 1) ** 3 * len(LATTICES[body.lattice or "sc"]) > 50 * MOST:
        raise BadInput("too many", key="specimen.bodies", accepted=f"up to {MOST} bodies in all")
    corners = np.stack(np.meshgrid(*[np.arange(-cells, cells + 1)] * 3, indexing="ij"), -1)
    basis = np.array(LATTICES[body.lattice or "sc"])
    points = (corners.reshape(-1, 1, 3) + basis + np.array(body.offset)).reshape(-1, 3) * period
    if body.rotation_deg is not None:
        # Nothing is drawn: the rotation is given.
        points = points @ body.axes(np.random.default_rng(0))
    points = points + np.array(body.position_nm or (0, 0, 0), float) / field_nm
    radius = body.solid(field_nm, 1.0, np.eye(3)).outer
    # by the nominal size, so that a point is there or not whatever its body's size is
    found: Vector = points[_in_region(points, radius, body, field_nm)]
    return found


def _in_region(points: Vector, radius: float, body: Body, field_nm: float) -> NDArray[np.bool_]:
    """Which balls lie in the ball of ``extent_nm``, or in view at every tilt."""
    room = 0.0 if body.cut else radius
    limit = EDGE if body.cut else FIELD
    inside: NDArray[np.bool_] = field_needed(points) + room <= limit
    if body.extent_nm is not None:
        inside &= np.linalg.norm(points, axis=1) + radius <= body.extent_nm / (2 * field_nm)
    return inside


def _random(
    name: str, bodies: Mapping[str, Body], field_nm: float, crowd: Crowd, rng: np.random.Generator
) -> None:
    body = bodies[name]
    drawn = [_drawn(body, field_nm, rng) for _ in range(body.count or 1)]
    aside = _aside(name, bodies, crowd)
    hosts = [i for i, found in enumerate(crowd.placed) if found.name == host_of(body)]
    # the largest first: small ones still find gaps
    for number, solid in enumerate(sorted(drawn, key=lambda s: -s.outer)):
        found = _place(solid, body, field_nm, (crowd, aside, hosts), rng)
        if found is None:
            accepted = f"up to {number}, smaller bodies, or a larger field_nm"
            raise _refused(name, body, "count", "do not fit", accepted)
        crowd.add(_put(name, body, field_nm, found, rng))
        if body.overlap:
            aside.add(len(crowd.placed) - 1)


def _place(
    solid: RoundedBox,
    body: Body,
    field_nm: float,
    among: tuple[Crowd, set[int], list[int]],
    rng: np.random.Generator,
) -> RoundedBox | None:
    """A free place for a body; None after ROUNDS draws of TRIES places."""
    crowd, aside, hosts = among
    gap = body.gap_nm / field_nm
    for _ in range(ROUNDS):
        if hosts:
            # by the area or the volume that hosts offer
            share = crowd.outer[hosts] ** (2 if body.on else 3)
            host = crowd.placed[hosts[rng.choice(len(hosts), p=share / share.sum())]]
            places = _on(host, solid, body, rng) if body.on else _inside(host, solid, rng)
            places = places[_in_region(places, solid.outer, body, field_nm)]
        else:
            places = rng.uniform(-EDGE, EDGE, (TRIES, 3))
            if body.extent_nm is not None:
                places *= min(1.0, body.extent_nm / field_nm)
            places = places[_in_region(places, solid.outer, body, field_nm)]
        for start in range(0, len(places), AT_ONCE):
            for place in crowd.hopeful(places[start : start + AT_ONCE], solid, gap, aside):
                moved = solid.moved(place)
                if crowd.in_the_way(moved, gap, aside) is None:
                    return moved
    return None


def _points_about(host: Placed, rng: np.random.Generator) -> Vector:
    low, high = (np.clip(corner, -EDGE, EDGE) for corner in host.solid.bounds())
    return rng.uniform(low - SKIN, high + SKIN, (TRIES, 3))


def _inside(host: Placed, solid: RoundedBox, rng: np.random.Generator) -> Vector:
    points = _points_about(host, rng)
    found: Vector = points[host.holds(points, solid.outer)]
    return found


def _on(host: Placed, solid: RoundedBox, body: Body, rng: np.random.Generator) -> Vector:
    """Centres of bodies that rest on the surface of a host, a little sunk in."""
    points = _points_about(host, rng)
    surface, normals = host.to_surface(points)
    near = np.linalg.norm(surface - points, axis=1) < SKIN
    if host.pores is not None:
        # The wave of the pores goes on outside the ball that bounds them.
        near &= np.asarray(host.solid.distance(*surface.T)) < 0
    found: Vector = surface[near] + normals[near] * solid.inner * (1 - body.sink)
    return found
