"""Regularisers: the term that keeps volumes smooth, as the solver uses it.

The proximal map of the regulariser is fused with the coupling to HAADF and with non-negativity into
one sweep over memory, the volume step (:mod:`tomoatlas.recon_core.cpu.volume_step`). A new
regulariser therefore brings a ``step`` of its own, compiled for each device that it is to run on;
the rest of the solver uses the protocol alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..cpu.volume_step import Fields, Steps
from ..device import CPU, Device
from ..memory import DUALS

Array = NDArray[np.float32]
Values = NDArray[np.float64]


class Regulariser(Protocol):
    """A convex penalty R of a volume; the objective holds weight * sum_i R(x_i)."""

    @property
    def components(self) -> int:
        """Number of components of the dual variable at every voxel of an element."""

    @property
    def coarser(self) -> float:
        """Factor of the weight that keeps its meaning on a grid of half the resolution."""

    def value(self, device: Device, volumes: Array) -> Values:
        """Sum R over the elements.

        Parameters
        ----------
        device : where the volumes are.
        volumes : concentrations, (trial, element, z, y, x).

        Returns
        -------
        array : (trial,), float64.
        """

    def of(self, trials: Any, /) -> Regulariser:
        """Return the regulariser of some of the trials.

        Parameters
        ----------
        trials : index of the batch: integers or a mask.
        """

    def restrict(self, dual: Array) -> None:
        """Make an upsampled dual admissible, in place.

        Parameters
        ----------
        dual : (trial, element, component, z, y, x).
        """

    def step(self, device: Device, fields: Fields, steps: Steps) -> Values:
        """Step the dual and the volumes, in place.

        Parameters
        ----------
        device : where the arrays are.
        fields, steps : as of :func:`tomoatlas.recon_core.cpu.volume_step.volume_step`; the weight
            is ``steps.tv``.

        Returns
        -------
        array : sums over blocks of voxels, (trial, block, 6), float64.
        """


@dataclass(frozen=True)
class TotalVariation:
    """Isotropic total variation: the sum over voxels of |grad x|, with forward differences.

    Forward differences tell sides apart: mirrored data give volumes about a tenth off the mirrored
    ones, at the same objective and scores; all else in the objective is symmetric. The gradient is
    zero across the far faces. The dual holds a vector of the unit ball at every
    voxel (Chambolle, J. Math. Imaging Vis. 20, 89 (2004); Beck and Teboulle, IEEE Trans. Image
    Process. 18, 2419 (2009)).
    """

    components = DUALS
    # an eighth of the voxels, and twice the difference between neighbours
    coarser = 4.0

    def value(self, device: Device, volumes: Array) -> Values:
        """See :class:`Regulariser`."""
        values: Values = device.kernels.total_variation(volumes).sum(axis=1)
        return values

    def of(self, _: Any, /) -> TotalVariation:
        """See :class:`Regulariser`: the same for every trial."""
        return self

    def restrict(self, dual: Array) -> None:
        """See :class:`Regulariser`: components that point out of the volume are zero."""
        dual[..., 0, -1, :, :] = 0
        dual[..., 1, :, -1, :] = 0
        dual[..., 2, :, :, -1] = 0

    def step(self, device: Device, fields: Fields, steps: Steps) -> Values:
        """See :class:`Regulariser`."""
        sums: Values = device.kernels.volume_step(fields, steps)
        return sums


TOTAL_VARIATION = TotalVariation()


@dataclass(frozen=True)
class GuidedVariation(TotalVariation):
    """Total variation but for the edges of a guide: the sum over voxels of |P grad x|.

    Directional total variation, P = 1 - g g^T / (1 + |g|^2) with g the gradient of the guide
    (Ehrhardt and Betcke, SIAM J. Imaging Sci. 9, 1084 (2016)). TV takes contrast from a particle by
    its surface over its volume. Where the guide has the same surface, that costs nothing and
    nothing is taken; inside, and across edges of other directions, TV smooths as before.

    Parameters
    ----------
    guide : in units of the gradient from which on TV yields, (trial, z, y, x), on the device.
    """

    guide: Array

    def value(self, device: Device, volumes: Array) -> Values:
        """See :class:`Regulariser`."""
        values: Values = device.kernels.guided_variation(volumes, self.guide).sum(axis=1)
        return values

    def of(self, trials: Any, /) -> GuidedVariation:
        """See :class:`Regulariser`: the guides of these trials."""
        return GuidedVariation(self.guide[trials])

    def step(self, device: Device, fields: Fields, steps: Steps) -> Values:
        """See :class:`Regulariser`."""
        return super().step(device, fields._replace(guide=self.guide), steps)


SAMPLE = 2**17  # voxels that are enough for a level
EDGE = 0.1  # of the guide's level: differences above it count as edges


def guided_by(device: Device, volumes: Array) -> GuidedVariation:
    """Return the total variation that spares the edges of some volumes.

    Their unit is free: an edge is a difference above :data:`EDGE` times the level of the matter,
    the median of the values, each with its square root as weight. So neither how much vacuum is in
    view decides, nor a few voxels of a heavy element.

    Parameters
    ----------
    device : where the volumes are.
    volumes : the guides, (trial, z, y, x), >= 0; scaled in place.
    """
    levels = np.array([_level(device.get(volume)) for volume in volumes])
    volumes *= device.put(1.0 / (EDGE * levels))[:, None, None, None]
    return GuidedVariation(volumes)


def _level(volume: Array) -> float:
    """Median of the values with their square roots as weights; 1 for an empty volume."""
    values = volume.ravel()
    # odd, so that it meets every column of an even grid
    values = np.sort(values[:: values.size // SAMPLE | 1])
    total = np.cumsum(np.sqrt(np.maximum(values, 0)), dtype=np.float64)
    if not total[-1] > 0:
        return 1.0
    return float(values[np.searchsorted(total, 0.5 * total[-1])])


def prox(
    regulariser: Regulariser, volumes: Array, weight: float, steps: int, device: Device = CPU
) -> Array:
    """Approximate the proximal map on non-negative volumes by steps of the dual from zero.

        argmin over x >= 0 of  1/2 ||x - volumes||^2 + weight sum_i R(x_i)

    A solve takes one such step in an iteration, warm. Alone it denoises, and a new regulariser is
    tested by it: compare with a brute-force minimum.

    Parameters
    ----------
    regulariser : the penalty R.
    volumes : (element, z, y, x), on ``device``.
    weight : of the penalty, > 0.
    steps : of the dual; the distance to the minimum falls as 1/steps.
    device : where it is computed.

    Returns
    -------
    Array : (element, z, y, x), on ``device``.
    """
    xp: Any = device.xp
    given = xp.ascontiguousarray(volumes[None], dtype=np.float32)
    dual_shape = (1, len(volumes), regulariser.components, *given.shape[2:])
    absent = [xp.empty((1, 0, 0, 0), np.float32)] * 5
    fields = Fields(
        given,
        xp.empty_like(given),
        given.copy(),
        xp.zeros_like(given),
        xp.zeros(dual_shape, device.dual_type),
        *absent,
    )
    metric, zero = xp.ones((1, len(volumes)), np.float32), xp.zeros(1, np.float32)
    tv = xp.full(1, weight, np.float32)
    numbers = Steps(metric, tv, zero, zero, np.float32(0), metric[0], 2.0)
    for _ in range(steps):
        xp.copyto(fields.point, given)  # a step leaves its result there
        regulariser.step(device, fields, numbers)
    result: Array = fields.next_volumes[0]
    return result
