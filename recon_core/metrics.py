"""Scores of a reconstruction against the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def nrmse(volume: Array, truth: Array) -> float:
    """RMS difference of the two z-scored volumes, sqrt(2 (1 - rho)), rho Pearson's correlation.

    0 is equality up to scale and offset, sqrt(2) nothing in common. A constant volume has no
    z-score and counts as uncorrelated; a volume with NaN or infinity scores NaN.
    (Schwartz et al., Nat. Commun. 15, 3555, 2024.)
    """
    if not (np.isfinite(volume).all() and np.isfinite(truth).all()):
        return float("nan")
    a = volume.astype(np.float64).ravel()
    b = truth.astype(np.float64).ravel()
    a -= a.mean()
    b -= b.mean()
    norms = float(np.sqrt((a @ a) * (b @ b)))
    rho = float(a @ b) / norms if norms > 0 else 0.0
    return float(np.sqrt(max(0.0, 2.0 * (1.0 - rho))))


def nrmse_by_element(volumes: Array, truth: Array) -> tuple[float, ...]:
    """:func:`nrmse` of each element; both arrays (element, z, y, x)."""
    return tuple(nrmse(v, t) for v, t in zip(volumes, truth, strict=True))


def relative_error(volume: Array, truth: Array) -> float:
    """||volume - truth|| / ||truth||: unlike :func:`nrmse` it sees a wrong scale or offset."""
    t = truth.astype(np.float64)
    norm = float(np.linalg.norm(t))
    return float(np.linalg.norm(volume.astype(np.float64) - t) / norm) if norm > 0 else float("nan")


@dataclass(frozen=True)
class Stoichiometry:
    """Distribution of the cation fraction c / (c + c_O) over the voxels of an oxide phase."""

    element: str
    mean: float
    sigma: float
    voxels: int


def stoichiometry(volumes: Array, truth: Array, elements: tuple[str, ...]) -> list[Stoichiometry]:
    """Cation fraction of every oxide of the specimen, over the true phase's voxels.

    The phase of a cation is where the truth holds more than half of its largest concentration of
    the cation, and oxygen, and less than a tenth of any other cation. Truth: 0.50 for MO oxides
    (Schwartz et al. 2024, Supp. 11). Elements without such a phase (Au) are left out.
    """
    if "O" not in elements:
        return []
    oxygen = elements.index("O")
    found = []
    for i, element in enumerate(elements):
        phase = _phase(truth, i, oxygen)
        if i == oxygen or not phase.any():
            continue
        cation = volumes[i][phase].astype(np.float64)
        total = cation + volumes[oxygen][phase]
        fraction = cation[total > 0] / total[total > 0]
        if fraction.size:
            found.append(
                Stoichiometry(element, float(fraction.mean()), float(fraction.std()), fraction.size)
            )
    return found


def _phase(truth: Array, cation: int, oxygen: int) -> NDArray[np.bool_]:
    others = [j for j in range(len(truth)) if j not in (cation, oxygen)]
    phase: NDArray[np.bool_] = truth[cation] > 0.5 * truth[cation].max()
    phase &= truth[oxygen] > 0.1 * truth[oxygen].max()
    for j in others:
        phase &= truth[j] < 0.1 * max(float(truth[j].max()), 1e-30)
    return phase
