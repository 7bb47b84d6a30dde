"""Weights without truth: those that two rules, each with an error of its own, agree on.

*Held-out counts*: a part of the chemical counts is left out, and weights are sought whose volumes
predict it best. HAADF has no say in that score: its model error is systematic, hence predictable.
*Self-simulation*: a reconstruction is taken for the specimen, a tilt series like the measured one
is simulated from it, its HAADF as noisy as the measured one is unexplained, and weights are sought
that recover it best. The first rule tends to too weak a TV, the second to too strong a one; of
HAADF both ask for too much at times. Hence the bracket: the geometric mean of their TV weights, and
the smaller of their HAADF weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..recon_core.device import CPU, Device
from ..recon_core.errors import BadInput
from ..recon_core.gpu import device_named
from ..recon_core.memory import SolveSize
from ..recon_core.methods import Method, Weights, default_weights, method_named
from ..recon_core.metrics import nrmse_by_element
from ..recon_core.metrics.counts import hold_out
from ..recon_core.metrics.misfit import (
    deviance,
    expected_chemical,
    expected_counts,
    misfit_of,
)
from ..recon_core.metrics.noise import PATCH, Noise, estimate_noise
from ..recon_core.result import Reconstruction, Status
from ..recon_core.settings import SolverSettings, newest_settings
from ..recon_core.solver import reconstruct
from ..recon_core.solver.normalisation import as_solved, with_scale
from ..recon_core.solver.preparation import Preparations
from ..recon_core.tiltseries import TiltSeries
from ..sweep.estimate import solve_seconds
from ..sweep.search.propose import Space, at_unit, predict, propose, unit_of
from ..sweep.study.trial import weights_named

Array = NDArray[np.float32]
Tried = tuple[tuple[Weights, float | None], ...]
Score = Callable[[Weights], float | None]
Say = Callable[[int, int], None]

HELD_OUT = 0.2  # share of the chemical counts
SOLVES = 9  # of each rule; that of self-simulation needs the reconstruction it simulates from
ALL_SOLVES = 2 * SOLVES + 1  # the last says what to expect
REACH = {"haadf": 30.0, "tv": 6.0}  # the search covers the usual weight, divided and times this
STEP = 0.2  # of the range on both sides of the usual weights, along each weight, at first
GRID = 41  # places along each weight at which the model of a rule's scores is read
# The mean of both self-simulated NRMSE over the true one ("NRMSE to expect" in
# tests/benchmarks/RESULTS.md), and the relative standard error of the estimate that divides by it.
OPTIMISM, UNSURE = 0.84, 0.18
APART = 4.0  # factor between the rules from which on they disagree
EDGE = 1.3  # factor to a bound of the range within which a weight lies at it


@dataclass(frozen=True)
class RuleChoice:
    """What one rule found.

    Parameters
    ----------
    weights : the best by the rule.
    score : that it expects there; lower is better.
    tried : weights and their scores, in the order of the search; None where a solve failed.
    """

    weights: Weights
    score: float
    tried: Tried


@dataclass(frozen=True)
class AutoWeights:
    """Weights chosen without truth, and why.

    Parameters
    ----------
    method : that they are for.
    weights : those to reconstruct with.
    held_out, simulated : what the two rules found.
    nrmse : mean over the elements to expect at ``weights``; optimistic below nine chemical tilts,
        and blind to a wrong model.
    usual : where the search began.
    """

    method: Method
    weights: Weights
    held_out: RuleChoice
    simulated: RuleChoice
    nrmse: float
    usual: Weights

    @property
    def doubts(self) -> tuple[str, ...]:
        """What could not be decided, a sentence each."""
        found = []
        for name in self.method.weight_names:
            one, other = (getattr(r.weights, name) for r in (self.held_out, self.simulated))
            if max(one, other) > APART * min(one, other):
                found.append(
                    f"the rules disagree about {name}: held-out counts ask for {one:.2g}, "
                    f"self-simulation for {other:.2g}"
                )
        low, high = _space(self.method, self.usual).get("haadf", (0.0, math.inf))
        if self.weights.haadf and self.weights.haadf < EDGE * low:
            found.append("haadf is at its lower bound: HAADF does not help here; try chemistry-tv")
        if self.weights.haadf > high / EDGE:
            found.append("haadf is at its upper bound: more of it might be better")
        return tuple(found)

    @property
    def lines(self) -> tuple[str, ...]:
        """The choice in words, for people."""
        names = self.method.weight_names
        rules = (("held-out counts", self.held_out), ("self-simulation", self.simulated))
        why = "; ".join(f"{words} {_written(names, rule.weights)}" for words, rule in rules)
        how = "tv is their geometric mean" + (", haadf the smaller" if "haadf" in names else "")
        chosen = f"weights found without truth: {_written(names, self.weights)}"
        spread = UNSURE * self.nrmse
        expected = f"NRMSE to expect: {self.nrmse:.2f} ± {spread:.2f}, if the model holds"
        return (chosen, f"{why}; {how}", expected, *(f"undecided: {d}" for d in self.doubts))

    @property
    def facts(self) -> Mapping[str, float]:
        """What the file of a reconstruction records: name to value."""
        rules = (("held_out", self.held_out.weights), ("simulated", self.simulated.weights))
        weights = {
            f"auto_{rule}_{name}": float(getattr(found, name))
            for rule, found in rules
            for name in self.method.weight_names
        }
        return weights | {"auto_nrmse": self.nrmse}


def auto_weights(
    series: TiltSeries,
    method: Method | str = Method.FUSED,
    settings: SolverSettings | None = None,
    device: Device | str = CPU,
    say: Say | None = None,
) -> AutoWeights:
    """Choose the weights of a reconstruction whose truth is not known, by nineteen solves.

    Parameters
    ----------
    series : measured counts.
    method : ``fused`` or ``chemistry-tv``.
    settings : of the solver; None means those of the newest edition.
    device : what to compute on, or its name.
    say : called with the number of solves done and their total, as they end.

    Returns
    -------
    AutoWeights : the weights, what each rule found, and what they could not decide.

    Raises
    ------
    BadInput : a method without weights, or data that cannot be reconstructed.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=8))
    >>> found = ta.auto_weights(series, settings=ta.SolverSettings(max_iterations=10))
    >>> result = ta.reconstruct(series, weights=found.weights)
    """
    settings = newest_settings() if settings is None else settings
    method = method_named(method)
    if not method.weight_names:
        accepted = f"{Method.FUSED}, {Method.CHEMISTRY_TV}"
        raise BadInput("no weights to choose", key="method", value=str(method), accepted=accepted)
    device = device_named(device) if isinstance(device, str) else device
    usual = default_weights(settings.noise, settings.units)
    solver = Solver(method, settings, device, Count(ALL_SOLVES, say))
    series = series.with_seen_tilts()
    space = _space(method, usual)
    # Both rules search alone: a common search would follow the one whose scores vary more.
    held_out = _searched(_held_out(series, solver), space, usual, SOLVES)
    truth = solver.solved(with_scale(series, settings, device), usual, Preparations())
    simulated = _searched(_recovered(series, truth, solver), space, usual, SOLVES - 1)
    weights = _bracket(method, held_out.weights, simulated.weights)
    as_it_lies = _expected(space, simulated.tried, weights)
    across = _recovered(series, truth, solver, across=True)(weights)
    # where that diverged, as if it were no worse
    nrmse = expected_nrmse(as_it_lies, as_it_lies if across is None else across)
    return AutoWeights(method, weights, held_out, simulated, nrmse, usual)


def estimated_seconds(series: TiltSeries, method: Method, settings: SolverSettings) -> float:
    """Estimate the seconds of a choice on one core.

    Parameters
    ----------
    series, method, settings : as of :func:`auto_weights`.
    """
    elements, chemical, height, width = series.chemical.shape
    shape = (elements, height, height, width)
    size = SolveSize(shape, len(series.haadf_angles_deg), chemical)
    return ALL_SOLVES * solve_seconds(size, method, settings.max_iterations)


def _bracket(method: Method, one: Weights, other: Weights) -> Weights:
    """The geometric mean of the TV weights, and the smaller of those of HAADF."""
    haadf = min(one.haadf, other.haadf) if method.sees_haadf else 0.0
    return Weights(float(f"{haadf:.4g}"), float(f"{math.sqrt(one.tv * other.tv):.4g}"))


@dataclass
class Count:
    """Solves done, and what is called with their number.

    Parameters
    ----------
    total : number of solves to come in all.
    say : called with the number of solves done and ``total``, as they end.
    done : number of solves that have ended.
    """

    total: int
    say: Say | None
    done: int = 0

    def one(self) -> None:
        """Count a solve that has ended."""
        self.done += 1
        if self.say is not None:
            self.say(self.done, self.total)


@dataclass(frozen=True)
class Solver:
    """What the solves of a choice, or of a judgement, have in common.

    Parameters
    ----------
    method, settings, device : as of :func:`~tomoatlas.recon_core.solver.reconstruct`.
    count : of the solves.
    """

    method: Method
    settings: SolverSettings
    device: Device
    count: Count

    def solved(
        self, series: TiltSeries, weights: Weights, kept: Preparations | None = None
    ) -> Reconstruction:
        """Reconstruct, and count it.

        Parameters
        ----------
        series, weights, kept : as of :func:`~tomoatlas.recon_core.solver.reconstruct`.

        Raises
        ------
        BadInput : data that cannot be reconstructed.
        """
        found = reconstruct(
            series, self.method, weights, self.settings, device=self.device, kept=kept
        )
        if found.status is Status.BAD_DATA:
            raise BadInput(found.message, accepted="counts in HAADF and in an element")
        self.count.one()
        return found


def _held_out(series: TiltSeries, solver: Solver) -> Score:
    """Deviance of the counts that are held out, by weights."""
    some, held = hold_out(series, HELD_OUT, seed=0)
    # once, for all trials
    some, kept = with_scale(some, solver.settings, solver.device), Preparations()

    def score(weights: Weights) -> float | None:
        found = solver.solved(some, weights, kept)
        return None if found.status is Status.DIVERGED else held_out_deviance(some, held, found)

    return score


def held_out_deviance(some: TiltSeries, held: Array, solved: Reconstruction) -> float:
    """Compute the mean of :func:`held_out_deviances`.

    Parameters
    ----------
    some, held, solved : as there.

    Returns
    -------
    float : of the good pixels of all elements.
    """
    return float(np.mean([each.mean() for each in held_out_deviances(some, held, solved)]))


def held_out_deviances(
    some: TiltSeries, held: Array, solved: Reconstruction
) -> Iterator[NDArray[np.float64]]:
    """Compute the Poisson deviance of held-out counts from a reconstruction of the others.

    Parameters
    ----------
    some : series of the other counts, with known scales and backgrounds.
    held : counts held out, (element, angle, y, x).
    solved : reconstruction of ``some``.

    Yields
    ------
    array : of an element, (good pixel,).
    """
    expected = expected_chemical(some, solved.volumes)
    mask = some.chemical_mask
    good = np.ones(held.shape[1:], bool) if mask is None else mask.array()
    # Thinned counts keep the ratio of the shares, so that nothing has to be fitted to compare them.
    share = HELD_OUT / (1.0 - HELD_OUT)
    pairs = zip(held, expected, strict=True)
    yield from (deviance(b[good], share * y[good].astype(np.float64)) for b, y in pairs)


def _recovered(
    series: TiltSeries, truth: Reconstruction, solver: Solver, across: bool = False
) -> Score:
    """NRMSE of what is reconstructed from a simulation of ``truth``, by weights."""
    twin = self_simulated(series, truth, solver.settings, solver.device, across=across)
    twin, kept = with_scale(twin, solver.settings, solver.device), Preparations()
    volumes = turned(truth.volumes) if across else truth.volumes
    # The NRMSE of an element that is not there would be one of noise against nothing.
    there = [i for i, volume in enumerate(volumes) if volume.any()]

    def score(weights: Weights) -> float | None:
        found = solver.solved(twin, weights, kept)
        if found.status is Status.DIVERGED:
            return None
        return float(np.mean(nrmse_by_element(found.volumes[there], volumes[there])))

    return score


def self_simulated(
    series: TiltSeries,
    truth: Reconstruction,
    settings: SolverSettings,
    device: Device = CPU,
    seed: int = 0,
    across: bool = False,
) -> TiltSeries:
    """Simulate a series like the measured one, of which a reconstruction is the specimen.

    The noise of HAADF is as large as what the reconstruction leaves of it: the error of the model
    of its contrast is in there, as noise, where a simulation by that model would have none.

    Parameters
    ----------
    series : measured counts.
    truth : its reconstruction.
    settings : that it was solved with.
    device : where an unknown scale is computed.
    seed : of the noise.
    across : whether the specimen is :func:`turned` first, with the noise of the one that is not.

    Returns
    -------
    TiltSeries : with the angles, levels, scales and masks of ``series``.
    """
    rng = np.random.default_rng(seed)
    known, law = as_solved(series, truth, settings, device)
    expected = expected_counts(known, truth.volumes, law)
    fit = misfit_of(known.filled(), expected).haadf
    excess = 1.0 if fit is None else max(1.0, fit.overall)
    if across:
        expected = expected_counts(known, turned(truth.volumes), law)
    return replace(
        series,
        haadf=_noisy(expected.haadf, series.haadf, excess, rng),
        chemical=rng.poisson(expected.chemical).astype(np.float32),
    )


def expected_nrmse(as_it_lies: float, across: float) -> float:
    """Estimate an NRMSE from those of two self-simulations.

    As it lies, a reconstruction has nothing left to lose where the tilts do not see; turned, it has
    more to lose there than any specimen. The truth is between them.

    Parameters
    ----------
    as_it_lies, across : NRMSE of what was recovered from a simulation of the reconstruction, and of
        the reconstruction :func:`turned`.
    """
    return math.sqrt(as_it_lies * across) / OPTIMISM


def turned(volumes: Array) -> Array:
    """Turn volumes by a quarter about the tilt axis.

    What the tilts do not see, a reconstruction has smoothed along the beam: simulated as it lies,
    nothing would be lost there. Turned, its sharpest edges lie across the beam.

    Parameters
    ----------
    volumes : (element, z, y, x), as deep as they are wide.
    """
    return np.ascontiguousarray(np.rot90(volumes, 1, (1, 2)))


def _noisy(expected: Array, like: Array, excess: float, rng: np.random.Generator) -> Array:
    """Values of the noise that ``like`` has, its variance times ``excess``."""
    if not like.size:
        return like
    small = min(like.shape[-2:]) < PATCH + 2
    noise = Noise(1.0, 0.0, 0.0) if small else estimate_noise(like)
    # Counts of a larger gain: their variance grows with the signal as that of the data does.
    gain = excess * noise.gain
    if noise.floor == 0 and gain > 0:
        return (gain * rng.poisson(np.maximum(expected, 0) / gain)).astype(np.float32)
    spread = np.sqrt(excess * noise.variance(expected))
    return np.maximum(expected + spread * rng.standard_normal(expected.shape), 0).astype(np.float32)


def _space(method: Method, usual: Weights) -> Space:
    """Bounds of the search, about the usual weights."""
    middle = {name: float(getattr(usual, name)) for name in method.weight_names}
    return {name: (value / REACH[name], value * REACH[name]) for name, value in middle.items()}


def _searched(score: Score, space: Space, usual: Weights, solves: int) -> RuleChoice:
    """Search the minimum of a score: a cross about the usual weights, then proposals."""
    tried: list[tuple[Weights, float | None]] = []
    cross = _cross(space, usual)
    for number in range(solves):
        known = number < len(cross)
        weights = cross[number] if known else propose(space, tried, [], seed=number)
        tried.append((weights, score(weights)))
    if all(value is None for _, value in tried):
        raise BadInput("every solve diverged", key="weights", accepted="data that can be fitted")
    axes = np.meshgrid(*[np.linspace(0, 1, GRID)] * len(space), indexing="ij")
    places = np.stack([axis.ravel() for axis in axes], axis=1)
    # of the model, not of the trials: it lies between them
    mean = predict(space, tried, places)[0]
    best = int(np.argmin(mean))
    return RuleChoice(at_unit(space, places[best]), float(mean[best]), tuple(tried))


def _cross(space: Space, usual: Weights) -> list[Weights]:
    """The usual weights, which lie in the middle, and a step to both sides along each."""
    middle = np.full(len(space), 0.5)
    # A cross, not a random design: with nine solves each has to tell a slope.
    steps = [sign * STEP * unit for unit in np.eye(len(space)) for sign in (-1, 1)]
    first = weights_named({name: float(getattr(usual, name)) for name in space})
    return [first, *(at_unit(space, middle + step) for step in steps)]


def _expected(space: Space, tried: Tried, weights: Weights) -> float:
    """The score that the model of a rule expects at weights."""
    return float(predict(space, tried, unit_of(space, weights)[None])[0][0])


def _written(names: tuple[str, ...], weights: Weights) -> str:
    return ", ".join(f"{name} {getattr(weights, name):.3g}" for name in names)
