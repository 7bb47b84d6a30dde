"""Truth and reconstructions side by side, as pictures and scores need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from .style import METHOD_LABELS, METHOD_STYLE

Array = NDArray[np.float32]

# The colours of Okabe and Ito's set that no method uses.
_MORE_COLOURS = ("#CC79A7", "#009E73", "#D55E00", "#F0E442")


@dataclass(frozen=True)
class Shown:
    """One reconstruction as figures show it.

    Parameters
    ----------
    label : name in titles and legends.
    colour : of its curves.
    volumes : concentrations (element, z, y, x).
    """

    label: str
    colour: str
    volumes: Array


@dataclass(frozen=True)
class SliceSet:
    """Truth and reconstructions of one condition.

    Parameters
    ----------
    truth : concentrations (element, z, y, x).
    volumes : method, or any other name (of a file) → concentrations (element, z, y, x).
    elements : chemical symbols, in the order of the volumes.
    voxel_size_nm : edge of a voxel, nm.
    title : the condition; empty for none.
    reference : what ``truth`` is called in figures.
    """

    truth: Array
    volumes: Mapping[str, Array]
    elements: tuple[str, ...]
    voxel_size_nm: float
    title: str = ""
    reference: str = "Truth"

    def shown(self) -> tuple[Shown, ...]:
        """The reconstructions: methods in their usual order, then others as given."""
        methods = [
            Shown(label, METHOD_STYLE[method][0], self.volumes[method])
            for method, label in METHOD_LABELS.items()
            if method in self.volumes
        ]
        # Names that are no method, as those of files, follow in the order given.
        others = [name for name in self.volumes if name not in list(METHOD_LABELS)]
        return (
            *methods,
            *(
                Shown(n, c, self.volumes[n])
                for n, c in zip(others, cycle(_MORE_COLOURS), strict=False)
            ),
        )


def representative_slice(truth: Array) -> int:
    """The x at which the scarcest element is best represented, so that no row need be empty.

    Parameters
    ----------
    truth : concentrations (element, z, y, x).
    """
    # float64: a sum over a 512 x 512 slice loses digits in float32.
    content = truth.sum(axis=(1, 2), dtype=np.float64)
    share = content / np.maximum(content.max(axis=1, keepdims=True), 1e-30)
    # The mean only breaks ties, as between slices in which an element is absent.
    return int((share.min(axis=0) + 1e-3 * share.mean(axis=0)).argmax())


def round_length(length: float) -> float:
    """A round length for a scale bar: the largest of 1, 2, 5 × 10^n not above ``length``.

    Parameters
    ----------
    length : upper bound, > 0.

    Examples
    --------
    >>> round_length(7.3), round_length(0.24)
    (5.0, 0.2)
    """
    # The tolerance keeps an exact 5 from falling to 2 by rounding.
    decade = 10.0 ** np.floor(np.log10(length))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= length * (1 + 1e-9)))
