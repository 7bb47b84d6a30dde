"""Where the images of a tilt series lie: shifts, tilt axis and rotation, found from the data.

Nothing is resampled: every step changes the placement that the projector carries.

1.  Of a specimen that vacuum surrounds, the centre of mass of each HAADF image is that of the
    projected specimen, (Y cos(tilt) - Z sin(tilt), X), turned and shifted. Of one that fills the
    field, each image is correlated with its neighbour.
2.  Projection matching: the least-squares volume of the images as placed is projected, and each
    image moved by the shift that fits it best, to first order in the model's slope; until no image
    moves. The model is noiseless compared with the image, and no level or gain of a tilt matters.
3.  The rotation begins with the least residual of a few, and follows from how each image is turned
    against its model: the part that is alike at all tilts is the axis, the one that goes with
    cos(tilt) the specimen. No residual of interpolated images decides, which smoothed noise lowers.
4.  The sum of the maps that fits the projected HAADF volume best is matched to it in the same way,
    then all elements together to the projections of a fused reconstruction, by their likelihood.

Shifts are known but for a shift of the specimen, (Y cos - Z sin, X): the one is taken that moves
the maps least.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .device import CPU
from .errors import BadInput
from .geometry import Placement, TiltGeometry
from .metrics.vacuum import estimate_vacuum
from .moves import (
    FARTHEST_STEP,
    across_axis,
    axis_turn,
    centres_of_mass,
    correlated_shift,
    in_image,
    leaps,
    moves_against,
    slopes_of,
    specimen_columns,
    specimen_curve,
    specimen_place,
)
from .projection import SparseProjector
from .result import PRIOR_POWER
from .settings import SolverSettings, newest_settings
from .solver import reconstruct
from .solver.haadf_moments import inverted
from .solver.least_squares import non_negative
from .solver.normalisation import with_backgrounds
from .tiltseries import TiltSeries

Array = NDArray[np.float32]
Values = NDArray[np.float64]
Good = NDArray[np.bool_]

FEWEST_TILTS, LEAST_RANGE = 5, 30.0  # of HAADF; degrees
SMALLEST_IMAGE = 8  # pixels per edge
ROUNDS = 40  # of projection matching, at most
SETTLED = 0.005  # pixels: no image moves farther
IN_PLACE, UNTURNED = 0.5, 0.5  # pixels and degrees that may be noise, if they fit no better
WORSE = 1.001  # times the residual as recorded, above which images fit worse
TRUSTED = 0.1  # pixels: a last step above this has not converged
STEPS = 12  # conjugate gradients of a volume: more follow the noise
ISOLATED = 0.15  # signal at the edges, as a part of the largest: above it no vacuum surrounds
TURNS = (-6.0, -3.0, 0.013, 3.0, 6.0)  # degrees tried first; at 0 exactly nothing is interpolated
MOST_TURN = 12.0  # degrees: a holder's axis is nearer to x
SMALLEST_TURN = 0.01  # degrees: at none at all images would not be interpolated
QUICK_ROUNDS = 2  # of matching for each rotation tried
SMOOTH = 1.0  # pixels: the maps are noisy
SOLVES, SOLVE_ITERATIONS, ELEMENT_ROUNDS = 2, 60, 6  # of the match of every element
LEAST = 0.02  # expected counts of a pixel
NOISE_WIDTH = 1.5  # pixels over which the mean count stands for the variance
LARGE = 96  # pixels: larger images are aligned on a grid twice as coarse first


@dataclass(frozen=True)
class Alignment:
    """A series with the placement of its images, and how it was found.

    Parameters
    ----------
    series : the same counts, with shifts, axis offset and rotation.
    steps : largest move of an image in each round of matching, pixels.
    map_step : largest last move of a map, pixels; 0 without maps to move.
    residual_before, residual_after : part of the HAADF signal that its least-squares volume leaves
        unexplained, as recorded and as placed.
    notes : what was assumed, for people.
    """

    series: TiltSeries
    steps: tuple[float, ...]
    map_step: float
    residual_before: float
    residual_after: float
    notes: tuple[str, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether the last images moved by less than a tenth of a pixel, and fit better."""
        settled = (self.steps or (0.0,))[-1] <= TRUSTED and self.map_step <= TRUSTED
        return settled and self.residual_after <= WORSE * self.residual_before

    @property
    def reason(self) -> str:
        """Why it did not converge; empty if it did."""
        if self.converged:
            return ""
        if self.residual_after > WORSE * self.residual_before:
            return (
                f"the images fit worse than as recorded (unexplained "
                f"{self.residual_before:.3g} → {self.residual_after:.3g} of the signal)"
            )
        return f"images still move by {max(self.steps[-1], self.map_step):.2f} pixels"


@dataclass(frozen=True)
class _Images:
    """HAADF signal without vacuum, its tilts and where the images are placed so far."""

    signal: Array
    angles_deg: tuple[float, ...]
    shifts: Values  # (angle, (y, x)), axis offset included
    rotation_deg: float
    clear: Good  # images that vacuum surrounds; none where the specimen fills the field
    steps: tuple[float, ...] = ()

    @property
    def placement(self) -> Placement:
        """Where the images lie, as a geometry takes it."""
        return _placement(self.shifts, self.rotation_deg)

    @property
    def projector(self) -> SparseProjector:
        """The projector of these images."""
        height = self.signal.shape[1]
        return SparseProjector(TiltGeometry(self.angles_deg, (height, height), self.placement))


def align(series: TiltSeries, report: Callable[[str], None] | None = None) -> Alignment:
    """Find where the images of a tilt series lie.

    Parameters
    ----------
    series : measured counts; shifts that it has are found anew.
    report : called with a line about what is done next.

    Returns
    -------
    Alignment : of HAADF and maps; a tilt that a mask leaves out as a whole is left out.

    Raises
    ------
    BadInput : fewer HAADF tilts than a volume needs, or images without signal.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> from dataclasses import replace
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=16), ta.Acquisition(haadf_tilts=15))
    >>> found = align(series)
    >>> len(found.series.haadf_placement.shifts), found.steps[-1] < 1
    (15, True)
    """
    series = series.with_seen_tilts()
    _check(series)
    seen = series.filled()
    signal, clear = _signal(seen)
    isolated = bool(clear.any())
    start = np.zeros((len(signal), 2))
    images = _Images(signal, seen.haadf_angles_deg, start, TURNS[2], clear)
    before = _residual(images)
    cropped = f"{int((~clear).sum())} of {len(clear)} {CROPPED}"
    notes = [] if clear.all() else [cropped if isolated else NOT_ISOLATED]
    say = report or (lambda _: None)
    say("shifts and rotation of the HAADF images")
    recorded, images = images, _coarse_to_fine(images)
    mended, after = True, _residual(images)
    if after >= before and _small(recorded, images):
        mended, after = False, before
        notes.append(NOTHING_TO_MEND)
    elif after > WORSE * before:
        leapt, alone = (recorded, before) if isolated else _without_leaps(recorded, before)
        if alone < before:
            images, after = leapt, alone
            notes.append(LEAPT)
        else:
            mended = False
            notes.append(NO_BETTER)
    if not mended:
        images = replace(recorded, rotation_deg=0.0, steps=images.steps)
    say("shifts of the maps")
    maps, map_step = _matched_maps(seen, images)
    if min(seen.haadf.shape[1:]) <= LARGE and images.steps[-1] <= TRUSTED:
        say("shifts of the maps, by the elements that they show")
        maps, map_step = _by_elements(seen, images, maps)
    if map_step > TRUSTED and (together := _recorded_together(seen, images)) is not None:
        notes.append(TOGETHER)
        maps, map_step = together, 0.0
    haadf_shifts, map_shifts = _kept_frame(seen, images, maps)
    placed = replace(
        series,
        haadf_placement=_placed(haadf_shifts, images.rotation_deg),
        chemical_placement=_placed(map_shifts, images.rotation_deg),
    )
    return Alignment(placed, images.steps, map_step, before, after, tuple(notes))


def unsteadiness(series: TiltSeries) -> tuple[float, float] | None:
    """Measure how far the HAADF images lie from where one specimen would put them.

    Parameters
    ----------
    series : measured counts, and where its images lie as far as that is known.

    Returns
    -------
    (across, along) : the tilt axis, root mean squares of the centres of mass, pixels; None where no
        vacuum surrounds the specimen, or there are too few tilts.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=24), ta.Acquisition(haadf_tilts=15))
    >>> max(unsteadiness(series)) < 0.2
    True
    """
    seen = series.filled()
    if len(seen.haadf) < FEWEST_TILTS or min(seen.haadf.shape[1:]) < SMALLEST_IMAGE:
        return None
    signal, clear = _signal(seen)
    if clear.sum() < FEWEST_TILTS:
        return None
    placement = seen.haadf_placement
    own = across_axis(centres_of_mass(signal), placement.rotation_deg)
    for i in range(len(own)):
        own[i] -= placement.across(i), placement.along(i)
    own = own[clear]
    places = specimen_columns(seen.haadf_angles_deg)[clear]
    columns = np.column_stack([places, np.ones(len(own))])
    across = own[:, 0] - columns @ np.linalg.lstsq(columns, own[:, 0], rcond=None)[0]
    return float(across.std()), float(own[:, 1].std())


def can_be_aligned(angles_deg: Sequence[float]) -> bool:
    """Whether HAADF tilts are enough, and far enough apart, to place their images.

    Parameters
    ----------
    angles_deg : of the HAADF images.
    """
    return len(angles_deg) >= FEWEST_TILTS and max(angles_deg) - min(angles_deg) >= LEAST_RANGE


def _check(series: TiltSeries) -> None:
    angles = series.haadf_angles_deg
    if not can_be_aligned(angles):
        raise BadInput(
            "too few HAADF tilts to align by",
            key="haadf/angles_deg",
            value=len(angles),
            accepted=f"{FEWEST_TILTS} or more over {LEAST_RANGE:g} degrees or more",
        )
    if min(series.haadf.shape[1:]) < SMALLEST_IMAGE or series.haadf.max() <= series.haadf.min():
        raise BadInput(
            "nothing to align by",
            key="haadf/projections",
            value=series.haadf.shape,
            accepted=f"images of a specimen, {SMALLEST_IMAGE} pixels or more per edge",
        )


NOTHING_TO_MEND = "nothing to mend: the HAADF images fit as they were recorded"
NO_BETTER = "left as they were recorded: no placement of the HAADF images fits better"
LEAPT = "moved back: images that lie elsewhere than both of their neighbours; the others stay"
TOGETHER = "the maps did not settle: placed like the HAADF images of the same tilts"
CROPPED = "HAADF images reach one edge of the field: cropped, and placed by what is in view"
NOT_ISOLATED = (
    "the specimen reaches the edges of the images: matter that enters and leaves the field is not "
    "told from shifts"
)


def _recorded_together(series: TiltSeries, images: _Images) -> Values | None:
    """Shifts of the HAADF images at the tilts of the maps; None if the tilts are others."""
    places = dict(zip(images.angles_deg, images.shifts, strict=True))
    if not set(series.chemical_angles_deg) <= set(places):
        return None
    return np.array([places[angle] for angle in series.chemical_angles_deg])


def _small(recorded: _Images, found: _Images) -> bool:
    """Whether the moves that were found may be noise."""
    moves = float(np.sqrt((_without_specimen(recorded, found.shifts) ** 2).mean()))
    return moves <= IN_PLACE and abs(found.rotation_deg) <= UNTURNED


def _signal(series: TiltSeries) -> tuple[Array, Good]:
    """HAADF above its vacuum, and which images vacuum surrounds."""
    vacuum = estimate_vacuum(series.haadf, series.haadf_angles_deg, film=True)
    if vacuum.is_seen:
        levels = vacuum.at(series.haadf_angles_deg)
    else:
        levels = np.quantile(series.haadf, 0.02, axis=(1, 2))
    signal = (series.haadf - levels[:, None, None]).astype(np.float32)
    return signal, _clear(signal)


def _clear(signal: Array) -> Good:
    """Images that vacuum surrounds, (angle,); none of a specimen as wide as the field.

    One that is only shifted far reaches one of two opposite edges, and not in most images.
    """
    faces = [signal[:, :2], signal[:, -2:], signal[:, :, :2], signal[:, :, -2:]]
    top = float(np.quantile(signal, 0.99))
    down, up, left, right = (face.mean(axis=(1, 2)) > ISOLATED * top for face in faces)
    clear: Good = ~(down | up | left | right)
    wide = bool(((down & up) | (left & right)).any())
    return clear & (not wide and clear.sum() > max(FEWEST_TILTS, len(signal) / 2))


def _coarse_to_fine(images: _Images) -> _Images:
    """Align, on a grid twice as coarse first where images are large."""
    if min(images.signal.shape[1:]) <= LARGE:
        return _turned(images)
    binned = _coarse_to_fine(_binned(images))
    start = replace(images, shifts=2.0 * binned.shifts, rotation_deg=binned.rotation_deg)
    return _matched(start, ROUNDS)


def _binned(images: _Images) -> _Images:
    angles, y, x = images.signal.shape
    even = images.signal[:, : y // 2 * 2, : x // 2 * 2]
    coarse = even.reshape(angles, y // 2, 2, x // 2, 2).mean(axis=(2, 4))
    return replace(images, signal=np.ascontiguousarray(coarse), shifts=images.shifts / 2)


def _turned(images: _Images) -> _Images:
    """Find the rotation: the nearest of a few by its residual, then together with the shifts."""
    turned = [replace(images, rotation_deg=turn) for turn in TURNS]
    tried = [replace(each, shifts=_by_mass(each)) for each in turned if images.clear.any()]
    if not images.clear.all():
        tried += [replace(each, shifts=_by_neighbours(each)) for each in turned]
    if not images.clear.any():  # where they are may be better than what neighbours say
        tried += turned
    best = min((_matched(each, QUICK_ROUNDS) for each in tried), key=_residual)
    found = _matched(best, ROUNDS, turning=True)
    if images.clear.all() and abs(found.rotation_deg) < MOST_TURN:
        return found
    # where matter enters and leaves the field it can look like a rotation
    still = _matched(replace(best, steps=()), ROUNDS)
    return min(still, found, key=_residual)


def _by_mass(images: _Images) -> Values:
    """Shifts that bring every centre of mass to that of one specimen.

    That of a cropped image lies too near the middle, which matching makes good.
    """
    # in the frame of the axis; there y is Y cos - Z sin + offset, x is X
    y, x = across_axis(centres_of_mass(images.signal), images.rotation_deg).T.copy()
    clear, angles = images.clear, np.asarray(images.angles_deg)
    curve = specimen_curve(images.angles_deg, specimen_place(tuple(angles[clear]), y[clear]))
    return in_image(np.stack([y - curve, x - x[clear].mean()], axis=1), images.rotation_deg)


def _by_neighbours(images: _Images) -> Values:
    """Chain of shifts between neighbouring tilts, from the lowest tilt outwards."""
    order = np.argsort(images.angles_deg, kind="stable")
    signal = images.signal[order]
    steps = [correlated_shift(before, after) for before, after in itertools.pairwise(signal)]
    chain = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    middle = int(np.argmin(np.abs(np.asarray(images.angles_deg)[order])))
    shifts = np.empty_like(chain)
    shifts[order] = chain - chain[middle]
    return shifts


def _without_leaps(images: _Images, unexplained: float) -> tuple[_Images, float]:
    """Move back the images that leapt, and no other: the rounds of matching that fit best.

    Returns them with what they leave unexplained; where none leapt those given, with theirs.
    """
    shifts = leaps(images.signal, images.angles_deg)
    leapt = np.abs(shifts).max(axis=1, keepdims=True) > 0
    if not leapt.any():
        return images, unexplained
    tried = best = replace(images, rotation_deg=0.0, shifts=shifts)
    least = _residual(best)
    for _ in range(QUICK_ROUNDS):
        moves = moves_against(tried.signal, _models(tried), tried.shifts)[:, :2] * leapt
        steps = (*tried.steps, float(np.abs(moves).max()))
        tried = replace(tried, shifts=tried.shifts + moves, steps=steps)
        best, least = min((best, least), (tried, _residual(tried)), key=itemgetter(1))
    return replace(best, steps=tried.steps), least


def _matched(images: _Images, rounds: int, turning: bool = False) -> _Images:
    """Match images to the projections of their volume, until they stay or the rounds are over."""
    for _ in range(rounds):
        moves = moves_against(images.signal, _models(images), images.shifts)
        turn = axis_turn(images.angles_deg, moves[:, 2]) if turning else 0.0
        moves = _without_specimen(images, moves[:, :2])
        moved = max(float(np.abs(moves).max()), abs(turn) * min(images.signal.shape[1:]) / 2)
        rotation = images.rotation_deg + float(np.rad2deg(turn))
        if abs(rotation) < SMALLEST_TURN:
            rotation = SMALLEST_TURN
        rotation = float(np.clip(rotation, -MOST_TURN, MOST_TURN))
        steps = (*images.steps, moved)
        images = replace(images, shifts=images.shifts + moves, rotation_deg=rotation, steps=steps)
        if moved <= SETTLED:
            break
    return images


def _volume(images: _Images, projector: SparseProjector) -> Array:
    """Least-squares volume of the images, without its negative values."""
    return np.maximum(inverted(CPU, projector, images.signal, STEPS), 0)


def _models(images: _Images) -> Array:
    """Project the volume of the images."""
    projector = images.projector
    return projector.forward(_volume(images, projector))


def _residual(images: _Images) -> float:
    """Part of the signal that the volume leaves unexplained."""
    left = images.signal - _models(images)
    whole = float(np.linalg.norm(images.signal))
    return float(np.linalg.norm(left)) / max(whole, 1e-30)


def _without_specimen(images: _Images, moves: Values) -> Values:
    """Moves less the part that only shifts the specimen."""
    own = across_axis(moves, images.rotation_deg)
    columns = specimen_columns(images.angles_deg)
    found = np.linalg.lstsq(columns, own[:, 0], rcond=None)[0]
    own[:, 0] -= columns @ found
    own[:, 1] -= own[:, 1].mean()
    return in_image(own, images.rotation_deg)


def _matched_maps(series: TiltSeries, images: _Images) -> tuple[Values, float]:
    """Shifts of the maps against the HAADF volume, (angle, (y, x)), and their last step."""
    volume = _volume(images, images.projector)
    angles, height = series.chemical_angles_deg, images.signal.shape[1]
    levels = np.asarray(series.chemical_background, np.float32)[:, None, None, None]
    maps = series.chemical - levels

    def models(shifts: Values) -> Array:
        placement = _placement(shifts, images.rotation_deg)
        geometry = TiltGeometry(angles, (height, height), placement)
        return SparseProjector(geometry).forward(volume)

    wide = (0, 0, NOISE_WIDTH, NOISE_WIDTH)
    variances = ndimage.gaussian_filter(series.chemical.astype(np.float64), wide) + 1e-6
    shifts = np.zeros((len(angles), 2))
    prior = np.asarray(series.atomic_numbers, np.float64) ** PRIOR_POWER
    summed = np.tensordot(prior, maps, 1)
    smooth = ndimage.gaussian_filter(summed, (0, SMOOTH, SMOOTH))
    alone = bool(images.clear.any())
    rough = [correlated_shift(m, s, alone) for m, s in zip(models(shifts), smooth, strict=True)]
    shifts, moved = shifts + np.array(rough), 0.0
    for _ in range(ROUNDS):
        model = models(shifts)
        factors = _factors(maps, model)
        summed, noise = np.tensordot(factors, maps, 1), np.tensordot(factors**2, variances, 1)
        moves = moves_against(summed, model, shifts, noise)[:, :2]
        shifts, moved = shifts + moves, float(np.abs(moves).max())
        if moved <= SETTLED:
            break
    return shifts, moved


def _by_elements(series: TiltSeries, images: _Images, maps: Values) -> tuple[Values, float]:
    """Match the maps to the projections of every element, where noise allows more than their sum.

    The volumes are a fused reconstruction's: HAADF has given them the structure that the counts of
    the maps alone hardly show.
    """
    rotation, step = images.rotation_deg, 0.0
    for _ in range(SOLVES):
        placed = replace(
            series,
            haadf_placement=images.placement,
            chemical_placement=_placement(maps, rotation),
        )
        try:
            volumes = reconstruct(placed, settings=_quick()).volumes
        except BadInput:  # HAADF and maps that contradict each other: the sum has to do
            return maps, step
        known = with_backgrounds(placed)
        for _ in range(ELEMENT_ROUNDS):
            placement = _placement(maps, rotation)
            geometry = replace(placed.chemical_geometry(), placement=placement)
            rays = SparseProjector(geometry).forward(volumes)
            moves = np.array([_joint_move(known, rays, i, maps[i]) for i in range(len(maps))])
            maps, step = maps + moves, float(np.abs(moves).max())
            if step <= SETTLED:
                break
    return maps, step


def _quick() -> SolverSettings:
    return newest_settings().model_copy(update={"max_iterations": SOLVE_ITERATIONS, "film": True})


def _joint_move(series: TiltSeries, rays: Array, tilt: int, shift: Values) -> Values:
    """Move (y, x) of the maps of a tilt that makes the counts of all elements most likely."""
    inner = (slice(2, -2), slice(2, -2))
    gram, right = np.zeros((2, 2)), np.zeros(2)
    channels = zip(series.chemical[:, tilt], rays[:, tilt], series.chemical_background, strict=True)
    for counts, model, level in channels:
        signal = model[inner].astype(np.float64)
        data = counts[inner].astype(np.float64)
        total = float(signal.sum())
        if total <= 0:
            continue
        scale = max(float((data - level).sum()), 0.0) / total
        expected = np.maximum(scale * signal + level, LEAST)
        slopes = scale * slopes_of(model, shift)[:2, *inner].reshape(2, -1)
        weight = (1.0 / expected).ravel()
        gram += (slopes * weight) @ slopes.T
        right += (slopes * weight) @ (data - expected).ravel()
    gram[np.diag_indices(2)] += 1e-9 * np.diag(gram) + 1e-30
    step: Values = np.clip(np.linalg.solve(gram, right), -FARTHEST_STEP, FARTHEST_STEP)
    return step


def _factors(maps: Array, model: Array) -> Values:
    """Non-negative factors of the maps whose sum is nearest to a model, (element,)."""
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    target = model.ravel().astype(np.float64)
    return non_negative(flat @ flat.T, flat @ (target - target.mean()))


def _kept_frame(series: TiltSeries, images: _Images, maps: Values) -> tuple[Values, Values]:
    """Shift the specimen so that the maps are moved least; returns shifts of both modalities."""
    own, rotation = across_axis(maps, images.rotation_deg), images.rotation_deg
    middle, x = specimen_place(series.chemical_angles_deg, own[:, 0]), own[:, 1].mean()

    def without(shifts: Values, angles_deg: tuple[float, ...]) -> Values:
        turned = across_axis(shifts, rotation) - np.stack(
            [specimen_curve(angles_deg, middle), np.full(len(angles_deg), x)], axis=1
        )
        return in_image(turned, rotation)

    return (
        without(images.shifts, series.haadf_angles_deg),
        without(maps, series.chemical_angles_deg),
    )


def _placed(shifts: Values, rotation_deg: float) -> Placement:
    """Placement with the median shift across the axis as its offset."""
    offset = float(np.median(shifts[:, 0])) if len(shifts) else 0.0
    return _placement(shifts - [offset, 0.0], rotation_deg, offset)


def _placement(shifts: Values, rotation_deg: float, offset: float = 0.0) -> Placement:
    return Placement(tuple((float(y), float(x)) for y, x in shifts), offset, rotation_deg)
