"""Specimen ``build``: one's own, of bodies described in TOML, and shipped ones made this way."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ...recon_core.errors import BadInput, from_os_error
from ...recon_core.tiltseries import SYMBOLS
from ...recon_core.toml import toml_tables
from ...recon_core.validation import validation_error
from ..paint import concentrations, paint
from ..shapes import Shape
from ..specimen import Specimen
from . import RESERVED, Parameters, SpecimenKind
from .arrange import Placed, arrange
from .bodies import Bodies

MOST_BYTES = 1 << 20
"""Of a file that describes a specimen."""


class BuildParameters(Parameters):
    """``[specimen]`` of the kind ``build``.

    Parameters
    ----------
    field_nm : edge of the field of view, nm.
    bodies : by name.
    """

    field_nm: Annotated[float, Field(gt=0, le=1e5)] = 100.0
    bodies: Bodies = Bodies({})


def elements(field_nm: float, bodies: Bodies) -> tuple[str, ...]:  # noqa: ARG001
    """Return the elements of all bodies, by atomic number.

    Parameters
    ----------
    field_nm, bodies : as of :class:`BuildParameters`.

    Raises
    ------
    BadInput : no bodies.
    """
    if not bodies.root:
        accepted = (
            "tables [specimen.bodies.NAME], in a study or in a TOML file named instead of the kind"
        )
        raise BadInput("a specimen without bodies", key="specimen.bodies", accepted=accepted)
    phases = [phase for body in bodies.root.values() for phase in body.materials]
    return tuple(sorted({e for phase in phases for e in phase.elements}, key=SYMBOLS.index))


def build(size: int, seed: int, field_nm: float, bodies: Bodies, name: str = "build") -> Specimen:
    """Build a specimen; its bodies are the same at every size.

    A voxel holds each phase by the share of the voxel that it covers
    (:mod:`tomoatlas.phantoms.paint`), and each element of a phase in the proportion of its formula.

    Parameters
    ----------
    size : voxels per edge.
    seed : of places, orientations and sizes.
    field_nm, bodies : as of :class:`BuildParameters`.
    name : of the specimen.

    Returns
    -------
    Specimen : concentrations in :data:`tomoatlas.phantoms.materials.ATOMS_PER_NM3`.

    Raises
    ------
    BadInput : bodies that do not fit, or overlap.
    """
    found = elements(field_nm, bodies)
    phases = list(dict.fromkeys(p for body in bodies.root.values() for p in body.materials))
    solids = []
    for placed in _layout(field_nm, bodies.model_dump_json(), seed):
        body = bodies.root[placed.name]
        shapes = zip(_shapes(placed, body.shell_nm / field_nm), body.materials, strict=True)
        solids += [(shape, phases.index(phase)) for shape, phase in shapes]
    fractions = paint(size, len(phases), solids)
    volumes = concentrations(fractions, [phase.concentrations for phase in phases], found)
    return Specimen(volumes, found, field_nm / size, name)


def check(seed: int, field_nm: float, bodies: Bodies) -> None:
    """Refuse bodies that do not fit.

    Parameters
    ----------
    seed : of places, orientations and sizes.
    field_nm, bodies : as of :class:`BuildParameters`.

    Raises
    ------
    BadInput : names the body and the key.
    """
    _layout(field_nm, bodies.model_dump_json(), seed)


# as many as are checked when a study is read, so that a run does not place them again
@lru_cache(maxsize=32)
def _layout(field_nm: float, bodies: str, seed: int) -> tuple[Placed, ...]:
    return arrange(field_nm, Bodies.model_validate_json(bodies).root, seed)


def _shapes(placed: Placed, shell: float) -> list[Shape]:
    """The outside of a body, and its core if it has a shell."""
    if placed.pores is not None:
        return [placed.pores]
    core = placed.solid.shrunk(shell) if shell else None
    return [placed.solid] if core is None else [placed.solid, core]


def described(path: str | Path) -> SpecimenKind:
    """Read the specimen that a TOML file describes.

    Parameters
    ----------
    path : a file with a table ``[specimen]`` as in a study, of the kind ``build`` or of another
        that takes parameters; other tables are not looked at.

    Returns
    -------
    SpecimenKind : its parameters are at what the file says.

    Raises
    ------
    BadInput : unreadable, or no specimen.
    """
    path = Path(path).expanduser()
    try:
        stat = path.stat()
        if stat.st_size > MOST_BYTES or not path.is_file():
            raise BadInput("not a specimen", source=path, accepted="a TOML file of up to 1 MiB")
        return _described(str(path), stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise from_os_error(error, source=path, accepted="a TOML file") from error


@lru_cache(maxsize=64)
def _described(path: str, modified: int, size: int) -> SpecimenKind:  # noqa: ARG001
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput("not UTF-8 text", source=path, accepted="a TOML file") from error
    return _kind(path, Path(path).stem, toml_tables(text, path))


def _kind(source: str, name: str, data: Mapping[str, Any]) -> SpecimenKind:
    """The specimen of a file's tables."""
    table = data.get("specimen")
    if not isinstance(table, dict):
        raise BadInput("missing", source=source, key="specimen", accepted="a table [specimen]")
    if table.get("kind") != BUILD.name:
        raise BadInput(
            "not of bodies",
            source=source,
            key="specimen.kind",
            value=table.get("kind"),
            accepted=BUILD.name,
        )
    own = {key: value for key, value in table.items() if key not in RESERVED}
    usual = {key: table[key] for key in ("size", "seed") if key in table}
    for key, value in usual.items():
        if type(value) is not int:
            raise BadInput(
                "not acceptable",
                source=source,
                key=f"specimen.{key}",
                value=value,
                accepted="an integer",
            )
    try:
        BUILD.completed(own)
    except ValidationError as error:
        fault = validation_error(error, own, BuildParameters, source)
        raise fault.at(key=f"specimen.{fault.key}") from error
    about = str(data.get("about", f"of {Path(source).name}"))

    def named(size: int, seed: int, **parameters: Any) -> Specimen:
        return build(size, seed, name=name, **parameters)

    return SpecimenKind(name, elements, named, about, BuildParameters, own, usual, check)


BUILD = SpecimenKind(
    "build", elements, build, "one's own, of bodies described in TOML", BuildParameters, check=check
)


def _shipped(name: str) -> SpecimenKind:
    text = files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return _kind(f"{name}.toml", name, toml_tables(text, f"{name}.toml"))


AU_FE3O4 = _shipped("au-fe3o4")
CO3O4_MN3O4 = _shipped("co3o4-mn3o4")
ZNS_CUS = _shipped("zns-cus")
CU_SIC = _shipped("cu-sic")
C_TIO2 = _shipped("c-tio2")
