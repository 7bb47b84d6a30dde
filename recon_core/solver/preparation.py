"""What all trials of a tilt series share: units, the HAADF model, bounds, and a start.

None of it depends on the weights of a trial. With ``solver.start = "series"`` that is true of the
start too: a solve at the usual weights finds the guide of TV and goes on a little, and every trial
begins there. Guides found at extreme weights show edges of noise, or none; and where the problem is
convex (exponent 1) its minimum does not depend on where a solve begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..contrast import FITTED, contrast_of
from ..device import Device
from ..methods import Method, Weights, default_weights
from ..result import HaadfModel
from ..settings import GUIDED, SolverSettings
from ..tiltseries import TiltSeries
from .admm import init
from .haadf_fit import fitted_model
from .multiresolution import (
    ChemicalBound,
    chemical_bound,
    initial_state,
    stepped,
    with_guide,
    with_levels,
)
from .normalisation import haadf_unit, in_noise_units, with_scale
from .problem import FusedProblem
from .state import FusionState

Array = NDArray[np.float32]

START_STEPS = 30  # at the usual weights, after the guide is found
LIGHTEST = 1e-8  # of the usual weight: below it a multiplier is eased no further


@dataclass(frozen=True)
class Start:
    """Where the trials of a series begin: the solution at the usual weights, roughly.

    Parameters
    ----------
    problem : of one trial at ``weights``.
    weights : in units of the problem.
    volumes : concentrations, (element, z, y, x), on the device.
    dual : TV dual, (element, component, z, y, x).
    multiplier : of the coupling to HAADF, (z, y, x).
    push : multiplier of the totals, (element,).
    """

    problem: FusedProblem
    weights: Weights
    volumes: Array
    dual: Array
    multiplier: Array
    push: NDArray[np.float64]

    def at(self, weights: Sequence[Weights]) -> tuple[FusedProblem, FusionState]:
        """Build the problem of a batch of trials, and the state that it begins with.

        Parameters
        ----------
        weights : one pair per trial, in units of the problem, with a HAADF weight.
        """
        problem = self.problem.weighted(self.weights, weights)
        # The duals come along: without them TV would first have to find its edges again.
        state = init(problem, self.volumes)
        eased = _eased(self.weights.tv, [w.tv for w in weights])
        state.dual[...] = self.dual
        # not above 1, the dual's own bound
        state.dual[...] *= problem.device.put(np.minimum(1.0, eased))[:, None, None]
        state.push[...] = self.push
        if state.coupling is not None and state.gram is not None:
            coupling, ridge = state.coupling, state.gram.ridge
            eased = _eased(self.weights.haadf, [w.haadf for w in weights])
            coupling.d[...] = self.multiplier
            coupling.d[...] *= problem.device.put(eased)
            # u = s(x) already; what the multiplier adds to the residual of the u-step
            coupling.residual[...] += ridge * coupling.d
        return problem, state


@dataclass(frozen=True)
class Prepared:
    """A series as it is solved, and what its trials share.

    Parameters
    ----------
    series : with known scales, in the units that it is solved in.
    unit : concentration of a volume of 1 in those units, (element,); None where it is 1.
    haadf : weight of HAADF in units of the problem for a weight of 1.
    bound : on the chemical term of a sound result.
    model : fitted HAADF model; None for another contrast, or without HAADF.
    start : of every trial; None where each finds its own.
    """

    series: TiltSeries
    unit: Array | None
    haadf: float
    bound: ChemicalBound
    model: HaadfModel | None = None
    start: Start | None = None

    def own(self, weights: Sequence[Weights]) -> list[Weights]:
        """Return weights in units of the problem.

        Parameters
        ----------
        weights : as a user gives them, one pair per trial.
        """
        return [replace(w, haadf=w.haadf * self.haadf) for w in weights]

    @property
    def seen(self) -> TiltSeries:
        """The series with the vacuum and scale of the fitted model, if there is one."""
        return self.series if self.model is None else self.model.applied_to(self.series)


def prepared(
    series: TiltSeries, method: Method, with_haadf: bool, settings: SolverSettings, device: Device
) -> Prepared:
    """Prepare a series for the trials of one method.

    Parameters
    ----------
    series : measured counts; every element has some.
    method : with weights, or ``ml``.
    with_haadf : whether HAADF is used: fused trials without its weight do not look at it.
    settings : of the solver.
    device : where it is computed, and the start is kept.
    """
    series = with_scale(series, settings, device)
    in_noise = settings.units == "noise" or settings.noise == "residual"
    inner = in_noise_units(series) if in_noise else series
    haadf = 1.0
    if with_haadf and settings.noise == "residual":
        haadf = haadf_unit(inner, settings, device)
    unit = None
    if settings.units == "noise" and method.weight_names:
        series, unit = inner, np.array(inner.unit, np.float32)[:, None, None, None]
    found = Prepared(series, unit, haadf, chemical_bound(series, settings, device))
    if with_haadf and settings.contrast == FITTED:
        found = replace(found, model=fitted_model(series, settings, device))
    if with_haadf and settings.start == "series":
        found = replace(found, start=_start(found, settings, device))
    return found


def _eased(before: float, weights: Sequence[float]) -> NDArray[np.float64]:
    """Factor of a dual that a solve at another weight has found, (trial, 1, 1, 1).

    Weight times dual is a force on the volumes. Where it is needed the force stays the same, where
    it meets its bound the dual does: between the two lies the root of the ratio of the weights.
    """
    factors = np.sqrt(before / np.maximum(weights, LIGHTEST * before))
    return factors[:, None, None, None]


def _start(found: Prepared, settings: SolverSettings, device: Device) -> Start:
    """Solve at the usual weights, to a guide and a little further."""
    (weights,) = found.own([default_weights(settings.noise, settings.units)])
    problem, state = own_start(found, [weights], settings, device)
    problem, state = stepped(problem, state, settings, START_STEPS)
    volumes, dual, push = (part[0].copy() for part in (state.volumes, state.dual, state.push))
    coupling = state.coupling
    assert coupling is not None  # the usual weights have HAADF
    return Start(problem, weights, volumes, dual, coupling.d[0].copy(), push)


def fits_levels(settings: SolverSettings) -> bool:
    """Whether coefficients fitted to volumes are brought to the levels of the counts.

    Parameters
    ----------
    settings : those of exponent 1 are fitted to the counts themselves.
    """
    return settings.contrast == FITTED and settings.totals and settings.gamma != 1.0


def own_start(
    found: Prepared, weights: Sequence[Weights], settings: SolverSettings, device: Device
) -> tuple[FusedProblem, FusionState]:
    """Build the problem of fused trials and the state that they begin with at their own weights.

    Parameters
    ----------
    found : the series; its start is not used.
    weights : one pair per trial, in units of the problem.
    settings : of the solver.
    device : where it is solved.
    """
    # totals that disagree with coefficients fitted to volumes would only make haze
    levels = fits_levels(settings)
    first = settings.model_copy(update={"totals": False}) if levels else settings
    fitted = None if found.model is None else found.model.coefficients
    contrast = contrast_of(settings) if fitted is None else fitted.law
    problem, state = initial_state(found.seen, weights, first, device, contrast=contrast)
    problem = replace(problem, fitted=fitted)
    if settings.regulariser == GUIDED:
        problem, state = with_guide(problem, state, first)
    if levels:
        problem, state = with_levels(problem, state, found.seen, weights[0], settings)
    return problem, state


class Preparations:
    """What a process keeps of the last tilt series, for the next trial of it.

    Results do not depend on it. It holds one preparation for each method, of one series: another
    series takes its place. Give it to :func:`~tomoatlas.recon_core.solver.reconstruct`.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> plan = ta.Acquisition(haadf_tilts=9, chemical_tilts=5)
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=8), plan)
    >>> kept, quick = Preparations(), ta.SolverSettings(max_iterations=5)
    >>> for tv in (0.5, 1.0):
    ...     result = ta.reconstruct(series, weights=ta.Weights(0.1, tv), settings=quick, kept=kept)
    """

    def __init__(self) -> None:
        self._given: TiltSeries | None = None
        self._usable: tuple[TiltSeries, NDArray[np.bool_]]
        self._series: TiltSeries | None = None
        self._found: dict[tuple[Method, bool], tuple[SolverSettings, Device, Prepared]] = {}

    def usable(self, series: TiltSeries) -> tuple[TiltSeries, NDArray[np.bool_]]:
        """Return what of a series can be solved: the same object for the same series.

        Parameters
        ----------
        series : measured counts.

        Returns
        -------
        series : bad pixels filled in, elements without counts left out unless all are.
        counted : whether each element of the given series has counts, (element,).
        """
        if series is not self._given:
            seen = series.filled()
            counted = np.array([counts.any() for counts in seen.chemical])
            some = counted.any() and not counted.all()
            self._given, self._usable = series, (seen.of(counted) if some else seen, counted)
        return self._usable

    def of(
        self,
        series: TiltSeries,
        method: Method,
        with_haadf: bool,
        settings: SolverSettings,
        device: Device,
    ) -> Prepared:
        """Return what is kept, or prepare it; see :func:`prepared`."""
        if series is not self._series:
            self._found.clear()
        key = method, with_haadf
        kept = self._found.get(key)
        if kept is not None and kept[:2] == (settings, device):
            return kept[2]
        self._found.pop(key, None)  # freed before the next is built
        found = prepared(series, method, with_haadf, settings, device)
        self._series, self._found[key] = series, (settings, device, found)
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._series = self._given = None
        self._found.clear()
