"""The acquisition to choose for a specimen and a dose: how many tilts and maps, and how the dose is
shared between them, found by trials of that very specimen.

A small factorial design over dose, maps, HAADF tilts and HAADF's share is solved once per cell with
weights that fit every dose, and gives a response surface (:mod:`tomoatlas.analysis.surface`). Its
best acquisition is then repeated on specimens and noise of other seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from ..phantoms.dose import ANGSTROM_PER_NM
from ..recon_core.errors import BadInput, Trouble
from ..recon_core.methods import Method, Weights, default_weights
from ..sweep.search.context import SPECIMEN_SEED
from ..sweep.study import Study, Task
from ..sweep.study.axes import NOISE_SEED
from ..sweep.study.specimens import exposure, outline, voxel_size
from ..sweep.study.trial import Cell, TrialResult, TrialStatus
from .style import CHEMICAL_TILTS, HAADF_TILTS
from .surface import Choice, Expected, Surface, at_edges, edge_notes, interval

Values = NDArray[np.float64]
Evaluate = Callable[[Sequence[Task]], Sequence[TrialResult]]
"""Evaluates trials and returns their results in the same order."""

ALONE: dict[str, Any] = {HAADF_TILTS: 0, "acquisition.chemical_subset": False}
"""Maps without HAADF, whose tilts they may have been among."""
LOWEST, HIGHEST = "acquisition.tilt_range_deg.0", "acquisition.tilt_range_deg.1"

DOSES = (0.25, 1.0, 4.0)
"""Factors on the dose that is asked about: the front of dose and accuracy needs both sides."""
MAPS = (4, 7, 12, 20)
IMAGES = (15, 31, 61)
SHARES = (0.05, 0.2)
NEAR = 0.01
"""Relative difference in NRMSE that is not worth a tilt."""
MARGIN = 0.05
"""By which the surface has to promise more than a target: repetitions must not miss it."""
HAADF_FACTORS, TV_FACTORS = (0.3, 1.0, 3.0), (0.6, 1.0, 1.6)
TV_ALONE = (0.6, 1.6)
SEEDS = 20
"""Specimens that the choice is repeated on."""
FIRST_SEED = 1_000_001
"""Far from the seeds that people choose: none of them is the specimen that the search has seen."""
PAIRED = 3
"""Of them, those on which an alternative is tried as well."""
MOST_TRIALS = (
    len(DOSES) * len(MAPS) * len(IMAGES) * len(SHARES)
    + len(HAADF_FACTORS) * len(TV_FACTORS)
    + len(TV_ALONE) * (len(MAPS) + 1)
    + SEEDS
    + 2 * PAIRED
)
"""Of a plan: of the design, of weights, of the maps alone, and on other seeds."""
WIDER_DEG, WIDEST_DEG = 10.0, 80.0
UNRELATED = math.sqrt(2)
"""NRMSE of volumes that have nothing in common."""
SETTLING_S = 120.0
"""Of a tilt beside its exposure: tilting, tracking and focusing."""


@dataclass(frozen=True)
class Limits:
    """What an acquisition may take.

    Parameters
    ----------
    target_nrmse : the accuracy that is wanted; None for the best.
    max_tilts : HAADF images and chemical maps together; None for any number.
    max_hours : of beam time; None for any.
    current_pA : of the probe, which decides how long a dose takes.
    elements : those whose accuracy counts; None for all.
    """

    target_nrmse: float | None = None
    max_tilts: int | None = None
    max_hours: float | None = None
    current_pA: float = 100.0
    elements: tuple[str, ...] | None = None


def check_limits(limits: Limits, dose: float | None) -> None:
    """Check the numbers of a question, whoever answers it.

    Parameters
    ----------
    limits : what an acquisition may take.
    dose : e/Å²; None where any will do.

    Raises
    ------
    BadInput : a number that is not above 0, or without end; a target that everything reaches.
    """
    numbers = {
        "--target-nrmse": limits.target_nrmse,
        "--max-tilts": limits.max_tilts,
        "--max-hours": limits.max_hours,
        "--current": limits.current_pA,
        "--dose": dose,
    }
    for option, value in numbers.items():
        if value is not None and not 0 < value < math.inf:
            raise BadInput("out of range", key=option, value=value, accepted="> 0")
    if limits.target_nrmse is not None and limits.target_nrmse >= UNRELATED:
        accepted = f"below {UNRELATED:.3g}, the NRMSE of volumes that have nothing in common"
        raise BadInput(
            "no accuracy", key="--target-nrmse", value=limits.target_nrmse, accepted=accepted
        )


class Change(NamedTuple):
    """What else would help, and its factor on the NRMSE, below 1 where it helps."""

    what: str
    factor: float


@dataclass(frozen=True)
class Plan:
    """The acquisition to choose, and what to expect of it.

    Parameters
    ----------
    choice : the acquisition.
    weights : to reconstruct with.
    expected : of the mean over the elements.
    by_element : of each.
    chemistry_alone : NRMSE by the maps alone with all of the dose, over that of the choice.
    changes : what else would help, the most first.
    front : dose and the best NRMSE that is expected of it.
    surface : what trials of the specimen let one expect anywhere.
    snr : of every channel.
    dwell_us : of a pixel of each modality.
    hours : of beam time.
    reached : whether the target is; None without one.
    trials : number of trials that this is from.
    assumed : in words, one sentence each.
    range_of_maps : fewest and most that were tried.
    edges : what of the choice is the least or the most that was tried, in words.
    """

    choice: Choice
    weights: Weights
    expected: Expected
    by_element: Mapping[str, Expected]
    chemistry_alone: float
    changes: tuple[Change, ...]
    front: tuple[tuple[float, float], ...]
    surface: Surface
    snr: Mapping[str, float]
    dwell_us: Mapping[str, float]
    hours: float
    reached: bool | None
    trials: int
    assumed: tuple[str, ...] = ()
    range_of_maps: tuple[int, int] = (MAPS[0], MAPS[-1])
    edges: tuple[str, ...] = ()


@dataclass
class _Bench:
    """Trials of one study at acquisitions, seeds and weights of one's own, and how many by now."""

    study: Study
    limits: Limits
    evaluate: Evaluate
    say: Callable[[str], None]
    trials: int = 0

    def scores(self, asked: Sequence[tuple[Mapping[str, Any], Method, Weights]]) -> Values:
        """NRMSE of each counting element, (n, element); NaN where a trial has no result."""
        tasks = [self._task(i, *each) for i, each in enumerate(asked)]
        self.trials += len(tasks)
        names = self.names()
        none = dict.fromkeys(names, math.nan)
        found = [
            r.nrmse_by_element if r.status is TrialStatus.OK else none for r in self.evaluate(tasks)
        ]
        return np.array([[row[name] for name in names] for row in found]).reshape(-1, len(names))

    def _task(
        self, number: int, values: Mapping[str, Any], method: Method, weights: Weights
    ) -> Task:
        # axes of one value each, so that the study validates what is put in
        axes = {path: (value,) for path, value in values.items()}
        study = self.study.model_copy(update={"axes": axes})
        at = study.at(Cell(number, tuple(values.items())))
        return at, replace(at.trial(Cell(0), method, number, weights), cell=Cell(number))

    def names(self) -> tuple[str, ...]:
        """Elements whose NRMSE counts."""
        return self.limits.elements or outline(self.study.specimen).elements


@dataclass(frozen=True)
class _Beam:
    """What makes times of doses: electrons per second, area of a pixel in Å², pixels of a tilt."""

    current: float
    area: float
    pixels: int

    @classmethod
    def of(cls, study: Study, limits: Limits) -> _Beam:
        """Once for all acquisitions: it asks the specimen, which may be a file."""
        _, height, width = outline(study.specimen).shape
        area = (voxel_size(study.specimen) * ANGSTROM_PER_NM) ** 2
        return cls(limits.current_pA * 1e-12 / constants.e, area, height * width)

    def dwell_us(self, choice: Choice) -> dict[str, float]:
        """Dwell time of a pixel of the data in each modality, µs."""
        shares = {
            "haadf": (choice.share, choice.images),
            "chemical": (1 - choice.share, choice.maps),
        }
        return {
            name: choice.dose * share / tilts * self.area / self.current * 1e6
            for name, (share, tilts) in shares.items()
        }

    def hours(self, choice: Choice) -> float:
        """Beam time of an acquisition: exposures, and two minutes for each tilt."""
        dwell = self.dwell_us(choice)
        exposed = dwell["haadf"] * choice.images + dwell["chemical"] * choice.maps
        settling = SETTLING_S * (choice.images + choice.maps)
        return (exposed * 1e-6 * self.pixels + settling) / 3600


def planned(
    study: Study, limits: Limits, evaluate: Evaluate, say: Callable[[str], None] | None = None
) -> Plan:
    """Find the acquisition to choose by trials of a specimen.

    Parameters
    ----------
    study : of one condition: specimen, dose, counts per electron, tilt range and contrast.
    limits : what the acquisition may take.
    evaluate : evaluates trials.
    say : called with a line on what comes next.

    Raises
    ------
    BadInput : no dose; limits that leave nothing, elements of another specimen.
    Trouble : hardly any trial has a result.
    """
    bench = _Bench(study, limits, evaluate, say or (lambda _: None))
    check_question(study, limits)
    usual = default_weights(study.solver.noise, study.solver.units)
    design = list(_design(study, limits))
    bench.say(f"{len(design)} trials over dose, maps, HAADF tilts and share")
    found = bench.scores([(each.values(), Method.FUSED, usual) for each in design])
    surface = Surface.fitted(design, found.mean(axis=1))
    beam = _Beam.of(study, limits)
    choice = _chosen(study, beam, limits, surface, design)
    weights, alone = _tuned(bench, choice, usual)
    bench.say(f"{SEEDS + 2 * PAIRED} trials of specimens and noise of other seeds")
    again = _repeated(bench, choice, weights, alone)
    expected = interval(again.scores.mean(axis=1))
    return Plan(
        choice,
        weights,
        expected,
        {name: interval(again.scores[:, i]) for i, name in enumerate(bench.names())},
        again.alone,
        _changes(study, surface, choice, again.wider),
        _front(beam, limits, surface, design),
        surface,
        _snr(study, choice),
        beam.dwell_us(choice),
        beam.hours(choice),
        None if limits.target_nrmse is None else expected.nrmse <= limits.target_nrmse,
        bench.trials,
        (*_assumed(study, limits), *edge_notes(choice, design)),
        (min(each.maps for each in design), max(each.maps for each in design)),
        at_edges(choice, design),
    )


def check_question(study: Study, limits: Limits) -> None:
    """Check what :func:`planned` is asked, before anything is run.

    Parameters
    ----------
    study, limits : as :func:`planned` takes them.

    Raises
    ------
    BadInput : no dose, limits that leave nothing, elements of another specimen.
    """
    if study.acquisition.dose_e_per_A2 is None:
        raise BadInput("missing", key="--dose", accepted="e/Å² of all images and maps together")
    known = outline(study.specimen).elements
    wrong = [name for name in limits.elements or () if name not in known]
    if wrong or limits.elements == ():
        raise BadInput(
            "not in the specimen", key="--elements", value=wrong, accepted=", ".join(known)
        )
    check_limits(limits, study.acquisition.dose_e_per_A2)
    _doses(study, _Beam.of(study, limits), limits, list(_design(study, limits)))


def _design(study: Study, limits: Limits) -> Iterator[Choice]:
    """The cells of the small search: levels of tilts that the limits leave, or those nearest."""
    most = limits.max_tilts or 10_000
    if most < MAPS[0] + MAPS[1]:
        accepted = f">= {MAPS[0] + MAPS[1]}, of which {MAPS[0]} are maps"
        raise BadInput("too few", key="--max-tilts", value=most, accepted=accepted)
    maps = sorted({min(n, most // 2) for n in MAPS})
    images = sorted({min(n, most - maps[0]) for n in IMAGES})
    dose = study.acquisition.dose_e_per_A2 or math.nan
    for factor, each, number, share in itertools.product(DOSES, maps, images, SHARES):
        # maps at HAADF tilts are no more than those
        if number >= each or not study.acquisition.chemical_subset:
            yield Choice(dose * factor, each, number, share)


def _chosen(
    study: Study, beam: _Beam, limits: Limits, surface: Surface, design: Sequence[Choice]
) -> Choice:
    """The best acquisition; with a target that is reached, that of the least dose."""
    for dose in _doses(study, beam, limits, design):
        best, nrmse = _best(beam, limits, surface, design, dose)
        if limits.target_nrmse is not None and nrmse <= limits.target_nrmse * (1 - MARGIN):
            break
    return best


def _doses(
    study: Study, beam: _Beam, limits: Limits, design: Sequence[Choice]
) -> tuple[float, ...]:
    """Doses to look at, the least first: with a target also smaller ones, if there is time for."""
    given = study.acquisition.dose_e_per_A2 or math.nan
    doses = [given] if limits.target_nrmse is None else np.geomspace(given / 4, given, 9).tolist()
    in_time = tuple(dose for dose in doses if _lattice(beam, limits, design, dose))
    if not in_time:
        maps, images = (min(getattr(c, name) for c in design) for name in ("maps", "images"))
        least = beam.hours(Choice(doses[0], maps, images, SHARES[0]))
        raise BadInput(
            "too short for this dose",
            key="--max-hours",
            value=limits.max_hours,
            accepted=f">= {math.ceil(least * 100) / 100:g}, a smaller --dose or a larger --current",
        )
    return in_time


def _lattice(beam: _Beam, limits: Limits, design: Sequence[Choice], dose: float) -> list[Choice]:
    """The acquisitions of a dose within the design that the limits leave."""
    maps, images = ([getattr(c, name) for c in design] for name in ("maps", "images"))
    subset = all(c.images >= c.maps for c in design)
    lattice = [
        Choice(dose, m, h, share)
        for m in range(min(maps), max(maps) + 1)
        for h in range(min(images), max(images) + 1, 2)
        for share in (0.05, 0.1, 0.2)
        if m + h <= (limits.max_tilts or m + h) and (h >= m or not subset)
    ]
    return [c for c in lattice if beam.hours(c) <= (limits.max_hours or math.inf)]


def _best(
    beam: _Beam, limits: Limits, surface: Surface, design: Sequence[Choice], dose: float
) -> tuple[Choice, float]:
    """The fewest tilts of those that are as good as the best at a dose, within the design."""
    lattice = _lattice(beam, limits, design, dose)
    found = surface.nrmse(lattice)
    as_good = [i for i in range(len(lattice)) if found[i] <= found.min() * (1 + NEAR)]
    # maps cost a tilt each as images do: the dose is the same
    least_tilts = min(as_good, key=lambda i: (lattice[i].maps + lattice[i].images, found[i]))
    return lattice[least_tilts], float(found[least_tilts])


def _tuned(
    bench: _Bench, choice: Choice, usual: Weights
) -> tuple[Weights, tuple[dict[str, Any], Weights]]:
    """The weights at the choice, and the best acquisition and weight of the maps alone."""
    pairs = [
        Weights(usual.haadf * h, usual.tv * w)
        for h, w in itertools.product(HAADF_FACTORS, TV_FACTORS)
    ]
    fused: list[tuple[Mapping[str, Any], Method, Weights]] = [
        (choice.values(), Method.FUSED, each) for each in pairs
    ]
    without = [
        ({**choice.values(), **ALONE, CHEMICAL_TILTS: n}, Weights(0.0, usual.tv * w))
        for n, w in itertools.product(sorted({choice.maps, *MAPS}), TV_ALONE)
    ]
    alone = [(values, Method.CHEMISTRY_TV, each) for values, each in without]
    bench.say(f"{len(fused) + len(alone)} trials of weights, and of the maps alone")
    found = bench.scores([*fused, *alone]).mean(axis=1)
    ours, theirs = found[: len(fused)], found[len(fused) :]
    if not np.isfinite(ours).any():
        raise Trouble("no trial of the chosen acquisition has a result")
    best = without[int(np.nanargmin(theirs))] if np.isfinite(theirs).any() else without[0]
    return pairs[int(np.nanargmin(ours))], best


@dataclass(frozen=True)
class _Repeated:
    """The choice on other seeds, (seed, element); by what alternatives multiply its NRMSE."""

    scores: Values
    alone: float
    wider: float


def _repeated(
    bench: _Bench, choice: Choice, weights: Weights, alone: tuple[dict[str, Any], Weights]
) -> _Repeated:
    seeds = [dict.fromkeys((SPECIMEN_SEED, NOISE_SEED), FIRST_SEED + i) for i in range(SEEDS)]
    wider = _wider(bench.study)
    asked = [({**choice.values(), **each}, Method.FUSED, weights) for each in seeds]
    for each in seeds[:PAIRED]:
        asked.append(({**alone[0], **each}, Method.CHEMISTRY_TV, alone[1]))
        asked.append(({**choice.values(), **each, **wider}, Method.FUSED, weights))
    found = bench.scores(asked)
    own, pairs = found[:SEEDS], found[SEEDS:].mean(axis=1).reshape(PAIRED, 2)
    # on the same specimens and noise: what specimens differ in cancels
    ratios = pairs / own[:PAIRED].mean(axis=1)[:, None]
    means = np.exp(np.log(ratios).mean(axis=0))
    return _Repeated(own, *(float(m) if np.isfinite(m) else math.inf for m in means))


def _wider(study: Study) -> dict[str, float]:
    """A range of tilts that is wider at both ends, as far as holders go."""
    low, high = study.acquisition.tilt_range_deg
    return {
        LOWEST: min(low, max(low - WIDER_DEG, -WIDEST_DEG)),
        HIGHEST: max(high, min(high + WIDER_DEG, WIDEST_DEG)),
    }


def _changes(study: Study, surface: Surface, choice: Choice, wider: float) -> tuple[Change, ...]:
    """What would help beside what was free to choose, the most first."""
    doubled = replace(choice, dose=2 * choice.dose)
    factor = float(np.divide(*surface.nrmse([doubled, choice])))
    low, high = _wider(study).values()
    found = [Change("twice the dose", factor), Change(f"tilts from {low:g}° to {high:g}°", wider)]
    return tuple(sorted(found, key=lambda change: change.factor))


def _front(
    beam: _Beam, limits: Limits, surface: Surface, design: Sequence[Choice]
) -> tuple[tuple[float, float], ...]:
    """Doses, and the best NRMSE that is expected of each."""
    doses = np.geomspace(design[0].dose, design[-1].dose, 9).tolist()
    unhurried = replace(limits, max_hours=None)
    return tuple((dose, _best(beam, unhurried, surface, design, dose)[1]) for dose in doses)


def _snr(study: Study, choice: Choice) -> dict[str, float]:
    """The SNR of every channel of an acquisition."""
    values = {key.removeprefix("acquisition."): value for key, value in choice.values().items()}
    shown = exposure(study.specimen, study.acquisition.model_copy(update=values))
    elements = outline(study.specimen).elements
    return {"HAADF": shown.haadf_snr, **dict(zip(elements, shown.snr_of(elements), strict=True))}


def _assumed(study: Study, limits: Limits) -> tuple[str, ...]:
    """What an answer rests on, one sentence each."""
    acquisition, scope = study.acquisition, study.acquisition.microscope
    low, high = acquisition.tilt_range_deg
    source = (
        "counts per electron are given"
        if scope is None
        else f"counts per electron are estimated for {scope.signal.upper()} at "
        f"{scope.voltage_kV:g} kV, right within a factor of 1.3 to 2.5"
    )
    faults = "with the disturbances given" if study.disturbances.active() else "without faults"
    return (
        f"tilts from {low:g}° to {high:g}°, HAADF contrast {acquisition.contrast}, {faults}",
        source,
        f"{study.specimen.size}³ voxels of {voxel_size(study.specimen):.3g} nm; "
        "on a finer grid every pixel has fewer counts",
        f"the probe has {limits.current_pA:g} pA, and a tilt takes {SETTLING_S / 60:g} minutes "
        "beside its exposure",
        f"the interval holds nine of ten specimens of this kind, and was measured on {SEEDS}",
    )
