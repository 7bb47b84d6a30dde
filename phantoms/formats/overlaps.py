"""Maps of elements whose X-ray lines overlap: families of lines fitted to each spectrum.

1.  Energies of all lines are xraydb's. Lines of one shell of an element make a template, as their
    ratios are fixed: K beta tells Co from Fe where K alpha of one lies on K beta of the other. A
    subshell weighs its electrons times its yield. The background is the mean spectrum without its
    peaks.
2.  A shift of the energies and the width of the lines are fitted to the mean spectrum.
3.  Each pixel is fitted by weighted least squares, linear in its counts. Nothing is kept from
    falling below 0: with few counts a bound would add to the mean of the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from ...recon_core.errors import BadInput, needed
from ..yields import electrons_of
from .lines import LINES, SMOOTHED, Spectra, width_at

Array = NDArray[np.float32]
Values = NDArray[np.float64]

LOWEST = 0.15  # keV: below, noise of the detector hides lines
FAINT = 0.02  # of the strongest line: weaker ones choose no channels
REACH = 1.6  # widths of a line about it that are fitted
SOFTENED = 0.015  # keV over which noise of the mean spectrum is averaged before
STRIPPED = 2.5  # widths over which a peak stands above its background
FARTHEST, NARROWEST, WIDEST = 0.05, 0.8, 1.5  # keV of a shift; widths beside the usual one
SEEN = 1e-3  # part of a template within the fitted channels, below which it is left out


@dataclass(frozen=True, eq=False)
class Family:
    """Lines of one shell of an element.

    Parameters
    ----------
    element : chemical symbol.
    shell : ``K``, ``L`` or ``M``.
    energies, weights : of the lines, keV and parts of 1.
    """

    element: str
    shell: str
    energies: Values
    weights: Values

    @property
    def mapped(self) -> bool:
        """Whether the map of the element is that of this shell."""
        return bool(np.abs(self.energies - LINES.get(self.element, -1.0)).min() < FARTHEST)

    def template(self, energies: Values, shift: float, width: float) -> Values:
        """Return counts in channels of one count of all lines together, (energy,).

        Parameters
        ----------
        energies : of the channels, keV, ascending.
        shift : of every line, keV.
        width : of a line, in times the usual one of its energy.
        """
        edges = np.gradient(energies)
        found = np.zeros(len(energies))
        for line, weight in zip(self.energies, self.weights, strict=True):
            sigma = width * width_at(float(line)) / 2.3548
            peak = np.exp(-((energies - line - shift) ** 2) / (2 * sigma**2))
            found += weight * peak * edges / (sigma * np.sqrt(2 * np.pi))
        return found


def families_of(element: str) -> list[Family]:
    """Look up the lines of an element, by shells.

    Parameters
    ----------
    element : chemical symbol.

    Raises
    ------
    BadInput : xraydb is not installed (extra ``microscope``); no line known.
    """
    with needed("xraydb", "microscope", "--fit"):
        import xraydb
    try:
        lines, edges = xraydb.xray_lines(element), xraydb.xray_edges(element)
    except ValueError as fault:
        raise BadInput(
            "no X-ray line known", key="--elements", value=element, accepted="chemical symbols"
        ) from fault
    found = []
    for shell in "KLM":
        # lines that start at two subshells at once are faint, and have no yield of their own
        own = [
            x for x in lines.values() if x.initial_level in edges and x.initial_level[0] == shell
        ]
        weights = np.array([x.intensity * _holes(edges, x.initial_level) for x in own])
        if weights.sum() > 0:
            energies = 1e-3 * np.array([x.energy for x in own])
            found.append(Family(element, shell, energies, weights / weights.sum()))
    return found


def _holes(edges: Mapping[str, Any], level: str) -> float:
    """Holes of a subshell that X-rays fill, beside those of others: by its electrons, and yield."""
    return electrons_of(level) * float(edges[level].fyield)


def fitted_maps(spectra: Spectra, elements: Sequence[str]) -> dict[str, tuple[Array, float]]:
    """Fit the lines of elements to the spectra of all pixels.

    Parameters
    ----------
    spectra : counts of all pixels.
    elements : all that show lines near those to be mapped.

    Returns
    -------
    dict of (array, float) : by element, its counts (angle, y, x), and the level that gives them the
        scatter of counts: what the overlap adds to their variance.

    Raises
    ------
    BadInput : energy losses; a line beyond the spectrum; elements that cannot be told apart.
    """
    if spectra.eels:
        raise BadInput("energy losses have no lines", key="--fit", accepted="--window EL=LOW:HIGH")
    energies = spectra.energies * (1.0 if spectra.kilo else 1e-3)
    families = [f for e in elements for f in families_of(e)]
    _check_lines(families, elements, energies)
    mean = spectra.counts.mean(axis=(0, 1, 2), dtype=np.float64)
    chosen = _channels(families, energies)
    background = _stripped(mean, energies)
    shift, width = _calibrated(families, energies, mean, background, chosen)
    templates = {f: f.template(energies, shift, width)[chosen] for f in families}
    templates = {f: part for f, part in templates.items() if part.sum() > SEEN}
    parts = np.array([*templates.values()])
    near = spectra.counts[..., chosen]
    amounts, variances = _solved(near, parts, background[chosen], mean[chosen])
    found = {}
    for i, family in enumerate(templates):
        if family.mapped:
            counts = amounts[..., i]
            level = max(0.0, float(variances[i] - counts.mean()))
            found[family.element] = counts.astype(np.float32), level
    return found


def _check_lines(families: list[Family], elements: Sequence[str], energies: Values) -> None:
    for element in elements:
        able = [f for f in families if f.element == element and f.mapped]
        if not able or not energies[0] < LINES[element] < energies[-1]:
            raise BadInput(
                "no line in the spectrum",
                key="--elements",
                value=element,
                accepted=f"elements with a line from {energies[0]:.3g} to {energies[-1]:.3g} keV",
            )


def _channels(families: list[Family], energies: Values) -> NDArray[np.bool_]:
    """Channels near a line that is mapped."""
    chosen = np.zeros(len(energies), bool)
    for family in families:
        if not family.mapped:
            continue
        for line, weight in zip(family.energies, family.weights, strict=True):
            if weight >= FAINT * family.weights.max():
                chosen |= np.abs(energies - line) <= REACH * width_at(float(line))
    return chosen & (energies >= LOWEST)


def _stripped(mean: Values, energies: Values) -> Values:
    """The mean spectrum without its peaks: each channel no higher than the middle of its sides."""
    # the square root makes the noise alike and the slopes small; sides come nearer step by step,
    # from no farther than a peak there is wide: a hump of the background is not stripped
    step = float(np.median(np.diff(energies)))
    wide = np.array([STRIPPED * width_at(max(float(e), LOWEST)) / step for e in energies])
    found = np.sqrt(np.maximum(ndimage.gaussian_filter1d(mean, SOFTENED / step), 0.0))
    for apart in range(int(np.ceil(wide.max())), 0, -1):
        sides = (np.roll(found, apart) + np.roll(found, -apart)) / 2
        sides[:apart], sides[-apart:] = found[:apart], found[-apart:]
        found = np.where(apart <= wide, np.minimum(found, sides), found)
    return np.asarray(found**2, np.float64)


def _calibrated(
    families: list[Family],
    energies: Values,
    mean: Values,
    background: Values,
    chosen: NDArray[np.bool_],
) -> tuple[float, float]:
    """Shift of the energies, keV, and width of lines over the usual one."""
    weights = 1.0 / np.sqrt(np.maximum(mean[chosen], 1e-3 * mean[chosen].max() + 1e-30))

    def misfit(at: Values) -> float:
        shift, width = at
        if abs(shift) > FARTHEST or not NARROWEST <= width <= WIDEST:
            return 1e30
        columns = [f.template(energies, shift, width)[chosen] for f in families]
        matrix = np.array([*columns, background[chosen]]).T * weights[:, None]
        return float(optimize.nnls(matrix, mean[chosen] * weights)[1])

    start = np.array([[0.0, 1.0], [0.01, 1.0], [0.0, 1.1]])
    best = optimize.minimize(
        misfit, start[0], method="Nelder-Mead", options={"initial_simplex": start, "maxfev": 80}
    )
    return float(best.x[0]), float(best.x[1])


def _solved(
    counts: NDArray[Any], lines: Values, background: Values, mean: Values
) -> tuple[Values, Values]:
    """Amounts of each template in each pixel, (angle, y, x, template), and their mean variances."""
    variance = np.maximum(mean, 1e-3 * mean.max() + 1e-30)
    seen = np.array([*lines, background]) if background.any() else lines
    first = _estimator(seen, variance)
    beneath = np.zeros(counts.shape[:-1])
    if len(seen) > len(lines):
        # a background is smooth over the image; per pixel its noise would go into the lines
        own = counts @ first[-1]
        beneath = ndimage.uniform_filter(own, (0, SMOOTHED, SMOOTHED), mode="nearest")
    estimator = _estimator(lines, variance)
    amounts = counts @ estimator.T - beneath[..., None] * (estimator @ background)
    return amounts, estimator**2 @ mean


def _estimator(templates: Values, variance: Values) -> Values:
    """Weighted least squares as a matrix, (template, energy)."""
    weighted = templates / variance
    gram = weighted @ templates.T
    scale = 1.0 / np.sqrt(np.diag(gram))
    if np.linalg.cond(gram * np.outer(scale, scale)) > 1e8:
        raise BadInput(
            "lines that cannot be told apart", key="--elements", accepted="one element of a pair"
        )
    return np.asarray(np.linalg.solve(gram, weighted), np.float64)
