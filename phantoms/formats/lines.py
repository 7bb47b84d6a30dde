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

    def map_of(self, spectra: NDArray[np.generic], energies: Values) -> tuple[Array, float]:
        """Sum the counts of the window, less the background beside it.

        The background is smoothed over the image first, so that its noise hardly adds to the map.

        Parameters
        ----------
        spectra : (angle, y, x, energy), counts.
        energies : of the channels, (energy,).

        Returns
        -------
        array : (angle, y, x), float32; below 0 where the background is higher by chance.
        level : mean counts of the background in a pixel. Added to the map it gives back counts that
            scatter as counts do.

        Raises
        ------
        BadInput : a window beyond the spectrum.
        """
        inside = (energies >= self.low) & (energies <= self.high)
        if not inside.any() or self.low < energies[0] or self.high > energies[-1]:
            raise BadInput(
                "the window is not in the spectrum",
                key=f"--window {self.element}",
                value=f"{self.low:g}:{self.high:g}",
                accepted=f"within {energies[0]:.4g} to {energies[-1]:.4g}",
            )
        total = spectra[..., inside].sum(axis=-1, dtype=np.float64)
        background = self._background(spectra, energies) * int(inside.sum())
        return np.asarray(total - background, np.float32), float(background.mean())

    def _background(self, spectra: NDArray[np.generic], energies: Values) -> Values:
        """Counts of the background in a channel, (angle, y, x): the lower side, free of lines."""
        gap, half = 0.25 * (self.high - self.low), 0.5 * (self.high - self.low)
        below = (energies >= self.low - gap - half) & (energies < self.low - gap)
        above = (energies > self.high + gap) & (energies <= self.high + gap + half)
        sides = [
            spectra[..., side].mean(axis=-1, dtype=np.float64)
            for side in (below, above)
            if side.any()
        ]
        if not sides:
            return np.zeros(spectra.shape[:-1])
        lower = min(sides, key=np.mean)
        smooth: Values = ndimage.uniform_filter(lower, (0, SMOOTHED, SMOOTHED), mode="nearest")
        return smooth


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
