"""What the processor's loops are made of: how numba compiles them, and powers of float32 numbers.

The C library's ``powf`` is a call per number, and in a loop over voxels costs more than everything
else. Here x**p = 2^(p log2 x), arithmetic that compiles to vector instructions: the exponent of x
is read from its bits; the logarithm of its mantissa and the fractional power of two are series,
truncated below the last digit of float32.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SMALLEST = np.finfo(np.float32).tiny  # the smallest normal number
ROOT = np.float32(math.sqrt(0.5)).view(np.int32)  # bits of the smallest mantissa
LOG2 = tuple(np.float32(2 / math.log(2) / k) for k in (1, 3, 5, 7, 9))  # 2/ln 2 artanh
EXP2 = tuple(np.float32(math.log(2) ** k / math.factorial(k)) for k in range(8))

# No "nnan": a NaN must survive to be seen by the solver.
FAST = {"reassoc", "contract", "nsz", "arcp"}
jit = numba.njit(parallel=True, fastmath=FAST, cache=True, error_model="numpy")
leaf = numba.njit(fastmath=FAST, cache=True, error_model="numpy")
TINY = np.float32(1e-6)  # least concentration of a power below 2: its second derivative is finite
# squared gradient of a guide, at most: TV keeps a tenth of its weight, or voxels at the edges of a
# heavy particle gather the noise of every element's counts
STEEPEST = np.float32(9)
# Not FAST: "reassoc" would undo the sums whose order keeps the digits.
_leaf = numba.njit(fastmath={"contract"}, cache=True, error_model="numpy")


@_leaf
def add_power(x: Array, weight: np.float32, gamma: float, total: Array) -> None:
    """Add weight * x**gamma to ``total``; NaN and infinity propagate.

    Parameters
    ----------
    x : (value,), >= 0.
    weight : factor of the power.
    gamma : exponent, 1 to 2; 1 and 2 take a shortcut.
    total : (value,), written.
    """
    if gamma == 2.0:
        for j in range(x.size):
            total[j] += weight * x[j] * x[j]
        return
    if gamma == 1.0:
        for j in range(x.size):
            total[j] += weight * x[j]
        return
    for j in range(x.size):
        total[j] += weight * x[j] * power(max(x[j], SMALLEST), gamma - 1)


@_leaf
def power(x: np.float32, p: float) -> np.float32:
    """Compute x**p to within a relative error of 2e-7.

    Parameters
    ----------
    x : SMALLEST to 2**127. Any other value, 0, infinity and NaN included, gives some number without
        an error.
    p : exponent, 0 to 1.

    Returns
    -------
    float32 : the power.

    Examples
    --------
    >>> import numpy as np
    >>> bool(abs(power(np.float32(2.0), 0.5) - 2**0.5) < 1e-6)
    True
    """
    bits = np.float32(x).view(np.int32)
    # x = mantissa 2^exponent, the mantissa near 1, where its logarithm converges fastest
    exponent = np.int32(np.int32(bits - ROOT) >> 23)
    mantissa = np.int32(bits - np.int32(exponent << 23)).view(np.float32)
    # 16 bits of head times 8 of the exponent are exact in float32: a large exponent costs no digits
    head = np.float32(np.rint(p * 65536) / 65536)
    large = head * np.float32(exponent)
    small = np.float32(p - head) * np.float32(exponent) + np.float32(p) * _log2(mantissa)
    # 2^whole is written into the exponent bits, 2^fraction is a series
    whole = np.rint(large + small)
    scale = np.int32((np.int32(whole) + 127) << 23).view(np.float32)
    return scale * _exp2((large - whole) + small)


@_leaf
def _log2(m: np.float32) -> np.float32:
    """log2 m = 2/ln 2 artanh s, s = (m - 1)/(m + 1), for sqrt(1/2) <= m < sqrt(2)."""
    # Horner's scheme in s^2: five odd terms reach float32's last digit on this range
    s = (m - np.float32(1)) / (m + np.float32(1))
    q = s * s
    return s * (LOG2[0] + q * (LOG2[1] + q * (LOG2[2] + q * (LOG2[3] + q * LOG2[4]))))


@_leaf
def _exp2(r: np.float32) -> np.float32:
    """2^r by its Taylor series, for abs(r) <= 1/2."""
    high = EXP2[4] + r * (EXP2[5] + r * (EXP2[6] + r * EXP2[7]))
    return EXP2[0] + r * (EXP2[1] + r * (EXP2[2] + r * (EXP2[3] + r * high)))
