"""What an assessment knows of a reconstruction, and what of it speaks against trusting it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..recon_core.checks import Finding
from ..recon_core.inspection import LEAVE_OUT
from ..recon_core.methods import Method, Weights
from ..recon_core.metrics.misfit import Misfit
from ..recon_core.metrics.resolution import ShellCorrelation
from .weights import UNSURE

Array = NDArray[np.float32]
Values = NDArray[np.float64]

LOSES = 2.0  # standard errors by which chemistry + TV predicts held-out counts better
UNEXPLAINED = 0.2  # HAADF residual beyond noise over the signal, root mean squares
MOVED, BEYOND = 0.04, 3.0  # pixels by which HAADF lies off its model, root mean square; × noise's
# misfit of a tilt over the median of all, and above it in units of their spread: in 40 sound series
# at most 1.5 and 9 of maps, 6 and 15 of HAADF
ODD_MAP, ODD_IMAGE = (1.15, 10.0), (8.0, 20.0)
SCATTER = 2.0  # misfit of the element that fits best; 0.95 to 1.1 of sound series, SNR 6 and 30
TO_SIGMA, FEWEST = 1.4826, 5  # median absolute deviation to standard deviation; tilts to tell it by
OFF = 0.2  # totals of the volumes over those of the counts


@dataclass(frozen=True)
class ElementTrust:
    """What is known of the reconstruction of one element.

    Parameters
    ----------
    element : chemical symbol.
    misfit : Poisson deviance over its expectation.
    gain : held-out deviance of chemistry + TV over that of fused, less 1; below 0 fusion loses.
    gain_error : its standard error.
    resolution_nm : half-data resolution, ``all`` and by direction.
    nrmse : to expect, from self-simulation.
    counts, counts_error : above background in a tilt, the mean over tilts.
    total : counts that the volume predicts over those measured.
    fraction, fraction_error : of the atoms; None where scales are not known.
    """

    element: str
    misfit: float
    gain: float
    gain_error: float
    resolution_nm: Mapping[str, float]
    nrmse: float
    counts: float
    counts_error: float
    total: float
    fraction: float | None = None
    fraction_error: float | None = None


@dataclass(frozen=True)
class Assessment:
    """How far a reconstruction can be trusted.

    Parameters
    ----------
    method, weights : that it was made with.
    misfit : of every signal, by tilt.
    elements : what is known of each.
    gain, gain_error : as of an element, of all held-out counts.
    moves : (y, x) by which each HAADF image lies off its model, pixels, (angle, 2).
    still : root mean square of the moves that noise alone gives, pixels.
    unexplained : HAADF residual beyond its noise over the signal.
    findings : doubts, worst first.
    halves : shell correlation of the half-data reconstructions, by element and ``all``, z, y, x.
    uncertainty : standard error of each voxel by self-simulation over the level of its element,
        (element, z, y, x); NaN outside.
    """

    method: Method
    weights: Weights
    misfit: Misfit
    elements: tuple[ElementTrust, ...]
    gain: float
    gain_error: float
    moves: Values
    still: float
    unexplained: float
    findings: tuple[Finding, ...]
    halves: Mapping[str, Mapping[str, ShellCorrelation]] = field(default_factory=dict)
    uncertainty: Array = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.float32))

    @property
    def nrmse(self) -> float:
        """Mean over the elements that is to be expected."""
        return float(np.mean([each.nrmse for each in self.elements]))

    @property
    def interval(self) -> tuple[float, float]:
        """Within it the NRMSE lies in nine of ten cases, if the model holds."""
        wide = 1.645 * UNSURE
        return self.nrmse * (1 - wide), self.nrmse * (1 + wide)

    def as_dict(self) -> dict[str, Any]:
        """Return all but volumes and curves, for JSON; infinite resolutions become None."""
        return {
            "method": str(self.method),
            "weights": {n: getattr(self.weights, n) for n in self.method.weight_names},
            "trusted": not self.findings,
            "findings": [{"kind": f.kind, "words": str(f)} for f in self.findings],
            "misfit": {c.name: c.overall for c in self.misfit.channels},
            "misfit_by_tilt": {
                c.name: dict(zip(map(str, c.angles_deg), c.by_tilt, strict=True))
                for c in self.misfit.channels
            },
            "held_out_gain": self.gain,
            "held_out_gain_error": self.gain_error,
            "haadf_unexplained": self.unexplained,
            "haadf_moves_px": rms(self.moves),
            "nrmse": self.nrmse,
            "nrmse_interval": list(self.interval),
            "elements": {e.element: _plain(e) for e in self.elements},
        }


def _plain(trust: ElementTrust) -> dict[str, Any]:
    found = {name: value for name, value in vars(trust).items() if name != "element"}
    sharp = {k: v if math.isfinite(v) else None for k, v in trust.resolution_nm.items()}
    return found | {"resolution_nm": sharp}


def rms(moves: Values) -> float:
    """Root mean square of moves, pixels; 0 of none.

    Parameters
    ----------
    moves : (angle, (y, x)), pixels.
    """
    return float(np.sqrt((moves**2).mean())) if moves.size else 0.0


def doubts(found: Assessment) -> Iterator[Finding]:
    """Say what speaks against the reconstruction.

    Parameters
    ----------
    found : all that was measured.
    """
    if found.method is Method.FUSED:
        yield from _of_fusion(found)
    yield from _odd_tilts(found)
    best = min(each.overall for each in found.misfit.elements)
    if best > SCATTER:
        yield Finding(
            "maps-misfit",
            "chemical/projections",
            best,
            f"no element fits better than {best:.2g} times the noise of counts: are the maps "
            "counts, or the weights too strong? The NRMSE to expect is too small then",
        )
    wrong = [e for e in found.elements if not abs(e.total - 1) <= OFF]
    if wrong:
        named = ", ".join(f"{e.element} {e.total:.2f}" for e in wrong)
        words = f"volumes hold another amount than the counts add up to: {named}"
        yield Finding("totals", "volumes", wrong[0].total, words)


def _odd_tilts(found: Assessment) -> Iterator[Finding]:
    """Single tilts that fit far worse than the others: of another angle, place or magnification."""
    of_maps = found.misfit.elements
    maps = np.mean([channel.by_tilt for channel in of_maps], axis=0)
    signals = [("maps", of_maps[0].angles_deg, maps, ODD_MAP)]
    if found.misfit.haadf is not None:
        haadf = found.misfit.haadf
        signals.append(("HAADF", haadf.angles_deg, np.asarray(haadf.by_tilt), ODD_IMAGE))
    for name, angles, misfit, (factor, spreads) in signals:
        usual = float(np.median(misfit))
        spread = TO_SIGMA * float(np.median(np.abs(misfit - usual)))
        odd = np.flatnonzero((misfit > factor * usual) & (misfit > usual + spreads * spread))
        if odd.size and len(misfit) >= FEWEST:
            named = ", ".join(f"{angles[i]:.4g}° ({misfit[i]:.2g})" for i in odd)
            yield Finding(
                "odd-tilt",
                "haadf/projections" if name == "HAADF" else "chemical/projections",
                float(angles[odd[0]]),
                f"{name} fit far worse at {named} than elsewhere ({usual:.2g} times the noise): is "
                f"the angle right, and the place? {LEAVE_OUT} {name}:{angles[odd[0]]:.4g}",
            )


def _of_fusion(found: Assessment) -> Iterator[Finding]:
    """What speaks against having fused HAADF with the maps."""
    lost = [e.element for e in found.elements if e.gain < -LOSES * e.gain_error]
    if found.gain < -LOSES * found.gain_error or lost:
        yield Finding(
            "fusion",
            "volumes",
            found.gain,
            f"do not trust fusion here: chemistry + TV predicts held-out counts better, of "
            f"{', '.join(lost) or 'all elements together'} (in all {-found.gain:+.2%} ± "
            f"{found.gain_error:.2%}). HAADF and maps disagree: align them, look for an element "
            "that is missing, or use --method chemistry-tv",
        )
    moved = rms(found.moves)
    if moved > max(MOVED, BEYOND * found.still):
        yield Finding(
            "alignment",
            "haadf/projections",
            moved,
            f"HAADF images lie {moved:.2f} pixels off their model: tomoatlas align",
        )
    if found.unexplained > UNEXPLAINED:
        yield Finding(
            "haadf-model",
            "haadf/projections",
            found.unexplained,
            f"{found.unexplained:.0%} of HAADF is unexplained by the elements: is one missing, is "
            "the field too small, or a film in the beam?",
        )
