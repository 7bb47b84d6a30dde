"""Resolution over dose: what more electrons would resolve (Supp. 6 and 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ...recon_core.errors import BadInput
from ...recon_core.methods import Method, Weights
from ...recon_core.metrics import nrmse_by_element
from ...recon_core.metrics.resolution import AGAINST_TRUTH, shell_correlation
from ...sweep.study import Study
from ...sweep.study.trial import Cell
from ..rerun import Array
from ..style import condition_title
from ..volumes import NOT_KEPT, SolvedVolumes
from . import CELL, Entry
from .pictures import element_colours
from .source import Source

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Doses over that of the condition."""


@dataclass(frozen=True)
class Exposure:
    """What one dose reaches.

    Parameters
    ----------
    factor : the dose over that of the condition.
    resolution_nm : of each element, against the truth; infinite where nothing is resolved.
    nrmse : of each element.
    """

    factor: float
    resolution_nm: tuple[float, ...]
    nrmse: tuple[float, ...]


def exposed(
    study: Study, weights: Weights, factor: float, volumes: SolvedVolumes = NOT_KEPT
) -> Exposure:
    """Simulate a condition at another dose, and reconstruct it by the fused method.

    Weights follow the dose as best weights do: TV with its square root, as the likelihood grows
    with the counts, and HAADF with its inverse, as the error of its model does not shrink. Weights
    in units of the noise follow it by themselves.

    Parameters
    ----------
    study : of one condition, without axes.
    weights : that are good at a factor of 1.
    factor : the dose over that of the study, in both modalities.
    volumes : solves it, or has it.
    """
    planned, solver = study.acquisition, study.solver
    at = study.model_copy(update={"acquisition": planned.model_copy(update=_dosed(study, factor))})
    haadf = weights.haadf if solver.noise == "residual" else weights.haadf / factor
    tv = weights.tv if solver.units == "noise" else weights.tv * np.sqrt(factor)
    trial = at.trial(Cell(0), Method.FUSED, 0, replace(weights, haadf=haadf, tv=tv))
    found = volumes.of(at, trial)
    return _reached(factor, found.solved.volumes, found.truth.volumes, found.truth.voxel_size_nm)


def _reached(factor: float, volumes: Array, truth: Array, voxel_nm: float) -> Exposure:
    pairs = zip(volumes, truth, strict=True)
    found = [shell_correlation(mine, true, voxel_nm) for mine, true in pairs]
    return Exposure(
        factor,
        tuple(each.resolution_nm(AGAINST_TRUTH) for each in found),
        tuple(float(score) for score in nrmse_by_element(volumes, truth)),
    )


def _dosed(study: Study, factor: float) -> dict[str, Any]:
    """Keys of the acquisition at another dose: that itself, or the SNRs, 1 + mean counts."""
    planned = study.acquisition
    if planned.dose_e_per_A2 is not None:
        return {"dose_e_per_A2": planned.dose_e_per_A2 * factor}
    if planned.dwell_us is not None:
        raise BadInput("a dwell time", key="acquisition.dwell_us", accepted="a dose, or SNRs")

    def scaled(snr: float) -> float:
        return 1.0 + (snr - 1.0) * factor

    chemical = planned.chemical_snr
    if isinstance(chemical, dict):
        found: Any = {e: scaled(s) for e, s in chemical.items()}
    else:
        found = scaled(chemical)
    return {"haadf_snr": scaled(planned.haadf_snr), "chemical_snr": found}


def dose_figure(
    found: Sequence[Exposure], elements: tuple[str, ...], finest_nm: float, title: str = ""
) -> Figure:
    """Resolution and NRMSE of each element over the dose.

    Parameters
    ----------
    found : by dose.
    elements : chemical symbols.
    finest_nm : the finest that voxels can show, two of them.
    title : the condition.
    """
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours, factors = element_colours(elements), [each.factor for each in found]
    for i, element in enumerate(elements):
        resolved = np.array([each.resolution_nm[i] for each in found])
        # What is not resolved at all has no place on the axis: the line ends there.
        shown = np.where(np.isfinite(resolved), resolved, np.nan)
        left.plot(factors, shown, "o-", color=colours[element], label=element)
        right.plot(factors, [each.nrmse[i] for each in found], "o-", color=colours[element])
    finest = "two voxels: the finest"
    left.axhline(finest_nm, color="0.6", linewidth=0.8, linestyle=":", label=finest)
    left.set_ylabel(f"resolution / nm: correlation {AGAINST_TRUTH:g} with the truth")
    right.set_ylabel("NRMSE")
    left.legend(frameon=False, fontsize=8)
    for ax in (left, right):
        _dose_axis(ax, factors)
    heading = "Resolution over dose, fused; weights follow the dose"
    figure.suptitle("\n".join(filter(None, (heading, title))))
    return figure


def _dose_axis(ax: Axes, factors: Sequence[float]) -> None:
    ax.set(xscale="log", xlabel="dose over that of the condition (logarithmic)")
    ax.set_xticks(factors, [f"{factor:g}" for factor in factors])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(bottom=0.0)
    ax.spines[["top", "right"]].set_visible(False)


def _dose(source: Source) -> Figure:
    weights = source.weights
    at, slices = source.study.at(source.cell), source.fused.slices
    own = slices.volumes[Method.FUSED], slices.truth, slices.voxel_size_nm

    def solve(factor: float) -> Exposure:
        # At the condition's own dose it has just been solved.
        if factor == 1.0:
            return _reached(factor, *own)
        return exposed(at, weights, factor, source.volumes)

    found = source.each(solve, FACTORS)
    title = condition_title(dict(source.cell.values))
    return dose_figure(found, slices.elements, 2.0 * slices.voxel_size_nm, title)


DOSE_FIGURE = Entry("Supp. 6, 7: resolution over dose (5 solves)", CELL, _dose)
