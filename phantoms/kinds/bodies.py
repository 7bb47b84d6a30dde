"""The tables ``[specimen.bodies.NAME]`` of a specimen of one's own: what each body is, and where.

Lengths are in nm, positions (z, y, x) from the middle of the field, densities in g/cm³.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from scipy.spatial.transform import Rotation

from ...recon_core.errors import BadInput, printable
from ..materials import Material, material
from ..shapes import PorousEllipsoid, RandomWave, Vector, random_axes
from ..solids import RoundedBox

Length = Annotated[float, Field(gt=0, le=1e5)]
Distance = Annotated[float, Field(ge=0, le=1e5)]
Coordinate = Annotated[float, Field(ge=-1e5, le=1e5)]
Place = tuple[Coordinate, Coordinate, Coordinate]
Degrees = Annotated[float, Field(ge=-360, le=360)]
Density = Annotated[float, Field(gt=0, allow_inf_nan=False)]

LATTICES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "sc": ((0, 0, 0),),
    "bcc": ((0, 0, 0), (0.5, 0.5, 0.5)),
    "fcc": ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)),
}
"""Cubic lattices and the places of their points in a cell, in periods."""
MODES, PORE_SPREAD = 48, 0.2
"""Cosines of the wave that draws pores, and the spread of their wavelengths about the mean."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
Contradictions = Mapping[tuple[str, str, str], object]
"""Key, problem and remedy of keys that do not go together, and whether they are there (truthy)."""
SINK = 0.3
MOST_SPREAD = 1 / 3
"""Of a size: the smallest of all bodies, 2.5 standard deviations below, is still there."""


class Body(BaseModel):
    """What every body has.

    Parameters
    ----------
    material, density : formula, and g/cm³ (of an element its own if left out).
    shell, shell_nm, shell_density : a shell around a core of ``material``; the body's size is that
        of both.
    count : bodies drawn at random places; left out for a single one at ``position_nm``.
    position_nm : of the body, or of a lattice's origin.
    rotation_deg : about z, y, x in turn; left out, bodies at random places are turned at random.
    spread_nm : standard deviation of the first size; the whole body is scaled with it.
    gap_nm : least distance to other bodies.
    lattice, period_nm, offset : a lattice of bodies, the edge of its cell, and its shift in
        periods.
    extent_nm : diameter of the ball that random places and lattices are confined to.
    inside, on : another body: these lie in it, or on its surface, and displace it.
    sink : how deep bodies ``on`` another are sunk in, in their radii.
    overlap : whether it may displace other bodies.
    cut : whether it may leave the field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: str
    material: str
    density: Density | None = None
    shell_nm: Distance = 0.0
    shell_density: Density | None = None
    shell: str | None = None
    count: Annotated[int, Field(ge=1, le=20_000)] | None = None
    position_nm: Place | None = None
    rotation_deg: tuple[Degrees, Degrees, Degrees] | None = None
    spread_nm: Distance = 0.0
    gap_nm: Distance = 0.0
    period_nm: Length | None = None
    offset: Place = (0.0, 0.0, 0.0)
    lattice: Literal["sc", "bcc", "fcc"] | None = None
    extent_nm: Length | None = None
    inside: str | None = None
    on: str | None = None
    sink: Annotated[float, Field(ge=-1, le=1)] = SINK
    overlap: bool = False
    cut: bool = False

    @property
    def size_nm(self) -> float:
        """The size that spreads."""
        raise NotImplementedError

    def halves_nm(self) -> tuple[tuple[float, float, float], float]:
        """Halves of the inner box along (z, y, x), and the radius of its rounding."""
        raise NotImplementedError

    def solid(self, field_nm: float, scale: float, axes: Vector) -> RoundedBox:
        """Return one body of this kind at the origin.

        Parameters
        ----------
        field_nm : edge of the box.
        scale : of all its sizes.
        axes : its orientation, (3, 3).
        """
        halves, radius = self.halves_nm()
        factor = scale / field_nm
        return RoundedBox(np.zeros(3), axes, factor * np.array(halves, float), factor * radius)

    def axes(self, rng: np.random.Generator) -> Vector:
        """Draw or return the orientation of one body.

        Parameters
        ----------
        rng : source of the draw.
        """
        if self.rotation_deg is not None:
            return Rotation.from_euler("ZYX", self.rotation_deg, degrees=True).as_matrix()
        if self.count is None and self.lattice is None:
            return np.eye(3)
        return random_axes(rng)

    def contradictions(self) -> Contradictions:
        """Return what keys must not be together."""
        spread = f"0 to a third of its size, {self.size_nm * MOST_SPREAD:g} nm"
        spaced = self.lattice or (self.count and not (self.inside or self.on))
        return {
            ("shell", "without thickness", "with shell_nm > 0"): self.shell and not self.shell_nm,
            ("shell_nm", "without shell", "with shell, a formula"): (
                self.shell_nm and not self.shell
            ),
            ("shell_density", "without shell", "with shell, a formula"): (
                self.shell_density and not self.shell
            ),
            ("period_nm", "without lattice", "with lattice"): self.period_nm and not self.lattice,
            ("offset", "without lattice", "with lattice"): any(self.offset) and not self.lattice,
            ("lattice", "without period", "with period_nm"): self.lattice and not self.period_nm,
            ("count", "beside lattice", "one of the two"): self.count and self.lattice,
            ("count", "beside position_nm", "one of the two"): self.count and self.position_nm,
            ("spread_nm", "too wide", spread): self.spread_nm > self.size_nm * MOST_SPREAD,
            ("on", "without count", "with count"): self.on and not self.count,
            ("sink", "without on", "with on"): self.sink != SINK and not self.on,
            ("extent_nm", "without count or lattice", "with one of them, in the free field"): (
                self.extent_nm and not spaced
            ),
        }

    @property
    def materials(self) -> tuple[Material, ...]:
        """Material of the outside, and of the core if there is a shell."""
        own = material(self.material, self.density)
        return (own,) if self.shell is None else (material(self.shell, self.shell_density), own)

    @field_validator("inside", "on", "lattice")
    @classmethod
    def _one_arrangement(cls, value: str | None, info: Any) -> str | None:
        # Fields are checked in their order, so that only those above are known here.
        taken = [name for name in ("lattice", "inside") if info.data.get(name)]
        if value is not None and taken:
            raise BadInput(f"beside {taken[0]}", accepted="one of lattice, inside and on")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Body:
        for (key, problem, accepted), wrong in self.contradictions().items():
            if wrong:
                raise _refused(self, key, problem, accepted)
        for formula, density in (("material", "density"), ("shell", "shell_density")):
            if getattr(self, formula) is None:
                continue
            try:
                material(getattr(self, formula), getattr(self, density))
            except BadInput as error:
                given = error.key is not None and getattr(self, density) is not None
                key = density if given else formula
                raise _refused(self, key, error.problem, str(error.accepted)) from error
        return self


def _refused(
    body: Body, key: str, problem: str, accepted: str, above: tuple[str, ...] = ()
) -> ValidationError:
    """An error that pydantic places at a key of the body."""
    found = {
        "type": "value_error",
        "loc": (*above, key),
        "input": getattr(body, key),
        "ctx": {"error": BadInput(problem, accepted=accepted)},
    }
    # typed in pydantic_core alone
    details: Any = [found]
    return ValidationError.from_exception_data("body", details)


class Sphere(Body):
    """``shape = "sphere"``."""

    shape: Literal["sphere"]
    diameter_nm: Length

    @property
    def size_nm(self) -> float:
        """See :class:`Body`."""
        return self.diameter_nm

    def halves_nm(self) -> tuple[tuple[float, float, float], float]:
        """See :class:`Body`."""
        return (0, 0, 0), self.diameter_nm / 2


class Cube(Body):
    """``shape = "cube"``.

    Parameters
    ----------
    rounding_nm : radius of its edges.
    """

    shape: Literal["cube"]
    edge_nm: Length
    rounding_nm: Distance = 0.0

    @property
    def size_nm(self) -> float:
        """See :class:`Body`."""
        return self.edge_nm

    def halves_nm(self) -> tuple[tuple[float, float, float], float]:
        """See :class:`Body`."""
        half = self.edge_nm / 2 - self.rounding_nm
        return (half, half, half), self.rounding_nm

    def contradictions(self) -> Contradictions:
        """See :class:`Body`."""
        most = f"up to half the edge, {self.edge_nm / 2:g} nm"
        wrong = self.rounding_nm > self.edge_nm / 2
        return {**super().contradictions(), ("rounding_nm", "more than fits", most): wrong}


class Rod(Body):
    """``shape = "rod"``: a cylinder with round ends, along x before it is turned.

    Parameters
    ----------
    length_nm : ends included.
    """

    shape: Literal["rod"]
    diameter_nm: Length
    length_nm: Length

    @property
    def size_nm(self) -> float:
        """See :class:`Body`."""
        return self.diameter_nm

    def halves_nm(self) -> tuple[tuple[float, float, float], float]:
        """See :class:`Body`."""
        return (0, 0, (self.length_nm - self.diameter_nm) / 2), self.diameter_nm / 2

    def contradictions(self) -> Contradictions:
        """See :class:`Body`."""
        least = f"at least its diameter, {self.diameter_nm:g} nm"
        wrong = self.length_nm < self.diameter_nm
        return {**super().contradictions(), ("length_nm", "shorter than wide", least): wrong}


class Plate(Body):
    """``shape = "plate"``: a box, thin along z and longest along x before it is turned.

    Parameters
    ----------
    length_nm : along x; the width if left out.
    """

    shape: Literal["plate"]
    thickness_nm: Length
    width_nm: Length
    length_nm: Length | None = None

    @property
    def size_nm(self) -> float:
        """See :class:`Body`."""
        return self.thickness_nm

    def halves_nm(self) -> tuple[tuple[float, float, float], float]:
        """See :class:`Body`."""
        length = self.width_nm if self.length_nm is None else self.length_nm
        return (self.thickness_nm / 2, self.width_nm / 2, length / 2), 0.0


class Film(Body):
    """``shape = "film"``: across the whole field, perpendicular to the beam at 0 degrees."""

    shape: Literal["film"]
    thickness_nm: Length

    @property
    def size_nm(self) -> float:
        """See :class:`Body`."""
        return self.thickness_nm

    def halves_nm(self) -> tuple[tuple[float, float, float], float]:
        """See :class:`Body`."""
        return (self.thickness_nm / 2, 0, 0), 0.0

    def solid(self, field_nm: float, scale: float, axes: Vector) -> RoundedBox:
        """See :class:`Body`; so wide that its edges play no part."""
        halves = np.array([scale * self.thickness_nm / 2 / field_nm, 100.0, 100.0])
        return RoundedBox(np.zeros(3), axes, halves, 0.0)

    def contradictions(self) -> Contradictions:
        """See :class:`Body`."""
        return {
            **super().contradictions(),
            ("count", "of films", "one film"): self.count,
            ("lattice", "of films", "one film"): self.lattice,
            ("rotation_deg", "of a film", "no rotation; a plate can be turned"): self.rotation_deg,
        }


class Porous(Body):
    """``shape = "porous"``: a ball with pores that pervade it.

    Parameters
    ----------
    pore_nm : mean distance of a pore to the next.
    solid_share : of the ball.
    """

    shape: Literal["porous"]
    diameter_nm: Length
    pore_nm: Length
    solid_share: Annotated[float, Field(gt=0, lt=1)] = 0.55

    @property
    def size_nm(self) -> float:
        """See :class:`Body`."""
        return self.diameter_nm

    def halves_nm(self) -> tuple[tuple[float, float, float], float]:
        """See :class:`Body`; of the ball."""
        return (0, 0, 0), self.diameter_nm / 2

    def contradictions(self) -> Contradictions:
        """See :class:`Body`."""
        most = f"up to the diameter, {self.diameter_nm:g} nm"
        return {
            **super().contradictions(),
            ("shell", "around pores", "no shell"): self.shell,
            ("pore_nm", "larger than the ball", most): self.pore_nm > self.diameter_nm,
        }

    def pores(self, field_nm: float, ball: RoundedBox, rng: np.random.Generator) -> PorousEllipsoid:
        """Draw the pores of one ball.

        Parameters
        ----------
        field_nm : edge of the box.
        ball : its outside, in place.
        rng : source of the draw.
        """
        pore = self.pore_nm / field_nm
        # Wavelengths in a band, not one: of one alone the pores would be a regular lattice.
        wave = RandomWave.draw(rng, MODES, ((1 - PORE_SPREAD) * pore, (1 + PORE_SPREAD) * pore))
        level = RandomWave.level_of(self.solid_share)
        return PorousEllipsoid(wave, level, np.full(3, ball.radius), ball.centre)


def _shape(body: object) -> str:
    found = body.get("shape") if isinstance(body, Mapping) else getattr(body, "shape", "")
    return str(found)


AnyBody = Annotated[
    Annotated[Sphere, Tag("sphere")]
    | Annotated[Cube, Tag("cube")]
    | Annotated[Rod, Tag("rod")]
    | Annotated[Plate, Tag("plate")]
    | Annotated[Film, Tag("film")]
    | Annotated[Porous, Tag("porous")],
    Discriminator(
        _shape,
        custom_error_type="shape",
        custom_error_message="a table with shape = sphere, cube, rod, plate, film or porous",
    ),
]
SHAPES: dict[str, type[Body]] = {
    "sphere": Sphere,
    "cube": Cube,
    "rod": Rod,
    "plate": Plate,
    "film": Film,
    "porous": Porous,
}


class Bodies(RootModel[dict[str, AnyBody]]):
    """``[specimen.bodies]``: bodies by name. Their order plays no part."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def fields_for(cls, data: object) -> dict[str, FieldInfo]:
        """The body of each name, of the class that its shape decides.

        Parameters
        ----------
        data : the table as read.
        """
        found = data.items() if isinstance(data, Mapping) else ()
        return {name: FieldInfo(annotation=SHAPES.get(_shape(body), Body)) for name, body in found}

    @field_validator("root")
    @classmethod
    def _hosts_exist(cls, bodies: dict[str, AnyBody]) -> dict[str, AnyBody]:
        for name in bodies:
            if not NAME.fullmatch(name):
                accepted = "letters, digits, - and _, the first a letter"
                raise BadInput(f"not the name of a body: {printable(name)}", accepted=accepted)
            # Hosts are placed before what is in or on them, so that a circle has no first body.
            chain = [name]
            while host := host_of(bodies[chain[-1]]):
                if host not in bodies or host in chain:
                    key = "inside" if bodies[chain[-1]].inside else "on"
                    problem = "a circle of bodies" if host in chain else "no such body"
                    others = ", ".join(other for other in bodies if other not in chain)
                    others = others or "the name of another body"
                    raise _refused(bodies[chain[-1]], key, problem, others, (chain[-1],))
                chain.append(host)
        return bodies


def host_of(body: Body) -> str | None:
    """The name of the body that another lies in or on; None for one in the free field.

    Parameters
    ----------
    body : the other.
    """
    return body.inside or body.on
