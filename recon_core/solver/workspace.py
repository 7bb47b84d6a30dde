"""Views of memory allocated once, and how a batch shrinks in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def view_of(workspace: Array, shape: tuple[int, ...]) -> Array:
    """Return the first values of a contiguous array in another shape; nothing is copied.

    Parameters
    ----------
    workspace : contiguous, at least as large as ``shape``.
    shape : of the view.

    Examples
    --------
    >>> import numpy as np
    >>> view_of(np.arange(6, dtype=np.float32), (2, 2)).tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    return workspace.reshape(-1)[: math.prod(shape)].reshape(shape)


def compacted(arrays: Any, trials: Sequence[int]) -> Any:
    """Return a frozen dataclass with views of its arrays that hold some of the trials.

    Parameters
    ----------
    arrays : dataclass whose arrays have the trial as first axis; other fields stay.
    trials : indices to keep, ascending; they are moved to the front of the same memory.
    """
    parts = {f.name: getattr(arrays, f.name) for f in fields(arrays)}
    parts = {name: part for name, part in parts.items() if hasattr(part, "shape")}
    for part in parts.values():
        # ascending indices: a trial never overwrites one that is still to move
        for to, trial in enumerate(trials):
            if to < trial:
                part[to] = part[trial]
    return replace(arrays, **{name: part[: len(trials)] for name, part in parts.items()})
