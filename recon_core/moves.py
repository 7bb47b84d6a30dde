"""Moves of images: measured against another image or a model, and in the frame of the tilt axis."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Values = NDArray[np.float64]

FARTHEST_STEP = 1.0  # pixels a first-order step may be taken
FARTHEST_TURN = 0.03  # radians likewise
LEAP = 3.0  # pixels from both neighbours, which agree to half of that
FRAME = 5.0  # pixels: a specimen is farther from the axis than that only if the shifts say so


def centres_of_mass(signal: Array) -> Values:
    """Centre of mass of each image from the middle, (angle, (y, x))."""
    mass = np.maximum(signal.sum(axis=(1, 2), dtype=np.float64), 1e-30)
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in signal.shape[1:])
    y = signal.sum(axis=2, dtype=np.float64) @ rows / mass
    x = signal.sum(axis=1, dtype=np.float64) @ columns / mass
    # of an image without signal it could be anywhere
    return np.stack([np.clip(y, rows[0], rows[-1]), np.clip(x, columns[0], columns[-1])], axis=1)


def correlated_shift(reference: Array, image: Array, alone: bool = False) -> Values:
    """Shift (y, x) of an image against a reference, whole pixels, within a quarter of the field.

    Of a specimen that vacuum surrounds, ``alone``, within half of it: no edge is to be faded out.
    """
    window = np.ones(image.shape) if alone else np.outer(*(np.hanning(n) for n in image.shape))
    spectra = [np.fft.rfft2(window * (i - i.mean())) for i in (reference, image)]
    match = np.fft.irfft2(spectra[1] * np.conj(spectra[0]), s=image.shape)
    reach = tuple((n - 1) // 2 if alone else n // 4 for n in image.shape)
    near = np.roll(match, reach, (0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1]
    y, x = np.unravel_index(int(np.argmax(near)), near.shape)
    return np.array([y - reach[0], x - reach[1]], np.float64)


def leaps(images: Array, angles_deg: tuple[float, ...]) -> Values:
    """Return the shift of each image that lies elsewhere than both of its neighbours, (angle, 2).

    The neighbours must agree: matter that enters and leaves the field moves those on both sides of
    an image to opposite sides of it. Whole and half pixels; 0 for all other images.

    Parameters
    ----------
    images : (angle, y, x).
    angles_deg : of the images.
    """
    order = np.argsort(angles_deg, kind="stable")
    shifts = np.zeros((len(order), 2))
    for before, at, after in zip(order, order[1:], order[2:], strict=False):
        low, here, high = (images[i] for i in (before, at, after))
        one, other = correlated_shift(low, here), correlated_shift(high, here)
        apart = max(np.abs(one - other).max(), np.abs(correlated_shift(low, high)).max())
        leap = (one + other) / 2
        if np.abs(leap).max() >= max(LEAP, 2 * apart):
            shifts[at] = leap
    return shifts


def first_order_move(
    image: Array, model: Array, shift: Values, noise: Values | float = 1.0
) -> Values:
    """Return the move of an image against its model, to first order: (y, x, turn), pixels, radians.

    Gain and level are fitted too. The slopes are those of the image, as the model's are less steep,
    and those of the model choose what counts: as instruments they keep the noise of the image out.

    Parameters
    ----------
    image, model : (y, x).
    shift : where the image lies already, (y, x), pixels: the centre of a turn.
    noise : variance of the image, (y, x) or one number.
    """
    inner = (slice(2, -2), slice(2, -2))
    known, seen = ([model, np.ones_like(model), *slopes_of(each, shift)] for each in (model, image))
    instruments = (np.array(known, np.float64) / noise)[:, *inner].reshape(len(known), -1)
    columns = np.array(seen, np.float64)[:, *inner].reshape(len(seen), -1)
    matrix = instruments @ columns.T
    matrix[np.diag_indices(len(matrix))] += 1e-9 * np.abs(np.diag(matrix)) + 1e-30
    found = np.linalg.solve(matrix, instruments @ image[inner].ravel().astype(np.float64))
    farthest = [FARTHEST_STEP, FARTHEST_STEP, FARTHEST_TURN]
    move: Values = np.clip(found[2:], np.negative(farthest), farthest)
    return move


def moves_against(
    images: Array, models: Array, shifts: Values, noise: Values | None = None
) -> Values:
    """Return the move of every image against its model, (angle, (y, x, turn)), pixels, radians.

    Parameters
    ----------
    images, models : (angle, y, x).
    shifts : where the images lie already, (angle, (y, x)), pixels.
    noise : variances of the images, (angle, y, x); None if they are all the same.
    """
    variances = itertools.repeat(1.0, len(images)) if noise is None else noise
    parts = zip(images, models, shifts, variances, strict=True)
    return np.array([first_order_move(*part) for part in parts]).reshape(-1, 3)


def slopes_of(image: Array, shift: Values) -> Values:
    """Return what a shift of 1 pixel along y and x and a turn of 1 radian add, (3, y, x).

    Parameters
    ----------
    image : (y, x).
    shift : where it lies already, (y, x), pixels: the centre of the turn.
    """
    down, right = np.gradient(image.astype(np.float64))
    y, x = (np.arange(n) - (n - 1) / 2 - s for n, s in zip(image.shape, shift, strict=True))
    return np.array([-down, -right, -down * x + right * y[:, None]])


def axis_turn(angles_deg: tuple[float, ...], turns: Values) -> float:
    """Rotation of the axis, from that of each image against its model, radians.

    The specimen turns with the mean of the images, about z, which shows as cos(tilt) of it.
    """
    cosines = np.cos(np.deg2rad(angles_deg))
    columns = np.stack([np.ones(len(cosines)), cosines], axis=1)
    found = np.linalg.lstsq(columns, turns, rcond=None)[0]
    return float(np.clip(found[0], -FARTHEST_TURN, FARTHEST_TURN))


def specimen_place(angles_deg: tuple[float, ...], y: Values) -> tuple[float, float]:
    """Place (Y, Z) of a specimen whose curve is nearest to positions, next to a constant offset."""
    columns = np.column_stack([specimen_columns(angles_deg), np.ones(len(y))])
    found = np.linalg.lstsq(columns, y, rcond=None)[0]
    # a constant and Y cos(tilt) are nearly the same: where shifts are large the constant goes first
    spread = float(((y - columns @ found) ** 2).mean())
    ridge = len(y) * spread / FRAME**2 * np.diag([1.0, 1.0, 0.0])
    found = np.linalg.solve(columns.T @ columns + ridge + 1e-9 * np.eye(3), columns.T @ y)
    return float(found[0]), float(found[1])


def specimen_curve(angles_deg: tuple[float, ...], middle: tuple[float, float]) -> Values:
    """Places across the axis of a specimen at (Y, Z), (angle,)."""
    curve: Values = (specimen_columns(angles_deg) * middle).sum(axis=1)
    return curve


def specimen_columns(angles_deg: tuple[float, ...]) -> Values:
    """Return how the places of a specimen go with its own place (Y, Z), (angle, 2)."""
    tilts = np.deg2rad(angles_deg)
    return np.stack([np.cos(tilts), -np.sin(tilts)], axis=1)


def across_axis(shifts: Values, rotation_deg: float) -> Values:
    """Shifts across and along the tilt axis of recorded ones, (angle, (y, x))."""
    turn = np.deg2rad(rotation_deg)
    cosine, sine = np.cos(turn), np.sin(turn)
    y, x = shifts.T
    return np.stack([y * cosine - x * sine, x * cosine + y * sine], axis=1)


def in_image(own: Values, rotation_deg: float) -> Values:
    """Inverse of :func:`across_axis`."""
    return across_axis(own, -rotation_deg)
