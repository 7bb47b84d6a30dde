"""Non-negative least squares on normal equations, with and without a prior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Values = NDArray[np.float64]

NEGLIGIBLE = 1e-13  # of the largest eigenvalue: below it the normal equations have no direction


def non_negative(matrix: Values, right: Values) -> Values:
    """Minimise x^T M x / 2 - r^T x over x >= 0.

    Parameters
    ----------
    matrix : M, symmetric and positive, singular at most, (unknown, unknown).
    right : r, (unknown,).

    Returns
    -------
    array : (unknown,), float64; 0 where M is.
    """
    # through a square root of the matrix, each unknown in its own unit
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    scale[np.diag(matrix) <= 0] = 0.0
    values, vectors = np.linalg.eigh(matrix * np.outer(scale, scale))
    values = np.maximum(values, NEGLIGIBLE * max(values[-1], 1e-300))
    root = (vectors * np.sqrt(values)).T
    found, _ = optimize.nnls(root, (vectors.T @ (scale * right)) / np.sqrt(values))
    return np.asarray(scale * found, np.float64)


def with_prior(
    matrix: Values, right: Values, prior: Values, amount: float, spread: float
) -> tuple[Values, Values, Values]:
    """Minimise x^T M x / 2 - r^T x + sum_i (x_i - c p_i)^2 / (2 (spread amount p_i)^2) over x, c.

    Parameters
    ----------
    matrix, right : M and r in units of the noise: M is the inverse covariance of the data alone.
    prior : p, (unknown,), > 0.
    amount : the c that is expected, > 0.
    spread : relative width of the prior.

    Returns
    -------
    values : x >= 0, (unknown,).
    errors : their standard uncertainties.
    shares : what part of each the prior decides: 0 where the data do, 1 where they say nothing.
    """
    count = len(prior)
    pull = 1.0 / (spread * amount * prior) ** 2
    # one more unknown: the c of the prior
    whole = np.zeros((count + 1, count + 1))
    whole[:count, :count] = matrix + np.diag(pull)
    whole[:count, count] = whole[count, :count] = -pull * prior
    whole[count, count] = float(pull @ prior**2)
    values = non_negative(whole, np.append(right, 0.0))[:count]
    scale = np.append(1.0 / np.sqrt(pull), amount)
    covariance = np.linalg.pinv(whole * np.outer(scale, scale)) * np.outer(scale, scale)
    variances = np.maximum(np.diag(covariance)[:count], 0.0)
    return values, np.sqrt(variances), np.minimum(variances * pull, 1.0)
