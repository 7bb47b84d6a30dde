"""The point that scikit-optimize's gp_hedge asks for: the reference, a hundred times slower.

The optimizer is made anew for every proposal and given all results in one batch, because replaying
its ``tell`` calls one by one does not reproduce a run.

scikit-optimize takes seconds to load, so it is imported where it is used.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ...recon_core.errors import needed

if TYPE_CHECKING:
    from skopt.learning import GaussianProcessRegressor

Array = NDArray[np.float64]

NOISE = 1e-6
"""Variance of the standardised objective: a repeated trial gives the same score."""

RESTARTS = 2
"""Restarts of the fit of the kernel's parameters."""

HARMLESS = ("Predicted variances smaller than 0", "The objective has been evaluated at")
"""Beginnings of scikit-optimize's warnings that change nothing: rounding at points already
tried, which a random one then replaces.
"""


def ask(points: Array, scores: Array, seed: int) -> Array:
    """The point of the unit cube to try next.

    A pending point is assumed to give the best score known (constant liar, Ginsbourger et al.
    2010).

    Parameters
    ----------
    points : (n, d), known ones first, then the pending.
    scores : (m,), m <= n, of the known points, standardised, lower is better.
    seed : of the optimizer.

    Returns
    -------
    Point (d,).
    """
    with _needed():
        from skopt import Optimizer
        from skopt.space import Real

    optimizer = Optimizer(
        [Real(0.0, 1.0)] * points.shape[1],
        base_estimator=_surrogate(points.shape[1], seed),
        n_initial_points=0,
        acq_func="gp_hedge",
        random_state=seed,
        model_queue_size=1,
    )
    # As many lies as pending points, each with the best score known.
    lies = [float(scores.min())] * (len(points) - len(scores))
    # Several BLAS threads sum in another order and change the last digits.
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        for message in HARMLESS:
            # Only these two: any other warning is an error in the tests.
            warnings.filterwarnings("ignore", message, UserWarning)
        optimizer.tell(points.tolist(), [*scores.tolist(), *lies])
        return np.array(optimizer.ask(), dtype=np.float64)


def _needed() -> AbstractContextManager[None]:
    accepted = 'pip install scikit-optimize, or search.surrogate = "gp"'
    return needed("scikit-optimize", purpose="search.surrogate", accepted=accepted)


def _surrogate(dimensions: int, seed: int) -> GaussianProcessRegressor:
    from skopt.learning import GaussianProcessRegressor
    from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern

    shape = Matern([1.0] * dimensions, [(0.01, 100.0)] * dimensions, nu=2.5)
    return GaussianProcessRegressor(
        kernel=ConstantKernel(1.0, (0.01, 1000.0)) * shape,
        normalize_y=True,
        noise=NOISE,
        n_restarts_optimizer=RESTARTS,
        random_state=seed,
    )
