"""Lines that overlap: maps by a fit of lines beside maps by windows, on spectra of known counts.

Two discs of two elements that share a part, three images of 24 x 24 pixels, a background that falls
with the energy, a detector 12 eV off and 8 % wider than its model; shells that no map is made of
have half the counts. Means of four seeds. Run:

    python tests/benchmarks/overlaps.py
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from common import table

from tomoatlas.phantoms.formats.lines import Spectra, window_of
from tomoatlas.phantoms.formats.overlaps import families_of, fitted_maps

PAIRS = (("Ti", "Ba"), ("Co", "Fe"), ("Mn", "Cr"), ("Ni", "Cu"), ("S", "Mo"))
LEVELS = (80.0, 8.0)  # counts of an element in a pixel
ENERGIES = 0.01 * np.arange(1100)
SHIFT, WIDTH, OTHERS, IMAGES, SEEDS = 0.012, 1.08, 0.5, 3, 4
Pair = tuple[str, str]


def discs(pair: Pair, level: float) -> dict[str, np.ndarray]:
    """Expected counts of each element, (y, x)."""
    y, x = np.mgrid[:24, :24] - 11.5
    return {e: level * ((y - s) ** 2 + x**2 < 40) for e, s in zip(pair, (-4, 4), strict=True)}


def spectra_of(truth: dict[str, np.ndarray], seed: int) -> Spectra:
    """Poisson counts of all pixels."""
    expected = np.full((24, 24, len(ENERGIES)), 0.05) * np.exp(-ENERGIES / 4)
    for element, counts in truth.items():
        for family in families_of(element):
            amount = 1.0 if family.mapped else OTHERS
            expected += amount * counts[..., None] * family.template(ENERGIES, SHIFT, WIDTH)
    counts = np.random.default_rng(seed).poisson(np.repeat(expected[None], IMAGES, 0))
    return Spectra(counts.astype(np.uint16), ENERGIES)


def compared(pair: Pair, level: float, seed: int) -> np.ndarray:
    """Total over truth of the fit, correlation with truth of fit and window: (3, element)."""
    truth = discs(pair, level)
    spectra = spectra_of(truth, seed)
    found = fitted_maps(spectra, pair)
    rows = []
    for element, counts in truth.items():
        fit, window = found[element][0], window_of(element).map_of(spectra)[0]
        true = np.repeat(counts[None], IMAGES, 0)
        likeness = [np.corrcoef(each.ravel(), true.ravel())[0, 1] for each in (fit, window)]
        rows.append([fit.sum() / true.sum(), *likeness])
    return np.transpose(rows)


def rows() -> Iterator[tuple[str, ...]]:
    """One row per pair of elements and level."""
    for pair, level in itertools.product(PAIRS, LEVELS):
        found = np.array([compared(pair, level, seed) for seed in range(SEEDS)])
        means = [", ".join(f"{value:.2f}" for value in each) for each in found.mean(axis=0)]
        yield (
            ", ".join(pair),
            f"{level:g}",
            means[0],
            f"{np.abs(found[:, 0] - 1).max():.0%}",
            *means[1:],
        )


if __name__ == "__main__":
    header = ("elements", "counts", "total / true", "worst off", "fit: correlation", "window's")
    table(header, rows())
