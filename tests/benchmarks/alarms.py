"""False alarms and detections of the checks that ``reconstruct`` makes before it solves.

False alarms: every cell of four shipped studies, specimen and noise of several seeds, at 48³ where
the study's own size is larger. Detections: the same data with one fault planted. The
thresholds were set on the seeds 0 and 1. Run:

    python tests/benchmarks/alarms.py [SEEDS]
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from common import table
from scipy.ndimage import gaussian_filter

from tomoatlas.jobs import load_study
from tomoatlas.phantoms.acquire import simulate
from tomoatlas.recon_core.checks import check_series
from tomoatlas.recon_core.geometry import film_thickness
from tomoatlas.recon_core.tiltseries import TiltSeries
from tomoatlas.sweep.study import Study
from tomoatlas.sweep.study.specimens import build

STUDIES = ("quickstart", "fig4_nanocubes_64", "figs10_composite", "figs21_snr")
LARGEST = 48
FIRST_SEED, FIRST_PLANTED = 2, 100
PLANTED = {  # cells in which faults are planted: (HAADF tilts, chemical tilts) or SNRs
    "quickstart": ((35, 13), (9, 5)),
    "fig4_nanocubes_64": ((47, 9),),
    "figs10_composite": ((47, 9),),
    "figs21_snr": ((20, 3), (5, 1.5)),
}


def main() -> None:
    """Print both tables."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    table(("study", "series", "with a false alarm", "%", "kinds"), false_alarms(seeds))
    table(("fault", "series", "found", "%", "of them with other findings"), detections(4 * seeds))


def false_alarms(seeds: int) -> Iterator[tuple[object, ...]]:
    """One row per study, and their sum."""
    kinds: dict[str, Counter[str]] = {}
    counts: dict[str, tuple[int, int]] = {}
    for name in STUDIES:
        study, kinds[name] = load_study(name), Counter()
        found = [
            check_series(series_of(study, cell.values, seed))
            for cell in study.cells()
            for seed in range(FIRST_SEED, FIRST_SEED + seeds)
        ]
        kinds[name].update(finding.kind for findings in found for finding in findings)
        counts[name] = len(found), sum(map(bool, found))
        yield row(name, *counts[name], kinds[name])
    sums = [sum(values) for values in zip(*counts.values(), strict=True)]
    yield row("all", *sums, sum(kinds.values(), Counter()))


def row(name: str, series: int, alarms: int, kinds: Counter[str]) -> tuple[object, ...]:
    """A row of the first table."""
    named = ", ".join(f"{kind} {count}" for kind, count in kinds.items()) or "–"
    return name, series, alarms, f"{100 * alarms / series:.1f}", named


def detections(seeds: int) -> Iterator[tuple[object, ...]]:
    """One row per fault."""
    clean = [
        series_of(study, cell.values, FIRST_PLANTED + seed)
        for name, wanted in PLANTED.items()
        for study in [load_study(name)]
        for cell in study.cells()
        if tuple(value for _, value in cell.values) in wanted
        for seed in range(seeds)
    ]
    for name, (kind, plant) in FAULTS.items():
        found = [{f.kind for f in check_series(plant(series))} for series in clean]
        hits = sum(kind in kinds for kinds in found)
        others = sum(kind in kinds and len(kinds) > 1 for kinds in found)
        yield name, len(found), hits, f"{100 * hits / len(found):.0f}", others


def series_of(study: Study, cell: tuple[tuple[str, object], ...], seed: int) -> TiltSeries:
    """Simulate the data of a cell; the seed is of specimen and noise."""
    at = study.at(next(c for c in study.cells() if c.values == cell)) if cell else study
    size = min(at.specimen.size, LARGEST)
    specimen = at.specimen.model_copy(update={"size": size, "seed": seed})
    truth = build(specimen, at.acquisition.oversample)
    return simulate(truth, at.acquisition, at.noise_seed() % 10**6 + seed)


def turned(angles: tuple[float, ...], factor: float) -> tuple[float, ...]:
    """Angles times a factor."""
    return tuple(factor * angle for angle in angles)


def hot(series: TiltSeries) -> TiltSeries:
    """One pixel of one HAADF projection at three times the brightest of all."""
    counts = series.haadf.copy()
    counts[len(counts) // 3, 10, 12] = 3 * counts.max() + 50
    return replace(series, haadf=counts)


def blank(series: TiltSeries) -> TiltSeries:
    """One chemical tilt without counts."""
    counts = series.chemical.copy()
    counts[:, counts.shape[1] // 2] = 0
    return replace(series, chemical=counts)


def blank_haadf(series: TiltSeries) -> TiltSeries:
    """One HAADF tilt without counts."""
    counts = series.haadf.copy()
    counts[len(counts) // 2] = 0
    return replace(series, haadf=counts)


def with_film(series: TiltSeries) -> np.ndarray:
    """HAADF with the signal of a film, a tenth of the largest at no tilt."""
    film = 0.1 * float(series.haadf.max()) * film_thickness(series.haadf_angles_deg)
    return (series.haadf + film[:, None, None]).astype(np.float32)


def with_levels(series: TiltSeries, factor: float) -> TiltSeries:
    """Backgrounds of the maps off by a factor."""
    levels = tuple(factor * level for level in series.chemical_background)
    return replace(series, chemical_background=levels)


def cropped(series: TiltSeries) -> TiltSeries:
    """The middle half of the field across the tilt axis."""
    height = series.haadf.shape[1]
    inside = slice(height // 4, height - height // 4)
    return replace(
        series,
        haadf=np.ascontiguousarray(series.haadf[:, inside]),
        chemical=np.ascontiguousarray(series.chemical[:, :, inside]),
    )


def scaled(series: TiltSeries, factor: float) -> TiltSeries:
    """HAADF in another unit."""
    return replace(
        series,
        haadf=np.float32(factor) * series.haadf,
        haadf_background=factor * series.haadf_background,
        haadf_scale=None,
    )


def smoothed(maps: np.ndarray) -> np.ndarray:
    """Maps as a program shows them."""
    return gaussian_filter(maps, (0, 0, 1, 1))


def with_maps(series: TiltSeries, maps: np.ndarray) -> TiltSeries:
    """Other maps, their backgrounds scaled with them."""
    factor = float(maps.mean() / series.chemical.mean())
    levels = tuple(factor * level for level in series.chemical_background)
    return replace(series, chemical=maps, chemical_background=levels, chemical_scale=None)


def in_radians(series: TiltSeries) -> TiltSeries:
    """Angles of both modalities in radians."""
    degree = float(np.deg2rad(1.0))
    return replace(
        series,
        haadf_angles_deg=turned(series.haadf_angles_deg, degree),
        chemical_angles_deg=turned(series.chemical_angles_deg, degree),
    )


FAULTS: dict[str, tuple[str, Callable[[TiltSeries], TiltSeries]]] = {
    "angles in radians": ("radians", in_radians),
    "HAADF tilts of the opposite sign": (
        "orientation",
        lambda s: replace(s, haadf_angles_deg=turned(s.haadf_angles_deg, -1.0)),
    ),
    "HAADF mirrored across the axis": (
        "orientation",
        lambda s: replace(s, haadf=np.ascontiguousarray(s.haadf[:, ::-1])),
    ),
    "HAADF normalised to 1": ("unit", lambda s: scaled(s, 1.0 / float(s.haadf.max()))),
    "HAADF × 20": ("unit", lambda s: scaled(s, 20.0)),
    "hot HAADF pixel": ("hot-pixel", hot),
    "blank chemical tilt": ("blank-tilt", blank),
    "blank HAADF tilt": ("blank-tilt", blank_haadf),
    "field of half the height": ("cut-off", cropped),
    "HAADF background not given": ("vacuum-level", lambda s: replace(s, haadf_background=0.0)),
    "HAADF background 20 % too low": (
        "vacuum-level",
        lambda s: replace(s, haadf_background=0.8 * s.haadf_background),
    ),
    "film of 10 %": ("film", lambda s: replace(s, haadf=with_film(s))),
    "chemical backgrounds not given": (
        "vacuum-level",
        lambda s: replace(s, chemical_background=()),
    ),
    "chemical backgrounds 20 % too low": ("vacuum-level", lambda s: with_levels(s, 0.8)),
    "chemical backgrounds 25 % too high": ("vacuum-level", lambda s: with_levels(s, 1.25)),
    "HAADF shifted by 3 pixels": (
        "shift",
        lambda s: replace(s, haadf=np.roll(s.haadf, 3, axis=1)),
    ),
    "HAADF in bright field": (
        "inverted",
        lambda s: replace(s, haadf=float(s.haadf.max()) - s.haadf, haadf_background=0.0),
    ),
    "maps smoothed by a pixel": ("not-counts", lambda s: with_maps(s, smoothed(s.chemical))),
    "maps as fractions": ("not-counts", lambda s: with_maps(s, s.chemical / 100)),
    "HAADF shifted by 1 pixel": ("shift", lambda s: replace(s, haadf=np.roll(s.haadf, 1, axis=1))),
}


if __name__ == "__main__":
    main()
