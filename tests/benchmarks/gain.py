"""What HAADF in detector units instead of counts changes: counts and background times a gain.

A gain changes neither the signal nor its noise relative to it, so nothing should change. With
``solver.noise = "counts"`` the solver takes the mean for the noise variance: after a gain g the
variance is g^2 times as large but the mean only g times, and the HAADF weight acts as g times
itself. With ``residual`` the variance is found in the data. Nanocubes at 47 HAADF and 9 chemical
tilts, the paper's SNRs, data from a grid twice as fine, with the HAADF scale known and fitted. The
last column divides the weight by the gain, which undoes it for counts. Run:

    python tests/benchmarks/gain.py [SIZE [HAADF TV [counts|residual]]]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from common import condition, score, table

from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.methods import DEFAULT_WEIGHTS, Method, Weights
from tomoatlas.recon_core.metrics import nrmse_by_element
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import NoiseName, SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.tiltseries import TiltSeries

Array = np.ndarray
GAINS = (1.0, 0.25, 7.0, 20.0)  # the first is what the others are compared with


def amplified(series: TiltSeries, gain: float, known: bool) -> TiltSeries:
    """The series with HAADF in other units; without its scale unless that is known."""
    scale = gain * series.haadf_scale if known else None
    return replace(
        series,
        haadf=series.haadf * np.float32(gain),
        haadf_background=gain * series.haadf_background,
        haadf_scale=scale,
    )


def main(size: int, weights: Weights, noise: NoiseName = "counts") -> None:
    """Print one row for each gain, scale known and fitted."""
    truth, series = condition(size, 47, 9, oversample=2)
    print(f"{size}³, haadf {weights.haadf}, tv {weights.tv}, noise {noise}")
    header = (
        "HAADF scale",
        "gain",
        "status",
        "iterations",
        "NRMSE",
        "by element",
        "volumes differ",
    )
    table((*header, "with haadf / gain"), rows(truth, series, weights, noise))


def rows(
    truth: Specimen, series: TiltSeries, weights: Weights, noise: NoiseName
) -> Iterator[tuple[object, ...]]:
    """The rows of the table."""
    settings = SolverSettings(noise=noise)
    for known in (True, False):
        before: Array | None = None
        for gain in GAINS:
            given = amplified(series, gain, known)
            found = reconstruct(given, Method.FUSED, weights, settings)
            undone = reconstruct(
                given, Method.FUSED, replace(weights, haadf=weights.haadf / gain), settings
            )
            before = found.volumes if before is None else before
            yield "known" if known else "fitted", f"{gain:g}", *_cells(found, truth, before, undone)


def _cells(
    found: Reconstruction, truth: Specimen, before: Array, undone: Reconstruction
) -> tuple[str, ...]:
    scores = nrmse_by_element(found.volumes, truth.volumes)
    return (
        str(found.status),
        f"{found.iterations:.0f}",
        f"{score(found.volumes, truth):.3f}",
        ", ".join(f"{value:.2f}" for value in scores),
        f"{difference(found.volumes, before):.1%}",
        f"{score(undone.volumes, truth):.3f}, {difference(undone.volumes, before):.1%}",
    )


def difference(volumes: Array, before: Array) -> float:
    """Relative root mean square difference of two sets of volumes."""
    return float(np.linalg.norm(volumes - before) / np.linalg.norm(before))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(given[0]) if given else 48,
        Weights(*map(float, given[1:3])) if given[1:] else DEFAULT_WEIGHTS,
        *given[3:4],
    )
