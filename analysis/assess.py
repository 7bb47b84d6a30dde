"""How far to trust a reconstruction whose truth is not known.

Seven solves besides the one that is judged: of counts of which a part is held out, fused and
without HAADF, of two halves of the counts, and of two simulations of which the reconstruction is
the truth, as it lies and turned.
Each number says what it cannot see: halves share the bias of TV and the missing wedge, a
self-simulation the error of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..recon_core.checks import Finding, check_series
from ..recon_core.device import CPU, Device
from ..recon_core.errors import BadInput
from ..recon_core.gpu import device_named
from ..recon_core.methods import Method, Weights
from ..recon_core.metrics import nrmse_by_element
from ..recon_core.metrics.counts import hold_out, split_counts
from ..recon_core.metrics.misfit import (
    ExpectedCounts,
    expected_counts,
    misfit_of,
)
from ..recon_core.metrics.noise import PATCH, estimate_noise
from ..recon_core.metrics.resolution import AGAINST_TRUTH, AXES, ShellCorrelation, shell_correlation
from ..recon_core.moves import moves_against
from ..recon_core.result import Reconstruction
from ..recon_core.settings import SolverSettings
from ..recon_core.solver.normalisation import as_solved, with_scale
from ..recon_core.solver.preparation import Preparations
from ..recon_core.tiltseries import TiltSeries
from .trust import Assessment, ElementTrust, doubts, rms
from .weights import (
    HELD_OUT,
    Count,
    Say,
    Solver,
    expected_nrmse,
    held_out_deviances,
    self_simulated,
    turned,
)

Array = NDArray[np.float32]
Values = NDArray[np.float64]

SOLVES = 7
STRONGER = 1.5  # chemistry + TV is judged at the TV weight and at this times it: HAADF regularises
HALF_ANGLE = 30.0  # degrees, of the cone about an axis
SMOOTH = 1.0  # voxels over which errors are averaged
FAR = 0.5  # pixels: images as far off leave HAADF unexplained, whatever the elements
LEAST_LEVEL = 0.1  # of an element's level: below it a relative error means nothing


def assess(
    solved: Reconstruction,
    series: TiltSeries,
    device: Device | str = CPU,
    say: Say | None = None,
) -> Assessment:
    """Judge a reconstruction by its data alone.

    Parameters
    ----------
    solved : as :func:`~tomoatlas.recon_core.solver.reconstruct` or a file gives it, with the facts
        of its method, weights and settings.
    series : the counts it was made of.
    device : what to compute on, or its name.
    say : called with the number of solves done and their total, as they end.

    Returns
    -------
    Assessment : how well the volumes explain the data, what is resolved of each element, its
        expected error, and remarks.

    Raises
    ------
    BadInput : volumes of other elements or sizes, or without a record of how they were made.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=16))
    >>> quick = ta.SolverSettings(max_iterations=5)
    >>> found = ta.assess(ta.reconstruct(series, settings=quick), series)
    >>> [each.element for each in found.elements]
    ['Co', 'Cu', 'O', 'Au']
    """
    judge = _Judge.of(solved, device_named(device) if isinstance(device, str) else device, say)
    series = series.with_seen_tilts()
    _check_alike(solved, series)
    known, law = as_solved(series, solved, judge.solver.settings, judge.solver.device)
    known = known.filled()
    expected = expected_counts(known, solved.volumes, law)
    (gain, error), gains = judge.held_out(series)
    halves = judge.halves(series)
    scores, uncertainty, still = judge.self_simulated(series)
    moves, unexplained = _of_haadf(known, expected)
    found = Assessment(
        method=judge.solver.method,
        weights=judge.weights,
        misfit=misfit_of(known, expected),
        elements=(),
        gain=gain,
        gain_error=error,
        moves=moves,
        still=still,
        unexplained=unexplained,
        findings=(),
        halves=halves,
        uncertainty=uncertainty,
    )
    scaled = series.chemical_scale is not None
    elements = tuple(_elements(found, known, expected, gains, scores, scaled))
    found = replace(found, elements=elements)
    return replace(found, findings=_once((*doubts(found), *judge.of_data(series))))


def _once(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings without what another one says better: why HAADF is unexplained."""
    kinds = {finding.kind for finding in findings}
    moved = any(finding.kind == "alignment" and finding.value > FAR for finding in findings)
    spare = "missing-element" if moved else "haadf-model"
    return tuple(f for f in findings if f.kind != spare or "missing-element" not in kinds)


@dataclass(frozen=True)
class _Judge:
    """The reconstruction that is judged, and how it was made."""

    solved: Reconstruction
    weights: Weights
    solver: Solver

    @classmethod
    def of(cls, solved: Reconstruction, device: Device, say: Say | None) -> _Judge:
        """Read how it was made from the record that a reconstruction carries."""
        facts = solved.facts
        fields = SolverSettings.model_fields
        try:
            method = Method(str(facts["method"]))
            weights = Weights(**{name: float(facts[name]) for name in method.weight_names})
            settings = SolverSettings.model_validate({n: facts[n] for n in fields if n in facts})
        except (KeyError, ValueError) as fault:
            accepted = "volumes that tomoatlas reconstruct wrote"
            raise BadInput("no record of how they were made", accepted=accepted) from fault
        return cls(solved, weights, Solver(method, settings, device, Count(SOLVES, say)))

    def again(self, series: TiltSeries) -> Reconstruction:
        """Solve as the judged one was."""
        return self.solver.solved(series, self.weights)

    def of_data(self, series: TiltSeries) -> Iterator[Finding]:
        """Doubts about the data; the unit of HAADF is none where weights do not depend on it."""
        free = self.solver.settings.noise != "counts"
        yield from (f for f in check_series(series) if not (free and f.kind == "unit"))

    def held_out(self, series: TiltSeries) -> tuple[tuple[float, float], Values]:
        """Gain of fused over chemistry + TV with its error, of all counts and by element."""
        some, held = hold_out(series, HELD_OUT, seed=0)
        some = with_scale(some, self.solver.settings, self.solver.device)
        own = np.stack(list(held_out_deviances(some, held, self.again(some))))
        tv, kept = self.weights.tv or 1.0, Preparations()
        solver = replace(self.solver, method=Method.CHEMISTRY_TV)
        solved = (solver.solved(some, Weights(0.0, t), kept) for t in (tv, STRONGER * tv))
        alone = min((np.stack(list(held_out_deviances(some, held, s))) for s in solved), key=np.sum)
        by_element = np.array([_gain(b, a) for a, b in zip(own, alone, strict=True)])
        return _gain(alone, own), by_element

    def halves(self, series: TiltSeries) -> dict[str, dict[str, ShellCorrelation]]:
        """Shell correlation between reconstructions of two halves of the counts."""
        one, other = (self.again(half).volumes for half in split_counts(series, seed=1))
        return {
            element: {
                "all": shell_correlation(a, b, series.voxel_size_nm),
                **{
                    axis: shell_correlation(a, b, series.voxel_size_nm, (axis, HALF_ANGLE))
                    for axis in AXES
                },
            }
            for element, a, b in zip(series.elements, one, other, strict=True)
        }

    def self_simulated(self, series: TiltSeries) -> tuple[list[float], Array, float]:
        """NRMSE of each element to expect, error of every voxel over its level, moves by noise."""
        truth, settings, device = self.solved.volumes, self.solver.settings, self.solver.device
        twin = self_simulated(series, self.solved, settings, device, seed=2)
        solved = self.again(twin)
        found = solved.volumes
        known, law = as_solved(twin, solved, settings, device)
        moves, _ = _of_haadf(known.filled(), expected_counts(known, found, law))
        pairs = zip(nrmse_by_element(found, truth), self._across(series), strict=True)
        scores = [expected_nrmse(*pair) for pair in pairs]
        errors = [_relative(v, t) for v, t in zip(found, truth, strict=True)]
        return scores, np.stack(errors), rms(moves)

    def _across(self, series: TiltSeries) -> list[float]:
        """NRMSE of each element, of a simulation of the volumes turned by a quarter."""
        settings, device = self.solver.settings, self.solver.device
        twin = self_simulated(series, self.solved, settings, device, seed=3, across=True)
        return list(nrmse_by_element(self.again(twin).volumes, turned(self.solved.volumes)))


def _gain(alone: Values, own: Values) -> tuple[float, float]:
    """Relative excess of one mean deviance over another, and its standard error over pixels."""
    base = max(float(own.mean()), 1e-30)
    difference = alone - own
    return float(difference.mean()) / base, float(difference.std() / math.sqrt(own.size)) / base


def _relative(volume: Array, truth: Array) -> Array:
    """Root mean square error about each voxel over the level of the element; NaN outside it."""
    total = float(truth.sum(dtype=np.float64))
    level = float((truth.astype(np.float64) ** 2).sum()) / total if total > 0 else 1.0
    # an arbitrary unit of the scale is no error
    scale = total / max(float(volume.sum(dtype=np.float64)), 1e-30)
    square = ndimage.gaussian_filter((scale * volume - truth).astype(np.float64) ** 2, SMOOTH)
    inside = ndimage.gaussian_filter(truth, SMOOTH) > LEAST_LEVEL * level
    return np.where(inside, np.sqrt(square) / level, np.nan).astype(np.float32)


def _check_alike(solved: Reconstruction, series: TiltSeries) -> None:
    if solved.elements != series.elements:
        names = ", ".join(series.elements)
        raise BadInput("other elements", key="elements", value=solved.elements, accepted=names)
    height, width = series.chemical.shape[-2:]
    if 1 in solved.volumes.shape[1:]:
        raise BadInput(
            "a single slice cannot be judged",
            key="volumes",
            value=solved.volumes.shape,
            accepted="two slices or more along the tilt axis",
        )
    if solved.volumes.shape[2:] != (height, width):
        raise BadInput(
            "another size than the images",
            key="volumes",
            value=solved.volumes.shape,
            accepted=f"(…, …, {height}, {width})",
        )


def _of_haadf(series: TiltSeries, expected: ExpectedCounts) -> tuple[Values, float]:
    """Moves of the images against their model, and what is unexplained beyond the noise."""
    if not len(series.haadf) or min(series.haadf.shape[-2:]) < PATCH + 2:
        return np.zeros((0, 2)), 0.0
    shifts = np.array(series.haadf_placement.of_each(len(series.haadf)))
    moves = moves_against(series.haadf, expected.haadf, shifts)[:, :2]
    noise = estimate_noise(series.haadf).variance(expected.haadf)
    left = (series.haadf.astype(np.float64) - expected.haadf) ** 2 - noise
    signal = expected.haadf - expected.haadf.min()
    whole = float((signal.astype(np.float64) ** 2).mean())
    return moves, math.sqrt(max(float(left.mean()), 0.0) / max(whole, 1e-30))


def _elements(
    found: Assessment,
    series: TiltSeries,
    expected: ExpectedCounts,
    gains: Values,
    scores: Sequence[float],
    scaled: bool,
) -> Iterator[ElementTrust]:
    """What is known of each element; atoms are counted where scales are given."""
    levels = series.chemical_background
    unknown: list[tuple[float | None, float | None]] = [(None, None)] * len(gains)
    fractions = _fractions(series) if scaled else unknown
    tilts = len(series.chemical_angles_deg)
    for i, name in enumerate(series.elements):
        counts = series.chemical[i].astype(np.float64)
        signal = float(counts.sum()) - levels[i] * counts.size
        predicted = float(expected.chemical[i].sum(dtype=np.float64)) - levels[i] * counts.size
        curves = found.halves[name]
        yield ElementTrust(
            name,
            found.misfit.elements[i].overall,
            float(gains[i, 0]),
            float(gains[i, 1]),
            {where: curve.resolution_nm(AGAINST_TRUTH) for where, curve in curves.items()},
            scores[i],
            signal / tilts,
            math.sqrt(float(counts.sum())) / tilts,
            predicted / signal if signal > 0 else math.nan,
            fractions[i][0],
            fractions[i][1],
        )


def _fractions(series: TiltSeries) -> Sequence[tuple[float | None, float | None]]:
    """Share of each element in the atoms, with its counting error."""
    assert series.chemical_scale is not None  # the solver's own, if not the file's
    counts = series.chemical.sum(axis=(1, 2, 3), dtype=np.float64)
    size = series.chemical[0].size
    scales = np.array(series.chemical_scale)
    amounts = (counts - np.array(series.chemical_background) * size) / scales
    errors, total = np.sqrt(counts) / scales, max(float(amounts.sum()), 1e-30)
    shares = amounts / total
    # of independent amounts: that of one element enters its own share and that of all
    mixed = [
        math.sqrt(((1 - s) * e) ** 2 + s**2 * float((errors**2).sum() - e**2)) / total
        for s, e in zip(shares, errors, strict=True)
    ]
    return list(zip(map(float, shares), mixed, strict=True))
