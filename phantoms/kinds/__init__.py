"""The specimens that can be named in a study, and how to add one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ...recon_core.errors import BadInput
from ...recon_core.registry import TABLES, Registry
from ...recon_core.validation import validation_error
from ..specimen import Specimen

SIZES = (8, 1024)
RESERVED = ("kind", "size", "seed")
"""Keys of ``[specimen]`` that every kind has."""


class Parameters(BaseModel):
    """Base class for the parameters of a specimen: keys of ``[specimen]`` beside kind, size, seed.

    Every field has a default and its bounds. A value that equals the default is no part of a
    trial's identity, so a parameter can be added later and old studies stay what they were; for
    the same reason a published default is not changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class SpecimenKind:
    """A specimen that can be drawn at any size.

    Parameters
    ----------
    name : as in ``[specimen] kind``.
    elements : chemical symbols, known without building it; or a function of the parameters that
        returns them.
    build : ``build(size, seed, **parameters)`` returns the specimen on ``size``³ voxels. The seed
        draws the objects; the size only resolves them.
    about : one line for listings.
    parameters : names, defaults and bounds of its own keys.
    preset : values of parameters, tables in tables, over which those of a study are laid.
    usual : size and seed where a study leaves them out.
    check : ``check(seed, **parameters)`` raises for a specimen that cannot be built, sooner than
        ``build`` does.

    Raises
    ------
    BadInput : a parameter without default, or with a name that every specimen has.
    """

    name: str
    elements: tuple[str, ...] | Callable[..., tuple[str, ...]]
    build: Callable[..., Specimen]
    about: str
    parameters: type[Parameters] = Parameters
    preset: Mapping[str, Any] = field(default_factory=dict)
    usual: Mapping[str, int] = field(default_factory=dict)
    check: Callable[..., None] | None = None

    def __post_init__(self) -> None:
        for name, info in self.parameters.model_fields.items():
            if info.is_required() or name in RESERVED:
                raise BadInput(
                    "a parameter without default" if info.is_required() else "a reserved name",
                    source=f"specimen {self.name}",
                    key=name,
                    accepted=f"a field with a default, called other than {', '.join(RESERVED)}",
                )

    def completed(self, given: Mapping[str, Any]) -> Parameters:
        """Fill in the defaults of the parameters that are not given.

        Parameters
        ----------
        given : keys of ``[specimen]`` that are the kind's own.

        Raises
        ------
        pydantic.ValidationError : an unknown key, a value that its field does not accept.
        """
        # JSON mode: strict about numbers and strings, yet lists are tuples and strings are enums.
        data = laid_over(given, self.preset)
        return self.parameters.model_validate_json(json.dumps(data), strict=True)

    def elements_of(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the chemical symbols of the specimen that parameters describe.

        Parameters
        ----------
        given : keys of ``[specimen]`` that are the kind's own.
        """
        return (
            self.elements(**dict(self.completed(given)))
            if callable(self.elements)
            else self.elements
        )

    def apart(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters that differ from those of the kind, as plain values.

        Parameters
        ----------
        given : keys of ``[specimen]`` that are the kind's own, completed.
        """
        usual = self.completed({}).model_dump(mode="json")
        sparse = self.completed(given).model_dump(mode="json", exclude_defaults=True)
        found: dict[str, Any] = _difference(given, usual, sparse)
        return found


def laid_over(given: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """Tables with the values of others where they have none.

    Parameters
    ----------
    given, preset : plain values by key; keys may hold tables.

    Examples
    --------
    >>> laid_over({"a": {"b": 1}}, {"a": {"b": 0, "c": 2}})
    {'a': {'b': 1, 'c': 2}}
    """
    # A copy, table by table: presets are shared by all studies of the process.
    merged = dict(preset)
    for key, value in given.items():
        under = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[key] = laid_over(value, under or {}) if both else value
    return merged


def _difference(given: Any, usual: Any, sparse: Any) -> Any:
    """What of a table differs from the kind's; where that has none, from the defaults."""
    found = {}
    for key, value in given.items():
        if key not in usual:
            found[key] = sparse.get(key, value)
        elif isinstance(value, Mapping) and isinstance(usual[key], Mapping):
            inner = _difference(value, usual[key], sparse.get(key, {}))
            found |= {key: inner} if inner else {}
        elif value != usual[key]:
            found[key] = value
    return found


class Specimens(Registry[SpecimenKind]):
    """Specimens by name, and by a Python file that defines or a TOML file that describes one."""

    def get(self, name: str) -> SpecimenKind:
        """See :meth:`tomoatlas.recon_core.registry.Registry.get`.

        Parameters
        ----------
        name : a name, the path of a Python file, or that of a TOML file.
        """
        if name.endswith(TABLES):
            from .build import described

            return described(name)
        return super().get(name)


SPECIMENS = Specimens(
    "specimen",
    "tomoatlas.specimens",
    SpecimenKind,
    {
        "nanocubes": "tomoatlas.phantoms.kinds.nanocubes:NANOCUBES",
        "composite": "tomoatlas.phantoms.kinds.composite:COMPOSITE",
        "build": "tomoatlas.phantoms.kinds.build:BUILD",
        "au-fe3o4": "tomoatlas.phantoms.kinds.build:AU_FE3O4",
        "co3o4-mn3o4": "tomoatlas.phantoms.kinds.build:CO3O4_MN3O4",
        "zns-cus": "tomoatlas.phantoms.kinds.build:ZNS_CUS",
        "cu-sic": "tomoatlas.phantoms.kinds.build:CU_SIC",
        "c-tio2": "tomoatlas.phantoms.kinds.build:C_TIO2",
    },
    key="specimen.kind",
)
"""Every specimen by name; a file that defines or describes one is a name as well."""


def make_specimen(kind: str, size: int, seed: int = 0, **parameters: Any) -> Specimen:
    """Draw a specimen.

    Parameters
    ----------
    kind : name of a specimen, or the path of a Python or TOML file that holds one.
    size : voxels per edge.
    seed : draws its objects; the size does not.
    **parameters : keys of the kind's own; absent ones have their default.

    Returns
    -------
    Specimen : volumes (element, z, y, x), ``size`` voxels per edge.

    Raises
    ------
    BadInput : an unknown kind, a size out of range, a negative seed, a parameter that the kind does
        not accept; a builder whose specimen has other elements or another size.

    Examples
    --------
    >>> make_specimen("nanocubes", 16, seed=1).volumes.shape
    (4, 16, 16, 16)
    """
    found = SPECIMENS.get(kind)
    if not SIZES[0] <= size <= SIZES[1]:
        raise BadInput(
            "size out of range",
            key="specimen.size",
            value=size,
            accepted=f"{SIZES[0]} to {SIZES[1]} voxels per edge",
        )
    if seed < 0:
        raise BadInput("negative seed", key="specimen.seed", value=seed, accepted=">= 0")
    accepted = _accepted(found, parameters)
    try:
        return _built(found, size, seed, accepted, found.elements_of(parameters))
    except BadInput as fault:
        raise fault.at(source=fault.source or (kind if kind.endswith(TABLES) else None)) from fault


def _accepted(kind: SpecimenKind, parameters: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(kind.completed(parameters))
    except ValidationError as error:
        data = laid_over(parameters, kind.preset)
        fault = validation_error(error, data, kind.parameters, None)
        accepted = fault.accepted or f"no key beside {', '.join(RESERVED)}"
        raise fault.at(key=f"specimen.{fault.key}", accepted=accepted) from error


def _built(
    kind: SpecimenKind,
    size: int,
    seed: int,
    parameters: Mapping[str, Any],
    elements: tuple[str, ...],
) -> Specimen:
    specimen = kind.build(size, seed, **parameters)
    # studies rely on the declaration before anything is built
    if specimen.elements != elements or specimen.shape != (size,) * 3:
        raise BadInput(
            "its builder returned another specimen than it declares",
            key="specimen.kind",
            value=kind.name,
            accepted=f"({', '.join(elements)}) on {(size,) * 3} voxels, "
            f"not ({', '.join(specimen.elements)}) on {specimen.shape}",
        )
    return specimen
