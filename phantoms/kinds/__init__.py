"""The specimens that can be named in a study, and how to add one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ...recon_core.errors import BadInput
from ...recon_core.registry import Registry
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
    elements : chemical symbols, known without building it.
    build : ``build(size, seed, **parameters)`` returns the specimen on ``size``³ voxels. The seed
        draws the objects; the size only resolves them.
    about : one line for listings.
    parameters : names, defaults and bounds of its own keys.

    Raises
    ------
    BadInput : a parameter without default, or with a name that every specimen has.
    """

    name: str
    elements: tuple[str, ...]
    build: Callable[..., Specimen]
    about: str
    parameters: type[Parameters] = Parameters

    def __post_init__(self) -> None:
        for name, field in self.parameters.model_fields.items():
            if field.is_required() or name in RESERVED:
                raise BadInput(
                    "a parameter without default" if field.is_required() else "a reserved name",
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
        return self.parameters.model_validate_json(json.dumps(dict(given)), strict=True)


SPECIMENS: Registry[SpecimenKind] = Registry(
    "specimen",
    "tomoatlas.specimens",
    SpecimenKind,
    {
        "nanocubes": "tomoatlas.phantoms.kinds.nanocubes:NANOCUBES",
        "composite": "tomoatlas.phantoms.kinds.composite:COMPOSITE",
    },
    key="specimen.kind",
)
"""Every specimen by name; a Python file that defines one is a name as well."""


def make_specimen(kind: str, size: int, seed: int = 0, **parameters: Any) -> Specimen:
    """Draw a specimen.

    Parameters
    ----------
    kind : name of a specimen, or the path of a Python file that defines one.
    size : voxels per edge.
    seed : draws its objects; the size does not.
    **parameters : keys of the kind's own; absent ones have their default.

    Returns
    -------
    Specimen : volumes (element, z, y, x), ``size``³ voxels.

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
    return _built(found, size, seed, _accepted(found, parameters))


def _accepted(kind: SpecimenKind, parameters: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(kind.completed(parameters))
    except ValidationError as error:
        fault = validation_error(error, dict(parameters), kind.parameters, None)
        accepted = fault.accepted or f"no key beside {', '.join(RESERVED)}"
        raise fault.at(key=f"specimen.{fault.key}", accepted=accepted) from error


def _built(kind: SpecimenKind, size: int, seed: int, parameters: Mapping[str, Any]) -> Specimen:
    specimen = kind.build(size, seed, **parameters)
    # studies rely on the declaration before anything is built
    if specimen.elements != kind.elements or specimen.shape != (size,) * 3:
        raise BadInput(
            "its builder returned another specimen than it declares",
            key="specimen.kind",
            value=kind.name,
            accepted=f"({', '.join(kind.elements)}) on {(size,) * 3} voxels, "
            f"not ({', '.join(specimen.elements)}) on {specimen.shape}",
        )
    return specimen
