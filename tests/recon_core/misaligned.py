"""Misaligned tilt series of known shifts, made on a grid twice as fine by code that align lacks.

Images of a specimen of twice the resolution are turned and shifted by cubic splines
(:mod:`scipy.ndimage`), free of noise, then binned and counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

import tomoatlas as ta
from tomoatlas.recon_core.contrast import LAWS
from tomoatlas.recon_core.geometry import Placement, TiltGeometry, spaced_tilts
from tomoatlas.recon_core.projection import SparseProjector

FINE = 2


@dataclass(frozen=True)
class Fault:
    """What is wrong with a series: px of the data."""

    jitter: float = 4.0  # uniform shifts of each image, both axes
    axis: float = 3.0
    rotation: float = 2.0
    drift: float = 1.0  # of the maps against HAADF, first to last tilt
    film: float = 0.1  # of the largest HAADF signal


NONE = Fault(0.0, 0.0, 0.0, 0.0, 0.0)


def own(placement: Placement) -> np.ndarray:
    """Shifts across and along the axis, (angle, 2)."""
    count = len(placement.shifts)
    return np.array([[placement.across(i), placement.along(i)] for i in range(count)])


def displaced(found: ta.TiltSeries, known: ta.TiltSeries) -> tuple[np.ndarray, np.ndarray]:
    """How the images of both modalities move, (angle, 2), with a specimen that lies elsewhere.

    No image shows where the specimen lies: what the HAADF images are off by beside what it explains
    is their error.
    """
    off = own(found.haadf_placement) - own(known.haadf_placement)
    curves = [
        np.stack([np.cos(tilts), -np.sin(tilts)], axis=1)  # of Y and Z, across the axis
        for tilts in map(np.deg2rad, (known.haadf_angles_deg, known.chemical_angles_deg))
    ]
    place = np.linalg.lstsq(curves[0], off[:, 0], rcond=None)[0]
    along = off[:, 1].mean()
    haadf, maps = (np.stack([c @ place, np.full(len(c), along)], axis=1) for c in curves)
    return haadf, maps


def specimen_in_vacuum(kind: str, size: int, field: int, seed: int) -> ta.Specimen:
    """A specimen of ``size`` voxels in the middle of a field of ``field``."""
    made = ta.make_specimen(kind, size=size, seed=seed)
    before = (field - size) // 2
    pad = [(0, 0)] + [(before, field - size - before)] * 3
    return ta.Specimen(np.pad(made.volumes, pad), made.elements, made.voxel_size_nm, made.name)


def _moved(images: np.ndarray, placement: Placement) -> np.ndarray:
    """Fine images, turned and shifted, then binned: (angle, y, x)."""
    turn = np.deg2rad(placement.rotation_deg)
    back = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = (np.array(images.shape[1:]) - 1) / 2
    shifts = placement.of_each(len(images))
    out = []
    for image, (y, x) in zip(images, shifts, strict=True):
        shift = FINE * np.array([y + placement.axis_offset, x])
        offset = middle - back @ (middle + shift)
        still = not shift.any() and not turn
        fine = image if still else ndimage.affine_transform(image, back, offset, order=3)
        n = len(image) // FINE
        out.append(fine.reshape(n, FINE, n, FINE).mean((1, 3)) / FINE)
    return np.maximum(np.array(out), 0.0)


def misaligned(
    specimen: ta.Specimen,
    fault: Fault,
    seed: int,
    tilts: tuple[int, int] = (41, 9),
    snr: tuple[float, float] = (2208.67, 2.365),
    contrast: str = "linear",
) -> ta.TiltSeries:
    """A series with the placement that was applied; ``specimen`` is on the fine grid."""
    rng = np.random.default_rng([seed, 99])
    law = LAWS[contrast](2.0 if contrast == "power" else 1.7)
    size = specimen.volumes.shape[-1]
    haadf_angles, maps_angles = (spaced_tilts(n, (-70.0, 70.0)) for n in tilts)

    def jitter(count: int) -> np.ndarray:
        return rng.uniform(-fault.jitter, fault.jitter, (count, 2))

    drift = np.linspace(0, fault.drift, tilts[1])[:, None]
    steps = jitter(tilts[0]), jitter(tilts[1]) + drift
    places = [Placement(tuple(map(tuple, s.tolist())), fault.axis, fault.rotation) for s in steps]

    def projected(volumes: np.ndarray, angles: tuple[float, ...]) -> np.ndarray:
        return SparseProjector(TiltGeometry(angles, (size, size))).forward(volumes)

    contrast_volume = law.of_volumes(specimen.volumes, specimen.atomic_numbers)
    haadf = _moved(projected(contrast_volume, haadf_angles), places[0])
    maps = np.stack([_moved(m, places[1]) for m in projected(specimen.volumes, maps_angles)])
    thick = 1 / np.cos(np.deg2rad(haadf_angles))[:, None, None]
    film = fault.film * haadf.max()
    whole = haadf + 0.15 * haadf.max() + film * thick
    scale = (snr[0] - 1) / whole.mean()
    own = [(snr[1] - 1) / (m.mean() + 0.15 * m.max()) for m in maps]
    levels = [s * 0.15 * m.max() for s, m in zip(own, maps, strict=True)]
    expected = np.stack([s * m + b for s, m, b in zip(own, maps, levels, strict=True)])
    return ta.TiltSeries(
        rng.poisson(scale * whole).astype(np.float32),
        haadf_angles,
        rng.poisson(expected).astype(np.float32),
        maps_angles,
        specimen.elements,
        haadf_background=float(scale * 0.15 * haadf.max()),
        chemical_background=tuple(map(float, levels)),
        haadf_film=float(scale * film),
        haadf_placement=places[0],
        chemical_placement=places[1],
    )


def truth(specimen: ta.Specimen) -> ta.Specimen:
    """The specimen on the grid of the data."""
    e, n = specimen.volumes.shape[:2]
    blocks = specimen.volumes.reshape(e, *([n // FINE, FINE] * 3))
    coarse = blocks.mean(axis=(2, 4, 6), dtype=np.float64).astype(np.float32)
    return replace(specimen, volumes=coarse, voxel_size_nm=FINE * specimen.voxel_size_nm)
