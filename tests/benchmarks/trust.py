"""Whether a map can be believed: with all known, with nothing, with a wrong vacuum level, a film.

Data come from a grid twice as fine, 47/9 tilts over ±70°, at the paper's SNRs; means over three
noise seeds. Settings and weights are the defaults of an edition for all, the newest if none is
named: nothing is tuned on a row. What the solver gets:

    known       scales, vacuum levels and the exponent of the data
    measured    counts, angles and elements: a file from a microscope
    vacuum      known, but the HAADF's vacuum level recorded 20 % too low
    film        known, but with a carbon film of 10 % of the largest HAADF signal at no tilt

Totals, level and haze are judged where the chemical scales are given (known, vacuum, film). Run:

    python tests/benchmarks/trust.py [SIZE] [KIND ...] [specimens] [edition=N] [key=value ...]

with settings of ``[solver]`` beside those of the edition. With ``specimens`` every noise seed has a
specimen of its own, that of the same seed, and the spread of NRMSE is theirs. Or, for the
coefficients of HAADF that are fitted to data of the law Z²x, over the true ones,

    python tests/benchmarks/trust.py coefficients [SIZE] [KIND ...]

Or, for what oxides inside lack, with the counts of the maps multiplied (noise seed 5, data of Z²x):

    python tests/benchmarks/trust.py counts [SIZE] [KIND ...]
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from common import LAW, LAWS, as_measured, edition_in, filmed, series_of, table, too_low
from weights import data

from tomoatlas.analysis.scores import evaluate
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.methods import Method, Weights, default_weights
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import SolverSettings, newest_settings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.haadf_moments import coefficients_from_maps
from tomoatlas.recon_core.tiltseries import TiltSeries

SEEDS = (1, 2, 3)  # of the noise
KINDS = ("nanocubes", "composite")
TILTS = ((47, 9), (18, 5), (71, 18), (5, 18))
COUNTS = (1, 4, 16, 64)
TVS = (0.7, 1.4)

Settings = Mapping[str, Any]


def main(
    size: int, kinds: Iterable[str], edition: int, settings: Settings, several: bool = False
) -> None:
    """Print a row for each specimen, law of the data and state of knowledge."""
    print(f"{size}³, edition {edition}; {', '.join(f'{k} = {v}' for k, v in settings.items())}")
    header = ("specimen", "data", "given", "⟨NRMSE⟩", "over known", "by element")
    amounts = ("totals", "level", "haze", "inside", "iterations")
    table((*header, *amounts), rows(size, kinds, settings, several))


def rows(
    size: int, kinds: Iterable[str], settings: Settings, several: bool
) -> Iterator[tuple[str, ...]]:
    """The rows of the table."""
    for kind in kinds:
        for law in LAWS:
            known: float | None = None
            for name, change in CASES.items():
                runs, scores = [], []
                for seed in SEEDS:
                    which = seed if several else 0
                    series = change(series_of(size, kind, law, seed, specimen_seed=which))
                    runs.append(solved(series, settings, name))
                    scores.append(evaluate(runs[-1], make_specimen(kind, size, which)))
                by_seed = [s["nrmse"] for s in scores]
                nrmse = float(np.mean(by_seed))
                known = nrmse if known is None else known
                yield (
                    kind,
                    LAW[law],
                    name,
                    f"{nrmse:.3f}" + (f" ± {np.std(by_seed, ddof=1):.3f}" if several else ""),
                    f"{nrmse / known - 1:+.0%}",
                    named(scores, "nrmse_by_element"),
                    "relative" if name == "measured" else named(scores, "totals"),
                    "relative" if name == "measured" else named(scores, "level"),
                    named(scores, "haze"),
                    "relative" if name == "measured" else inside(scores),
                    f"{np.mean([found.iterations for found in runs]):.0f}",
                )


def coefficients(size: int, kinds: Iterable[str]) -> None:
    """Print a row for each specimen, number of tilts and noise seed."""
    header = ("specimen", "tilts", "seed", "coefficient / true, ± its standard uncertainty")
    cases = itertools.product(kinds, TILTS, SEEDS)
    table(header, (coefficient_row(size, *case) for case in cases))


def coefficient_row(
    size: int, kind: str, tilts: tuple[int, int], seed: int
) -> tuple[str, str, int, str]:
    """Coefficients from the maps of one tilt series, beside those that made it."""
    series = series_of(size, kind, "linear", seed, tilts)
    assert series.haadf_scale is not None
    found = coefficients_from_maps(series, newest_settings())
    true = series.haadf_scale * np.array(series.atomic_numbers, float) ** 2
    columns = zip(found.elements, found.values, found.errors, true, strict=True)
    words = ", ".join(f"{e} {k / t:.2f} ± {error / t:.2f}" for e, k, error, t in columns)
    return kind, f"{tilts[0]}/{tilts[1]}", seed, words


def counts_rows(size: int, kinds: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Oxides one voxel inside, and levels, for each number of counts and weight of TV."""
    for kind, counts, tv in itertools.product(kinds, COUNTS, TVS):
        truth, series = data(size, kind, "linear", counts)
        weights = Weights(default_weights("residual", "noise").haadf, tv)
        found = reconstruct(series, Method.FUSED, weights, newest_settings())
        scores = [evaluate(found, truth)]
        numbers = (f"{scores[0]['nrmse']:.3f}", named(scores, "level"), inside(scores))
        yield kind, f"{counts:g}", f"{tv:g}", *numbers


def solved(series: TiltSeries, settings: Settings, given: str) -> Reconstruction:
    """One fused solve; a film is asked for where there is one."""
    film = {"film": True} if given == "film" else {}
    chosen = {**settings, **film}
    return reconstruct(series, Method.FUSED, None, SolverSettings.model_validate(chosen))


CASES: dict[str, Callable[[TiltSeries], TiltSeries]] = {
    "known": lambda series: series,
    "measured": as_measured,
    "vacuum": too_low,
    "film": filmed,
}


def named(scores: list[dict[str, Any]], key: str) -> str:
    """Mean over the seeds by element, as text."""
    means = {e: [s[key][e] for s in scores if s[key][e] is not None] for e in scores[0][key]}
    return ", ".join(f"{e} {np.mean(found):.2f}" for e, found in means.items() if found)


def inside(scores: list[dict[str, Any]]) -> str:
    """Stoichiometry one voxel inside, mean and sigma over the seeds, as text."""
    phases = [s["stoichiometry_inside"] for s in scores]
    means = {p: [np.mean([f[p][k] for f in phases]) for k in ("mean", "sigma")] for p in phases[0]}
    return ", ".join(f"{p} {mean:.2f} ± {sigma:.3f}" for p, (mean, sigma) in means.items())


if __name__ == "__main__":
    words = sys.argv[1:]
    edition, settings = edition_in(words)
    sizes = [int(w) for w in words if w.isdigit()]
    pairs = dict(w.split("=") for w in words if "=" in w)
    kinds = [w for w in words if w in KINDS]
    if "coefficients" in words:
        coefficients(sizes[0] if sizes else 48, kinds or KINDS)
    elif "counts" in words:
        header = ("specimen", "counts x", "tv", "⟨NRMSE⟩", "level", "inside")
        table(header, counts_rows(sizes[0] if sizes else 48, kinds or KINDS))
    else:
        chosen = settings.model_dump() | pairs
        main(sizes[0] if sizes else 64, kinds or KINDS, edition, chosen, "specimens" in words)
