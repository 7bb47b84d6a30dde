"""The state of a solve: everything the loop of :mod:`.admm` carries from step to step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .gram import Gram
from .workspace import view_of

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
    """

    u: Array
    d: Array
    contrast: Array
    residual: Array
    rays: Array


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
    coupling: Coupling | None = None
    gram: Gram | None = None
    iteration: int = 0
    work: float = 0.0

    @property
    def slope(self) -> Array:
        """The gradient of the chemical term, (trial, element, z, y, x), a view of ``workspace``."""
        # valid between gradient and volume step: other stages overwrite the workspace
        return view_of(self.workspace, self.volumes.shape)
