"""What a reconstruction returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Status(StrEnum):
    """How a solve ended."""

    CONVERGED = "converged"
    ITERATION_LIMIT = "iteration-limit"
    DIVERGED = "diverged"
    BAD_DATA = "bad-data"


@dataclass(frozen=True)
class History:
    """One entry per recorded step; equal lengths, float64.

    ``iterations``: work done so far, in pairs of projections of each modality. ``haadf``,
    ``chemistry``, ``tv``: weighted terms of the objective at the iterate. ``primal``, ``dual``:
    relative residuals of the splitting (NaN where the method has none). ``change``: relative
    change of the volumes.
    """

    iterations: tuple[float, ...] = ()
    haadf: tuple[float, ...] = ()
    chemistry: tuple[float, ...] = ()
    tv: tuple[float, ...] = ()
    primal: tuple[float, ...] = ()
    dual: tuple[float, ...] = ()
    change: tuple[float, ...] = ()

    @property
    def objective(self) -> tuple[float, ...]:
        """Sum of the three terms."""
        return tuple(sum(t) for t in zip(self.haadf, self.chemistry, self.tv, strict=True))


@dataclass(frozen=True)
class Reconstruction:
    """Concentrations of every element, (element, z, y, x) float32, and how they were reached."""

    volumes: Array
    status: Status
    iterations: float
    history: History = field(default_factory=History)
    message: str = ""
