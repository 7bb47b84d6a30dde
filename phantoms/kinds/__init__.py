"""The specimens that can be named in a study."""

from __future__ import annotations

from collections.abc import Callable

from ...recon_core.errors import BadInput
from ..specimen import Specimen
from . import composite, nanocubes

KINDS: dict[str, Callable[[int, int], Specimen]] = {
    "nanocubes": nanocubes.nanocubes,
    "composite": composite.composite,
}
"""Builder of each kind: (voxels per edge, seed) -> specimen."""

ELEMENTS: dict[str, tuple[str, ...]] = {
    "nanocubes": nanocubes.ELEMENTS,
    "composite": composite.ELEMENTS,
}
"""Elements of each kind, known without building it."""

SIZES = (8, 1024)


def make_specimen(kind: str, size: int, seed: int = 0) -> Specimen:
    """The specimen ``kind`` on ``size``³ voxels; the seed draws its objects, the size does not.

    Raises
    ------
    BadInput : an unknown kind, a size out of range, a negative seed.
    """
    if kind not in KINDS:
        raise BadInput(
            "unknown specimen", key="specimen.kind", value=kind, accepted=", ".join(sorted(KINDS))
        )
    if not SIZES[0] <= size <= SIZES[1]:
        raise BadInput(
            "size out of range",
            key="specimen.size",
            value=size,
            accepted=f"{SIZES[0]} to {SIZES[1]} voxels per edge",
        )
    if seed < 0:
        raise BadInput("negative seed", key="specimen.seed", value=seed, accepted=">= 0")
    return KINDS[kind](size, seed)
