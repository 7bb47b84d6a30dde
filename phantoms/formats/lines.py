"""Maps of elements from spectrum images: counts in a window about a line, less its background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...recon_core.errors import BadInput

Array = NDArray[np.float32]
Values = NDArray[np.float64]

_KALPHA = """
B .183 C .277 N .392 O .525 F .677 Ne .849 Na 1.041 Mg 1.254 Al 1.487 Si 1.740 P 2.013 S 2.307
Cl 2.622 Ar 2.958 K 3.313 Ca 3.691 Sc 4.090 Ti 4.510 V 4.952 Cr 5.414 Mn 5.898 Fe 6.403 Co 6.930
Ni 7.477 Cu 8.047 Zn 8.638 Ga 9.251 Ge 9.886 As 10.543 Se 11.222 Br 11.924 Kr 12.648 Rb 13.395
Sr 14.165
"""
_LALPHA = """
Y 1.922 Zr 2.042 Nb 2.166 Mo 2.293 Ru 2.558 Rh 2.696 Pd 2.838 Ag 2.984 Cd 3.133 In 3.287 Sn 3.444
Sb 3.605 Te 3.769 I 3.938 Cs 4.286 Ba 4.466 La 4.651 Ce 4.840 Pr 5.034 Nd 5.230 Sm 5.636 Eu 5.846
Gd 6.057 Tb 6.273 Dy 6.495 Ho 6.720 Er 6.949 Tm 7.180 Yb 7.416 Lu 7.656 Hf 7.899 Ta 8.146 W 8.398
Re 8.653 Os 8.912 Ir 9.175 Pt 9.442 Au 9.713 Hg 9.989 Tl 10.269 Pb 10.552 Bi 10.839 U 13.615
"""


def _energies(table: str) -> dict[str, float]:
    words = table.split()
    return {words[i]: float(words[i + 1]) for i in range(0, len(words), 2)}


LINES: Mapping[str, float] = _energies(_KALPHA) | _energies(_LALPHA)
"""Energy of the line of an element that maps are made of, keV: K alpha to Sr, L alpha from Y on."""

RESOLUTION = 0.130  # keV, full width at half maximum of Mn K alpha
SMOOTHED = 9  # pixels: edge of the square over which the background is averaged
PRE_EDGE = (0.85, 0.985)  # of the window's start: where losses show the background of an edge
FEWEST_BEFORE, ENOUGH = 4, 400.0  # channels; counts of a pixel, of which 5 % are noise


def width_at(energy: float) -> float:
    """Compute the width of a line in a silicon detector, full width at half maximum, keV.

    Parameters
    ----------
    energy : of the line, keV.

    Examples
    --------
    >>> round(width_at(5.898), 3)
    0.13
    """
    # noise of the electronics, and that of the number of electron-hole pairs
    return float(np.sqrt(max(RESOLUTION**2 + 2.5e-3 * (energy - 5.898), 1.6e-3)))


@dataclass(frozen=True)
class Spectra:
    """Spectra of all pixels.

    Parameters
    ----------
    counts : (angle, y, x, energy).
    energies : of the channels, (energy,), in ascending order.
    kilo : whether they are in keV, else in eV.
    eels : whether they are losses of electrons, else X-rays.
    """

    counts: NDArray[np.generic]
    energies: Values
    kilo: bool = True
    eels: bool = False

    def __post_init__(self) -> None:
        if len(self.energies) < 2 or not (np.diff(self.energies) > 0).all():
            raise BadInput(
                "energies that do not rise",
                key="energy axis",
                value=[float(e) for e in self.energies[:3]],
                accepted="two channels or more, in ascending order",
            )

    @property
    def widths(self) -> Values:
        """Widths of the channels, which need not be the same."""
        return np.gradient(self.energies)

    def density(self, chosen: NDArray[np.bool_]) -> Values:
        """Counts per unit of energy in some channels, (angle, y, x)."""
        total: Values = self.counts[..., chosen].sum(axis=-1, dtype=np.float64)
        return total / float(self.widths[chosen].sum())


@dataclass(frozen=True)
class Window:
    """Channels of a spectrum that belong to an element, and those of its background.

    Parameters
    ----------
    element : chemical symbol.
    low, high : of the line, in the unit of the energy axis.
    """

    element: str
    low: float
    high: float

    def map_of(self, spectra: Spectra) -> tuple[Array, float]:
        """Sum the counts of the window, less the background beside it.

        The background is smoothed over the image first, so that its noise hardly adds to the map.
        Below an edge of energy losses it is a power law, which the window continues.

        Parameters
        ----------
        spectra : counts of all pixels.

        Returns
        -------
        array : (angle, y, x), float32; below 0 where the background is higher by chance.
        level : mean counts of the background in a pixel. Added to the map it gives back counts that
            scatter as counts do.

        Raises
        ------
        BadInput : a window beyond the spectrum.
        """
        energies = spectra.energies
        inside = (energies >= self.low) & (energies <= self.high)
        if not inside.any() or self.low < energies[0] or self.high > energies[-1]:
            raise BadInput(
                "the window is not in the spectrum",
                key=f"--window {self.element}",
                value=f"{self.low:g}:{self.high:g}",
                accepted=f"within {energies[0]:.4g} to {energies[-1]:.4g}",
            )
        total = spectra.counts[..., inside].sum(axis=-1, dtype=np.float64)
        beneath = self._power_law if spectra.eels else self._beside
        background = beneath(spectra, inside)
        return np.asarray(total - background, np.float32), float(background.mean())

    def _beside(self, spectra: Spectra, inside: NDArray[np.bool_]) -> Values:
        """Counts of the background in the window, (angle, y, x): the lower side, free of lines."""
        energies = spectra.energies
        gap, half = 0.25 * (self.high - self.low), 0.5 * (self.high - self.low)
        below = (energies >= self.low - gap - half) & (energies < self.low - gap)
        above = (energies > self.high + gap) & (energies <= self.high + gap + half)
        sides = [spectra.density(side) for side in (below, above) if side.any()]
        if not sides:
            return np.zeros(spectra.counts.shape[:-1])
        lower = min(sides, key=np.mean) * float(spectra.widths[inside].sum())
        smooth: Values = ndimage.uniform_filter(lower, (0, SMOOTHED, SMOOTHED), mode="nearest")
        return smooth

    def _power_law(self, spectra: Spectra, inside: NDArray[np.bool_]) -> Values:
        """Counts beneath an edge, (angle, y, x): A E^-r, with one r, of what lies before it."""
        energies, (far, near) = spectra.energies, PRE_EDGE
        before = (energies >= far * self.low) & (energies <= near * self.low) & (energies > 0)
        if int(before.sum()) < FEWEST_BEFORE:
            raise BadInput(
                "nothing before the edge to take its background from",
                key=f"--window {self.element}",
                value=f"{self.low:g}:{self.high:g}",
                accepted=f"{FEWEST_BEFORE} channels or more from {far * self.low:.4g}",
            )
        mean = spectra.counts[..., before].mean(axis=(0, 1, 2), dtype=np.float64)
        power = np.polyfit(np.log(energies[before]), np.log(np.maximum(mean, 1e-30)), 1)[0]
        law = energies.clip(min=float(energies[before][0])) ** power
        known = spectra.counts[..., before].sum(axis=-1, dtype=np.float64)
        # few counts before the edge would make the noise of the background that of the map
        if known.mean() < ENOUGH:
            known = ndimage.uniform_filter(known, (0, SMOOTHED, SMOOTHED), mode="nearest")
        beneath: Values = known * float(law[inside].sum() / law[before].sum())
        return beneath


def window_of(element: str, kilo: bool = True) -> Window:
    """Return the window of an element's X-ray line, as wide as 1.2 times the line.

    Parameters
    ----------
    element : chemical symbol.
    kilo : whether the energy axis is in keV, else in eV.

    Raises
    ------
    BadInput : an element without a line that is known here.

    Examples
    --------
    >>> window = window_of("Co")
    >>> round(window.low, 2), round(window.high, 2)
    (6.85, 7.01)
    """
    if element not in LINES:
        raise BadInput(
            "no X-ray line known",
            key="--elements",
            value=element,
            accepted="--window EL=LOW:HIGH in the unit of the energy axis",
        )
    unit = 1.0 if kilo else 1000.0
    half = 0.6 * width_at(LINES[element])
    return Window(element, unit * (LINES[element] - half), unit * (LINES[element] + half))


def overlaps(windows: tuple[Window, ...]) -> list[str]:
    """Name the pairs of windows that share more than a third of the narrower one.

    Parameters
    ----------
    windows : of all elements.

    Examples
    --------
    >>> overlaps((window_of("S"), window_of("Mo"), window_of("Cu")))
    ['S and Mo']
    """
    found = []
    for i, one in enumerate(windows):
        for other in windows[i + 1 :]:
            shared = min(one.high, other.high) - max(one.low, other.low)
            if shared > min(one.high - one.low, other.high - other.low) / 3:
                found.append(f"{one.element} and {other.element}")
    return found
