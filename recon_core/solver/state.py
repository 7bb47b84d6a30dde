"""The state of a solve: all that the loop of :mod:`.admm` carries, in memory allocated once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gram import Gram

Array = NDArray[np.float32]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Coupling:
    """The coupling of HAADF and chemistry, u = s(x); every array is (trial, z, y, x) but ``rays``.

    Parameters
    ----------
    u : split variable, the summed contrast that HAADF sees.
    d : scaled multiplier.
    contrast : summed contrast s(x) of the iterate.
    residual : residual of the u-step, A^T (b - A u) + ridge (s(x) + d - u).
    rays : workspace for its projections, (trial, angle, y, x).
    last : last step of u, zeros before the first.
    last_image : A^T A applied to it.
    """

    u: Array
    d: Array
    contrast: Array
    residual: Array
    rays: Array
    last: Array
    last_image: Array


@dataclass(frozen=True)
class FusionState:
    """Everything the loop carries; its arrays are memory that each step reuses.

    Parameters
    ----------
    volumes : iterate, (trial, element, z, y, x), concentrations.
    next_volumes : like ``volumes``: receives the next iterate, workspace until then.
    point : extrapolated iterate, like ``volumes``.
    dual : TV dual in units of the TV weight, (trial, element, 3, z, y, x), zero at the far faces.
    rays : workspace for chemical projections, (trial, element, angle, y, x).
    workspace : (trial, most), as large as ``volumes`` or ``rays``, whichever is larger.
    metric : estimated curvature of the chemical term times margin and ``caution``, (trial,
        element).
    momentum : Nesterov's t, (trial,); 1 restarts it.
    limit : upper limit of the momentum factor, (trial,).
    caution : factor of the metric, (trial,): 1, doubled whenever the objective has risen.
    residuals : relative primal and dual residual, and relative change of the volumes, (trial, 3);
        the first two are NaN without HAADF.
    push : multiplier that holds the total counts of each element, -1 to 1, (trial, element); 0
        where they are not held.
    coupling : None without HAADF.
    gram : Gram operator of the u-step; None without HAADF.
    iteration : steps taken on this grid.
    work : projections of one trial, tilts times volumes, a pair counting once.
    """

    volumes: Array
    next_volumes: Array
    point: Array
    dual: Array
    rays: Array
    workspace: Array
    metric: Array
    momentum: Values
    limit: Values
    caution: Values
    residuals: Values
    push: Values
    coupling: Coupling | None = None
    gram: Gram | None = None
    iteration: int = 0
    work: float = 0.0

    @property
    def slope(self) -> Array:
        """The gradient of the chemical term, (trial, element, z, y, x), a view of ``workspace``."""
        # valid between gradient and volume step: other stages overwrite the workspace
        return view_of(self.workspace, self.volumes.shape)


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
