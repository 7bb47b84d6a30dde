"""Scores of a reconstruction against the truth.

Volumes are ``(z, y, x)``, sets of them ``(element, z, y, x)``. Sums are taken in float64. Totals,
haze and level are what NRMSE does not see: one number per element, NaN where the truth holds
nothing to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, needed

Mask = NDArray[np.bool_]
Array = NDArray[np.float32]

SSIM_WINDOW = 11
"""Voxels per edge of the Gaussian window of :func:`ssim`, sigma 1.5 voxels."""
HAZE_DISTANCE = 2  # voxels from the element's own matter: what lies farther is no blurred edge


def correlation(volume: Array, truth: Array) -> float:
    """Compute Pearson's correlation of the voxels of two volumes.

    Parameters
    ----------
    volume : reconstructed concentrations, (z, y, x), any unit.
    truth : true concentrations, same shape.

    Returns
    -------
    float : -1 to 1; 0 if either volume is constant, NaN if either holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    >>> round(correlation(3 * truth + 1, truth), 6)
    1.0
    >>> correlation(np.ones_like(truth), truth)
    0.0
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
    """Compute the RMS difference of two z-scored volumes, sqrt(2 (1 - rho)).

    With rho the :func:`correlation`: blind to scale and offset, unlike :func:`relative_error`
    (Schwartz et al., Nat. Commun. 15, 3555 (2024), Methods).

    Parameters
    ----------
    volume : reconstructed concentrations, (z, y, x), any unit.
    truth : true concentrations, same shape.

    Returns
    -------
    float : 0 for volumes equal up to scale and offset, sqrt(2) for uncorrelated ones, at most 2. A
        constant volume has no z-score and counts as uncorrelated; NaN or infinity scores NaN.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    >>> round(nrmse(3 * truth + 1, truth), 6)
    0.0
    >>> round(nrmse(np.ones_like(truth), truth), 6)
    1.414214
    >>> round(nrmse(-truth, truth), 6)
    2.0
    """
    # rounding can leave rho a little above 1
    rho = correlation(volume, truth)
    return float(np.sqrt(max(0.0, 2.0 * (1.0 - rho)))) if np.isfinite(rho) else float("nan")


def nrmse_by_element(volumes: Array, truth: Array) -> tuple[float, ...]:
    """Compute :func:`nrmse` of each element.

    Parameters
    ----------
    volumes : reconstructed concentrations, (element, z, y, x).
    truth : true concentrations, same shape.

    Returns
    -------
    tuple of float : one score per element, in the order of the first axis.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2)
    >>> [round(score, 6) for score in nrmse_by_element(truth, truth)]
    [0.0, 0.0]
    """
    return tuple(nrmse(v, t) for v, t in zip(volumes, truth, strict=True))


def relative_error(volume: Array, truth: Array) -> float:
    """Compute ||volume - truth|| / ||truth||, which sees a wrong scale or offset.

    Parameters
    ----------
    volume : reconstructed concentrations, any shape, in the unit of ``truth``.
    truth : true concentrations, same shape.

    Returns
    -------
    float : 0 for equality, 1 for an empty volume; NaN if the truth is zero everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.ones((2, 2, 2), np.float32)
    >>> relative_error(1.5 * truth, truth)
    0.5
    """
    t = truth.astype(np.float64)
    norm = float(np.linalg.norm(t))
    return float(np.linalg.norm(volume.astype(np.float64) - t) / norm) if norm > 0 else float("nan")


def ssim(volume: Array, truth: Array) -> float:
    """Compute the structural similarity of two volumes, averaged over the voxels.

    Gaussian window of sigma 1.5 voxels, dynamic range that of the truth (Wang et al., IEEE Trans.
    Image Process. 13, 600 (2004), as implemented by scikit-image). It sees scale and offset.

    Parameters
    ----------
    volume : reconstructed concentrations, (z, y, x), in the unit of ``truth``.
    truth : true concentrations, same shape, :data:`SSIM_WINDOW` voxels or more per edge.

    Returns
    -------
    float : 1 for equality, about 0 for unrelated volumes; NaN if a volume is not finite or the
        truth is constant.

    Raises
    ------
    BadInput : scikit-image (extra ``metrics``) is not installed, or an edge is shorter than the
        window.
    """
    with needed("scikit-image", "metrics", "SSIM"):
        from skimage.metrics import structural_similarity
    if min(truth.shape) < SSIM_WINDOW:
        raise BadInput(
            "too small for SSIM", value=truth.shape, accepted=f">= {SSIM_WINDOW} voxels per edge"
        )
    span = float(np.ptp(truth))
    # scikit-image would warn about these and return NaN or a number without meaning
    if not (np.isfinite(volume).all() and np.isfinite(truth).all() and span > 0):
        return float("nan")
    a, b = volume.astype(np.float64), truth.astype(np.float64)
    found = structural_similarity(  # type: ignore[no-untyped-call]
        a, b, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(found)


@dataclass(frozen=True)
class Stoichiometry:
    """Distribution of the cation fraction c / (c + c_O) over the voxels of one oxide phase.

    Parameters
    ----------
    element : chemical symbol of the cation.
    mean : mean fraction, 0 to 1; 0.5 for a stoichiometric oxide MO.
    sigma : standard deviation of the fraction over the voxels.
    voxels : number of voxels in the phase.
    """

    element: str
    mean: float
    sigma: float
    voxels: int


def stoichiometry(
    volumes: Array, truth: Array, elements: tuple[str, ...], depth: int = 0
) -> list[Stoichiometry]:
    """Compute the cation fraction of every oxide over the voxels of its true phase.

    The phase of a cation is where the truth holds more than half of the cation's largest
    concentration, more than a tenth of oxygen's, and less than a tenth of any other cation's
    (Schwartz et al., Nat. Commun. 15, 3555 (2024), Supp. Fig. 11).

    Parameters
    ----------
    volumes : reconstructed concentrations, (element, z, y, x).
    truth : true concentrations, same shape; it defines the phases.
    elements : chemical symbols, in the order of the first axis.
    depth : voxels by which each phase is eroded first; 1 leaves out its boundary.

    Returns
    -------
    list of Stoichiometry : one per cation that has a phase; empty without oxygen. Elements that
        form no oxide, such as Au, are left out.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.zeros((2, 1, 1, 4), np.float32)
    >>> truth[:, ..., :2] = 0.5
    >>> stoichiometry(truth, truth, ("Co", "O"))
    [Stoichiometry(element='Co', mean=0.5, sigma=0.0, voxels=2)]
    """
    fractions = cation_fractions(volumes, truth, elements, depth)
    return [
        Stoichiometry(element, float(values.mean()), float(values.std()), values.size)
        for element, values in fractions.items()
        if values.size
    ]


def cation_fractions(
    volumes: Array, truth: Array, elements: tuple[str, ...], depth: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Collect the cation fractions whose moments :func:`stoichiometry` returns.

    Parameters
    ----------
    volumes : reconstructed concentrations, (element, z, y, x).
    truth : true concentrations, same shape; it defines the phases.
    elements : chemical symbols, in the order of the first axis.
    depth : voxels by which each phase is eroded first.

    Returns
    -------
    dict : cation to fractions, (voxel,), float64, over the voxels of its true phase in which the
        volumes hold any cation or oxygen.
    """
    if "O" not in elements:
        return {}
    oxygen = elements.index("O")
    found = {}
    for i, element in enumerate(elements):
        phase = _phase(truth, i, oxygen)
        phase = eroded(phase, depth)
        if i == oxygen or not phase.any():
            continue
        cation = volumes[i][phase].astype(np.float64)
        total = cation + volumes[oxygen][phase]
        # an empty voxel has no fraction
        found[element] = cation[total > 0] / total[total > 0]
    return found


def _phase(truth: Array, cation: int, oxygen: int) -> NDArray[np.bool_]:
    """Mask (z, y, x) of the oxide of one cation; the integers index the first axis of ``truth``."""
    others = [j for j in range(len(truth)) if j not in (cation, oxygen)]
    phase: NDArray[np.bool_] = truth[cation] > 0.5 * truth[cation].max()
    phase &= truth[oxygen] > 0.1 * truth[oxygen].max()
    for j in others:
        phase &= truth[j] < 0.1 * max(float(truth[j].max()), 1e-30)
    return phase


def totals(volumes: Array, truth: Array) -> tuple[float, ...]:
    """Compute the reconstructed amount of each element over the true one.

    Parameters
    ----------
    volumes : reconstructed concentrations, (element, z, y, x), in the unit of ``truth``.
    truth : true concentrations, same shape.

    Returns
    -------
    tuple of float : 1 for the right amount, whatever its distribution.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.ones((1, 2, 2, 2), np.float32)
    >>> totals(1.5 * truth, truth)
    (1.5,)
    """
    return tuple(_ratio(_sum(v), _sum(t)) for v, t in zip(volumes, truth, strict=True))


def haze(volumes: Array, truth: Array) -> tuple[float, ...]:
    """Compute the fraction of each element that lies away from its particles.

    Away is more than :data:`HAZE_DISTANCE` steps between voxels that share a face.

    Parameters
    ----------
    volumes : reconstructed concentrations, (element, z, y, x), any unit.
    truth : true concentrations, same shape.

    Returns
    -------
    tuple of float : 0 for an element that is only where it should be, at most 1; NaN for an empty
        volume.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.zeros((1, 1, 1, 8), np.float32)
    >>> truth[..., 0] = 1
    >>> haze(np.ones_like(truth), truth)
    (0.625,)
    """
    return tuple(_away(v, t) for v, t in zip(volumes, truth, strict=True))


def level(volumes: Array, truth: Array) -> tuple[float, ...]:
    """Compute the mean inside the particles of each element over the true one.

    Inside is where the truth exceeds half its maximum, less one voxel at the surface.

    Parameters
    ----------
    volumes : reconstructed concentrations, (element, z, y, x), in the unit of ``truth``.
    truth : true concentrations, same shape.

    Returns
    -------
    tuple of float : 1 for the right level; NaN where no particle is three voxels thick.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.zeros((1, 5, 5, 5), np.float32)
    >>> truth[:, 1:4, 1:4, 1:4] = 1
    >>> round(level(np.float32(0.8) * truth, truth)[0], 6)
    0.8
    """
    return tuple(_inside(v, t) for v, t in zip(volumes, truth, strict=True))


def _away(volume: Array, truth: Array) -> float:
    near = grown(truth > 0, HAZE_DISTANCE)
    return _ratio(_sum(volume[~near]), _sum(volume))


def _inside(volume: Array, truth: Array) -> float:
    core = eroded(truth > 0.5 * truth.max(), 1)
    return _ratio(_sum(volume[core]), _sum(truth[core]))


def grown(mask: Mask, steps: int) -> Mask:
    """Add the voxels that are at most a number of steps through shared faces away.

    In a tenth of the time that scipy.ndimage takes, as every trial of a study is scored so.

    Parameters
    ----------
    mask : boolean, any shape; not changed.
    steps : number of steps.

    Examples
    --------
    >>> import numpy as np
    >>> grown(np.array([False, True, False, False]), 1)
    array([ True,  True,  True, False])
    """
    for _ in range(steps):
        larger = mask.copy()
        for axis in range(mask.ndim):
            to, of = np.moveaxis(larger, axis, 0), np.moveaxis(mask, axis, 0)
            to[1:] |= of[:-1]
            to[:-1] |= of[1:]
        mask = larger
    return mask


def eroded(mask: Mask, steps: int) -> Mask:
    """Leave out the voxels that are at most a number of steps from outside, or from the border.

    Parameters
    ----------
    mask : boolean, any shape; not changed.
    steps : number of steps.

    Examples
    --------
    >>> import numpy as np
    >>> eroded(np.array([True, True, True, False, True]), 1)
    array([False,  True, False, False, False])
    """
    outside = grown(~np.pad(mask, 1), steps)
    inner: Mask = ~outside[(slice(1, -1),) * mask.ndim]
    return inner


def _sum(values: Array) -> float:
    return float(values.sum(dtype=np.float64))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
