"""Working memory made once: what it is used as, and how a batch shrinks in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def view_of(room: Array, shape: tuple[int, ...]) -> Array:
    """The first values of a contiguous array as one of ``shape``; nothing is copied."""
    return room.reshape(-1)[: math.prod(shape)].reshape(shape)


def compacted(arrays: Any, trials: Sequence[int]) -> Any:
    """A frozen dataclass with views of its arrays, (trial, ...), that hold ``trials`` alone.

    In ascending order: moved to the front, nothing copied.
    """
    parts = {f.name: getattr(arrays, f.name) for f in fields(arrays)}
    parts = {name: part for name, part in parts.items() if hasattr(part, "shape")}
    for part in parts.values():
        for to, trial in enumerate(trials):
            if to < trial:
                part[to] = part[trial]
    return replace(arrays, **{name: part[: len(trials)] for name, part in parts.items()})
