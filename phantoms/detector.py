"""The detector, which makes recorded counts of expected ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Detector(Protocol):
    """A detector, which turns expected counts into recorded ones.

    Its ``repr`` is recorded with the tilt series, so it must name the detector's settings; that of
    a frozen dataclass does.
    """

    def counts(
        self, expected: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Draw recorded counts.

        Parameters
        ----------
        expected : expected counts, (angle, y, x), float64.
        rng : the channel's own random stream.

        Returns
        -------
        array : like ``expected``, float32.
        """


@dataclass(frozen=True)
class PoissonDetector:
    """An ideal counter: shot noise and nothing else.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> PoissonDetector().counts(np.full((1, 1, 3), 100.0), rng).dtype
    dtype('float32')
    """

    def counts(
        self, expected: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """See :class:`Detector`."""
        # float32 holds every count up to 2^24; beyond that its rounding is far below the noise.
        return rng.poisson(expected).astype(np.float32)


POISSON = PoissonDetector()
