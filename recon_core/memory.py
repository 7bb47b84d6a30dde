"""Device memory of a fused solve, from sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

FLOAT = 4
ITERATES = 4  # volumes, spare, point, slope
DUALS = 3  # components of the TV dual
SPLIT = 4  # u, multiplier, contrast, residual
SCRATCH = 3  # direction, its image and a sum
SPECTRA = 2  # half spectrum of one volume, complex, and the FFT's work area


@dataclass(frozen=True)
class SolveSize:
    """What decides the memory: ``shape`` (element, z, y, x), tilts, trials solved together."""

    shape: tuple[int, int, int, int]
    haadf_tilts: int
    chemical_tilts: int
    batch: int = 1

    @property
    def specimen_bytes(self) -> int:
        """The volumes of all elements, once."""
        elements, z, y, x = self.shape
        return FLOAT * elements * z * y * x


def fused_bytes(size: SolveSize) -> int:
    """Bytes on the device at the peak of a fused solve with HAADF and TV, float32.

    Iterates, TV dual and the variables of the split, the spectrum of the ramp preconditioner,
    the measured and the computed projections; the data are shared by the trials of a batch.
    """
    return _shared_bytes(size) + size.batch * _trial_bytes(size)


def _shared_bytes(size: SolveSize) -> int:
    """Counts of every channel and the preconditioner, (z, y // 2 + 1)."""
    _, z, y, _ = size.shape
    return _series_bytes(size) + FLOAT * z * (y // 2 + 1)


def _trial_bytes(size: SolveSize) -> int:
    elements, z, y, x = size.shape
    volume = FLOAT * z * y * x
    spectrum = 2 * FLOAT * z * (y // 2 + 1) * x
    arrays = elements * (ITERATES + DUALS) + SPLIT + SCRATCH
    return arrays * volume + SPECTRA * spectrum + _series_bytes(size)


def _series_bytes(size: SolveSize) -> int:
    """One projection per tilt: of every element, and of the summed contrast."""
    elements, _, y, x = size.shape
    return FLOAT * (elements * size.chemical_tilts + size.haadf_tilts) * y * x
