"""Scores of a reconstruction against the truth, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..phantoms.formats import load_specimen, load_volumes
from ..phantoms.specimen import Specimen
from ..recon_core.errors import BadInput
from ..recon_core.metrics import (
    SSIM_WINDOW,
    correlation,
    haze,
    level,
    nrmse_by_element,
    relative_error,
    ssim,
    stoichiometry,
    totals,
)
from ..recon_core.metrics.resolution import AGAINST_TRUTH, shell_correlation
from ..recon_core.result import Reconstruction

Array = NDArray[np.float32]


def evaluate(
    reconstruction: Reconstruction | Array,
    specimen: Specimen,
    elements: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Scores of a reconstruction against the truth; elements are matched by name.

    Parameters
    ----------
    reconstruction : or its volumes, (element, z, y, x).
    specimen : the truth.
    elements : chemical symbols of volumes, in their order; those of the specimen if left out.

    Returns
    -------
    dict : ``nrmse`` of z-scored volumes (0 equal, 1.41 nothing in common), the mean of
        ``nrmse_by_element``; ``relative_error``, which sees a wrong scale; correlation, resolution
        by Fourier shell correlation in nm (None if nothing is resolved) and SSIM by element;
        ``stoichiometry`` of every oxide, and ``stoichiometry_inside``, one voxel from its boundary;
        by element ``totals`` (reconstructed amount over the true one), ``haze`` (its fraction away
        from the element's particles) and ``level`` (mean inside over the true one), None where the
        truth has nothing to compare with.

    Raises
    ------
    BadInput : other elements, or another shape than the specimen's.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> specimen = ta.make_specimen("nanocubes", size=8)
    >>> series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=9, chemical_tilts=5), seed=0)
    >>> quick = ta.SolverSettings(max_iterations=20)
    >>> scores = ta.evaluate(ta.reconstruct(series, settings=quick), specimen)
    >>> 0 < scores["nrmse"] < 1
    True
    >>> sorted(scores["nrmse_by_element"])
    ['Au', 'Co', 'Cu', 'O']
    """
    if isinstance(reconstruction, Reconstruction):
        elements = elements or reconstruction.elements
        reconstruction = reconstruction.volumes
    named = tuple(elements or specimen.elements)
    return _scores(_matched(reconstruction, named, specimen), specimen)


def evaluate_files(recon: str | Path, specimen: str | Path) -> dict[str, Any]:
    """Scores of a file of volumes against a specimen's file, as :func:`evaluate` gives them.

    Parameters
    ----------
    recon : HDF5 file of volumes.
    specimen : HDF5 file of the truth.

    Raises
    ------
    BadInput : unreadable files, other elements, or another shape.
    """
    volumes, elements, _ = load_volumes(recon)
    truth = load_specimen(specimen)
    volumes = _matched(volumes, elements, truth, recon)
    lies = displacement(volumes, truth.volumes)
    moved = np.stack([ndimage.shift(t, lies, order=1, prefilter=False) for t in truth.volumes])
    there = float(np.mean(nrmse_by_element(volumes, moved)))
    return _scores(volumes, truth) | {"displacement_voxels": list(lies), "nrmse_moved": there}


def displacement(volumes: Array, truth: Array) -> tuple[float, float, float]:
    """How far volumes lie from the truth, by the peak of their correlation, in voxels (z, y, x).

    Nothing in a tilt series says where a specimen lies: an alignment may place it elsewhere.

    Parameters
    ----------
    volumes, truth : (element, z, y, x).

    Examples
    --------
    >>> truth = np.zeros((1, 16, 16, 16), np.float32)
    >>> truth[:, 6:9, 6:9, 6:9] = 1
    >>> displacement(np.roll(truth, 2, axis=2), truth)
    (0.0, 2.0, 0.0)
    """
    size = truth.shape[1:]
    product = np.zeros((*size[:2], size[2] // 2 + 1), np.complex128)
    for found, true in zip(volumes, truth, strict=True):
        spread = float(found.std()) * float(true.std())
        if spread > 0:
            product += np.fft.rfftn(found) * np.conj(np.fft.rfftn(true)) / spread
    product[0, 0, 0] = 0
    agreement = np.fft.irfftn(product, size, axes=(0, 1, 2))
    z, y, x = (int(i) for i in np.unravel_index(int(np.argmax(agreement)), size))
    near = np.roll(agreement, (1 - z, 1 - y, 1 - x), axis=(0, 1, 2))[:3, :3, :3]
    return (
        _peak(near[:, 1, 1], z, size[0]),
        _peak(near[1, :, 1], y, size[1]),
        _peak(near[1, 1, :], x, size[2]),
    )


def _peak(near: NDArray[np.float64], place: int, size: int) -> float:
    """Where a parabola through three values about a place of a periodic axis is highest."""
    below, at, above = (float(value) for value in near)
    bent = below - 2 * at + above
    within = 0.5 * (below - above) / bent if bent < 0 else 0.0
    return round((place + size // 2) % size - size // 2 + within, 3) + 0.0


def _matched(
    volumes: Array, elements: tuple[str, ...], truth: Specimen, source: str | Path | None = None
) -> Array:
    """The volumes in the truth's order of elements."""
    if set(elements) != set(truth.elements):
        raise BadInput(
            "not the elements of the specimen",
            source=source,
            key="elements",
            value=", ".join(elements),
            accepted=", ".join(truth.elements),
        )
    if volumes.shape[1:] != truth.shape or len(volumes) != len(elements):
        raise BadInput(
            "not the shape of the specimen",
            source=source,
            key="volumes",
            value=volumes.shape[1:] if len(volumes) == len(elements) else volumes.shape,
            accepted=f"{truth.shape}",
        )
    # By name: other programs write elements in an order of their own, and every score would look
    # plausible.
    return volumes[[elements.index(element) for element in truth.elements]]


def _scores(volumes: Array, truth: Specimen) -> dict[str, Any]:
    by_element = nrmse_by_element(volumes, truth.volumes)
    # Scores are per element: concentrations of different elements have different scales.
    pairs = list(zip(volumes, truth.volumes, strict=True))
    errors = [relative_error(v, t) for v, t in pairs]
    return {
        "nrmse": float(np.mean(by_element)),
        "nrmse_by_element": dict(zip(truth.elements, by_element, strict=True)),
        "relative_error": float(np.mean(errors)),
        "relative_error_by_element": _named(truth, errors),
        "correlation_by_element": _named(truth, [correlation(v, t) for v, t in pairs]),
        "resolution_nm_by_element": _named(truth, [_resolution_nm(*p, truth) for p in pairs]),
        "ssim_by_element": _ssim(volumes, truth),
        "totals": _known(truth, totals(volumes, truth.volumes)),
        "haze": _known(truth, haze(volumes, truth.volumes)),
        "level": _known(truth, level(volumes, truth.volumes)),
        "stoichiometry": _stoichiometry(volumes, truth, 0),
        "stoichiometry_inside": _stoichiometry(volumes, truth, 1),
    }


def _known(truth: Specimen, values: Sequence[float]) -> dict[str, float | None]:
    """By element; None for NaN, which JSON does not have."""
    return _named(truth, [value if np.isfinite(value) else None for value in values])


def _stoichiometry(volumes: Array, truth: Specimen, depth: int) -> dict[str, dict[str, float]]:
    phases = stoichiometry(volumes, truth.volumes, truth.elements, depth)
    return {p.element: {"mean": p.mean, "sigma": p.sigma, "voxels": p.voxels} for p in phases}


def _named(truth: Specimen, values: Sequence[float | None]) -> dict[str, float | None]:
    return dict(zip(truth.elements, values, strict=True))


def _resolution_nm(volume: Array, true: Array, truth: Specimen) -> float | None:
    """Resolution by Fourier shell correlation with the truth; None if nothing is resolved."""
    found = shell_correlation(volume, true, truth.voxel_size_nm).resolution_nm(AGAINST_TRUTH)
    # JSON has no infinity; null means that nothing is resolved.
    return found if np.isfinite(found) else None


def _ssim(volumes: Array, truth: Specimen) -> dict[str, float | None]:
    """SSIM per element; empty without scikit-image and for volumes smaller than its window."""
    if find_spec("skimage") is None or min(truth.shape) < SSIM_WINDOW:
        return {}
    pairs = zip(volumes, truth.volumes, strict=True)
    return _named(truth, [ssim(v, t) for v, t in pairs])
