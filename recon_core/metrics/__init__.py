"""Scores of a reconstruction against the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, needed

Array = NDArray[np.float32]

SSIM_WINDOW = 11
"""Voxels per edge of the Gaussian window of :func:`ssim`, sigma 1.5 voxels."""


def correlation(volume: Array, truth: Array) -> float:
    """Pearson's correlation of the voxels of two volumes, -1 to 1.

    A constant volume counts as uncorrelated; a volume with NaN or infinity gives NaN.
    """
    if not (np.isfinite(volume).all() and np.isfinite(truth).all()):
        return float("nan")
    a = volume.astype(np.float64).ravel()
    b = truth.astype(np.float64).ravel()
    a -= a.mean()
    b -= b.mean()
    norms = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norms if norms > 0 else 0.0


def nrmse(volume: Array, truth: Array) -> float:
    """RMS difference of the two z-scored volumes, sqrt(2 (1 - rho)), rho the :func:`correlation`.

    0 is equality up to scale and offset, sqrt(2) nothing in common. A constant volume has no
    z-score and counts as uncorrelated; a volume with NaN or infinity scores NaN.
    (Schwartz et al., Nat. Commun. 15, 3555, 2024.)
    """
    rho = correlation(volume, truth)
    return float(np.sqrt(max(0.0, 2.0 * (1.0 - rho)))) if np.isfinite(rho) else float("nan")


def nrmse_by_element(volumes: Array, truth: Array) -> tuple[float, ...]:
    """:func:`nrmse` of each element; both arrays (element, z, y, x)."""
    return tuple(nrmse(v, t) for v, t in zip(volumes, truth, strict=True))


def relative_error(volume: Array, truth: Array) -> float:
    """||volume - truth|| / ||truth||: unlike :func:`nrmse` it sees a wrong scale or offset."""
    t = truth.astype(np.float64)
    norm = float(np.linalg.norm(t))
    return float(np.linalg.norm(volume.astype(np.float64) - t) / norm) if norm > 0 else float("nan")


def ssim(volume: Array, truth: Array) -> float:
    """Structural similarity of two volumes (z, y, x), mean over the voxels; 1 is equality.

    Gaussian window, sigma 1.5 voxels, dynamic range that of the truth (Wang et al., IEEE Trans.
    Image Process. 13, 600, 2004; scikit-image, the extra ``metrics``). It sees scale and offset.
    NaN where a volume is not finite or the truth is constant.

    Raises
    ------
    BadInput : scikit-image is not installed, an edge shorter than the window.
    """
    with needed("scikit-image", "metrics", "SSIM"):
        from skimage.metrics import structural_similarity
    if min(truth.shape) < SSIM_WINDOW:
        raise BadInput(
            "too small for SSIM", value=truth.shape, accepted=f">= {SSIM_WINDOW} voxels per edge"
        )
    span = float(np.ptp(truth))
    if not (np.isfinite(volume).all() and np.isfinite(truth).all() and span > 0):
        return float("nan")
    a, b = volume.astype(np.float64), truth.astype(np.float64)
    found = structural_similarity(  # type: ignore[no-untyped-call]
        a, b, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(found)


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
    fractions = cation_fractions(volumes, truth, elements)
    return [
        Stoichiometry(element, float(values.mean()), float(values.std()), values.size)
        for element, values in fractions.items()
        if values.size
    ]


def cation_fractions(
    volumes: Array, truth: Array, elements: tuple[str, ...]
) -> dict[str, NDArray[np.float64]]:
    """The fractions whose moments :func:`stoichiometry` gives: one array per oxide's cation.

    One value per voxel of the true phase in which the volumes hold cation or oxygen.
    """
    if "O" not in elements:
        return {}
    oxygen = elements.index("O")
    found = {}
    for i, element in enumerate(elements):
        phase = _phase(truth, i, oxygen)
        if i == oxygen or not phase.any():
            continue
        cation = volumes[i][phase].astype(np.float64)
        total = cation + volumes[oxygen][phase]
        found[element] = cation[total > 0] / total[total > 0]
    return found


def _phase(truth: Array, cation: int, oxygen: int) -> NDArray[np.bool_]:
    others = [j for j in range(len(truth)) if j not in (cation, oxygen)]
    phase: NDArray[np.bool_] = truth[cation] > 0.5 * truth[cation].max()
    phase &= truth[oxygen] > 0.1 * truth[oxygen].max()
    for j in others:
        phase &= truth[j] < 0.1 * max(float(truth[j].max()), 1e-30)
    return phase
