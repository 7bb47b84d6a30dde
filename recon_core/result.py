"""What a reconstruction returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .haadf_model import HaadfModel

Array = NDArray[np.float32]


class Status(StrEnum):
    """How a solve ended."""

    CONVERGED = "converged"
    ITERATION_LIMIT = "iteration-limit"
    DIVERGED = "diverged"
    BAD_DATA = "bad-data"


@dataclass(frozen=True)
class History:
    """Convergence of a solve: one entry per recorded step, all of equal length, float64.

    Parameters
    ----------
    iterations : work done so far, in pairs of projections of each modality.
    haadf, chemistry, tv : weighted terms of the objective at the iterate.
    primal, dual : relative residuals of the splitting; NaN for a method without HAADF.
    change : change of the volumes in the last iteration, relative to their norm.

    Examples
    --------
    >>> History(iterations=(0.0,), haadf=(1.0,), chemistry=(2.0,), tv=(0.5,)).objective
    (3.5,)
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
        """Sum of the three terms at each recorded step."""
        # the terms are recorded with their weights
        return tuple(sum(t) for t in zip(self.haadf, self.chemistry, self.tv, strict=True))


@dataclass(frozen=True)
class Reconstruction:
    """Concentrations of every element, and how they were reached.

    Parameters
    ----------
    volumes : concentrations, (element, z, y, x), float32, on the host.
    status : how the solve ended.
    iterations : work done, in pairs of projections of each modality; a fraction is possible.
    history : terms and residuals at the recorded steps.
    message : remedy for a solve that did not converge; empty otherwise.
    elements : chemical symbols, in the order of ``volumes``.
    voxel_size_nm : edge of a voxel, nm.
    facts : the method, its weights and the settings of the solver, for the file.
    haadf : model of HAADF that was fitted to the data; None where none was.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=8))
    >>> result = ta.reconstruct(series, "ml", settings=ta.SolverSettings(max_iterations=5))
    >>> result.status, result.facts["method"], result.facts["max_iterations"]
    (<Status.ITERATION_LIMIT: 'iteration-limit'>, 'ml', 5)
    """

    volumes: Array
    status: Status
    iterations: float
    history: History = field(default_factory=History)
    message: str = ""
    elements: tuple[str, ...] = ()
    voxel_size_nm: float = 1.0
    facts: Mapping[str, float | str] = field(default_factory=dict)
    haadf: HaadfModel | None = None
