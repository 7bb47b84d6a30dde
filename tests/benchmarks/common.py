"""What every benchmark needs: the reference condition, a machine line, a Markdown table."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, lru_cache

import numpy as np

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import PAPER_MEAN_SNR, Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.geometry import film_thickness
from tomoatlas.recon_core.machine import cpu_name, usable_cores
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.metrics import nrmse_by_element
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import SOLVER_EDITIONS, LawName, SolverSettings
from tomoatlas.recon_core.tiltseries import TiltSeries

PAPER_SNR = {"Co": 1.92, "Cu": 2.89, "O": 2.69, "Au": 1.96}
SNRS = {"nanocubes": PAPER_SNR}  # of the others the paper's mean
LAWS: tuple[LawName, ...] = ("power", "linear")
LAW = {"power": "(Zx)²", "linear": "Z²x"}
OVERSAMPLE = 2
FILM, TOO_LOW = 0.1, 0.8
"""Film's share of the largest HAADF signal; recorded over true vacuum level."""


def condition(
    size: int, haadf: int, chemical: int, seed: int = 0, oversample: int = 1
) -> tuple[Specimen, TiltSeries]:
    """Nanocubes at the paper's SNRs over ±70°; ``seed`` is the noise's."""
    acquisition = Acquisition(
        haadf_tilts=haadf,
        chemical_tilts=chemical,
        haadf_snr=2208.67,
        chemical_snr=PAPER_SNR,
        oversample=oversample,
    )
    fine = make_specimen("nanocubes", size * oversample, 0)
    return make_specimen("nanocubes", size, 0), simulate(fine, acquisition, seed)


@lru_cache(maxsize=4)
def series_of(
    size: int,
    kind: str,
    law: LawName,
    seed: int,
    tilts: tuple[int, int] = (47, 9),
    specimen_seed: int = 0,
) -> TiltSeries:
    """Data of one law of HAADF, from a grid twice as fine; ``seed`` is the noise's."""
    acquisition = Acquisition(
        haadf_tilts=tilts[0],
        chemical_tilts=tilts[1],
        chemical_snr=SNRS.get(kind, PAPER_MEAN_SNR),
        oversample=OVERSAMPLE,
        contrast=law,
    )
    return simulate(make_specimen(kind, size * OVERSAMPLE, specimen_seed), acquisition, seed)


def too_low(series: TiltSeries) -> TiltSeries:
    """The series with a recorded HAADF vacuum level below the true one."""
    return replace(series, haadf_background=TOO_LOW * series.haadf_background)


def as_measured(series: TiltSeries) -> TiltSeries:
    """What a microscope's file holds: no scales, no vacuum levels, no law."""
    return replace(
        series,
        haadf_scale=None,
        chemical_scale=None,
        haadf_background=0.0,
        chemical_background=(),
        facts={},
    )


def filmed(series: TiltSeries) -> TiltSeries:
    """The series with a film behind the specimen, with the noise of its own counts."""
    film = FILM * (float(series.haadf.max()) - series.haadf_background)
    expected = film * film_thickness(series.haadf_angles_deg)[:, None, None]
    # Poisson counts add up to Poisson counts
    counts = np.random.default_rng(0).poisson(np.broadcast_to(expected, series.haadf.shape))
    return replace(series, haadf=(series.haadf + counts).astype(np.float32))


def edition_in(words: list[str]) -> tuple[int, SolverSettings]:
    """Take ``edition=N`` out of the words of a command, the newest if it is not there; settings."""
    named = [word for word in words if word.startswith("edition=")]
    edition = max(SOLVER_EDITIONS)
    for word in named:
        words.remove(word)
        edition = int(word.removeprefix("edition="))
    return edition, SolverSettings.model_validate(SOLVER_EDITIONS[edition])


def score(volumes: np.ndarray, specimen: Specimen) -> float:
    """Mean NRMSE over the elements."""
    return float(np.mean(nrmse_by_element(volumes, specimen.volumes)))


def best_weights(
    series: TiltSeries,
    truth: Specimen,
    solve: Callable[[TiltSeries, Weights], Reconstruction],
    haadf: Sequence[float],
    tv: Sequence[float],
) -> Weights:
    """The best HAADF weight at the middle TV weight, and the best TV weight at that one."""

    @cache
    def nrmse(weights: Weights) -> float:
        return score(solve(series, weights).volumes, truth)

    best = min((Weights(each, tv[1]) for each in haadf), key=nrmse)
    return min((Weights(best.haadf, each) for each in tv), key=nrmse)


def by_element(truth: Specimen, values: Iterable[float]) -> str:
    """One number per element, as text."""
    return ", ".join(f"{e} {v:.2f}" for e, v in zip(truth.elements, values, strict=True))


def machine() -> str:
    """Date, processor and cores, for the results table."""
    cores = usable_cores()
    return (
        f"{datetime.date.today()}, {cpu_name()}, {cores} cores, Python {platform.python_version()}"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table under the machine line."""
    print(f"\n{machine()}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header), flush=True)
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)
