"""What assess doubts: sound series and planted faults; and what it expects, beside the truth.

Specimens in vacuum, made on a grid twice as fine, 41/9 tilts over ±70°, laws (Zx)² and Z²x. Sound
series also with fewer tilts and fewer or more counts; of them the half-data resolution and the
NRMSE to expect are compared with those of the truth. Run:

    python tests/benchmarks/doubts.py [SIZE [SEEDS [FIRST [PART OF THE NAMES OF ROWS]]]]
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import table

sys.path.insert(0, str(Path(__file__).parents[1] / "recon_core"))
from misaligned import NONE, Fault, misaligned, specimen_in_vacuum, truth

from tomoatlas.analysis.assess import assess
from tomoatlas.analysis.trust import Assessment
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.geometry import STILL
from tomoatlas.recon_core.metrics import nrmse_by_element
from tomoatlas.recon_core.metrics.resolution import AGAINST_TRUTH, shell_correlation
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.tiltseries import TiltSeries

KINDS, LAWS = ("nanocubes", "composite", "co3o4-mn3o4"), ("linear", "power")
Made = Callable[[Specimen, int, str], TiltSeries]
HALF_PIXEL = 0.5 * np.sqrt(3.0)  # reach of uniform shifts of half a pixel, root mean square


def sound(tilts: tuple[int, int] = (41, 9), counts: float = 1.365) -> Made:
    """A series without fault."""
    snr = (2208.67, 1.0 + counts)
    return lambda fine, seed, law: misaligned(fine, NONE, seed, tilts, snr, law)


def unplaced(fault: Fault) -> Made:
    """Images of both modalities that lie elsewhere than the file says."""

    def made(fine: Specimen, seed: int, law: str) -> TiltSeries:
        series = misaligned(fine, fault, seed, contrast=law)
        return replace(series, haadf_placement=STILL, chemical_placement=STILL)

    return made


def low_background(fine: Specimen, seed: int, law: str) -> TiltSeries:
    """Vacuum levels of the maps recorded 20 % too low."""
    series = sound()(fine, seed, law)
    levels = tuple(0.8 * level for level in series.chemical_background)
    return replace(series, chemical_background=levels)


def without_heaviest(fine: Specimen, seed: int, law: str) -> TiltSeries:
    """No map of the heaviest element."""
    series = sound()(fine, seed, law)
    heaviest = max(series.atomic_numbers)
    return series.of(np.array([z != heaviest for z in series.atomic_numbers]))


def scaled(made: Made) -> Made:
    """The same with the counts for an atom of each element, relative to each other."""

    def with_scales(fine: Specimen, seed: int, law: str) -> TiltSeries:
        series, known = made(fine, seed, law), truth(fine)
        atoms = dict(zip(known.elements, known.volumes.sum(axis=(1, 2, 3)), strict=True))
        levels = np.array(series.chemical_background)[:, None, None, None]
        counts = (series.chemical - levels).sum(axis=(1, 2, 3), dtype=np.float64)
        found = counts / [atoms[element] for element in series.elements]
        return replace(series, chemical_scale=tuple((found / found[0]).tolist()))

    return with_scales


def with_film(fine: Specimen, seed: int, law: str) -> TiltSeries:
    """A film that the file does not know."""
    series = misaligned(fine, replace(NONE, film=0.1), seed, contrast=law)
    return replace(series, haadf_film=0.0)


SOUND: dict[str, Made] = {
    "sound": sound(),
    "sound, counts × 0.25": sound(counts=0.34),
    "sound, counts × 4": sound(counts=5.5),
    "sound, 21/5 tilts": sound((21, 5)),
    "sound, scales known": scaled(sound()),
}
FAULTS: dict[str, Made] = {
    "maps' background × 0.8": low_background,
    "no map of the heaviest element": without_heaviest,
    "no map of the heaviest element, scales known": scaled(without_heaviest),
    "images off by 0.5 px": unplaced(replace(NONE, jitter=HALF_PIXEL)),
    "tilt axis off by 0.5 px": unplaced(replace(NONE, axis=0.5)),
    "film of 10 %": with_film,
}


def judged(made: Made, size: int, case: tuple[str, str, int]) -> tuple[Assessment, list[float]]:
    """An assessment; NRMSE to expect and resolutions over those by the truth."""
    kind, law, seed = case
    fine = specimen_in_vacuum(kind, 2 * size * 11 // 16, 2 * size, seed)
    series = made(fine, seed, law)
    solved = reconstruct(series)
    found, known = assess(solved, series), truth(fine)
    if solved.elements != known.elements:
        return found, []
    own = float(np.mean(nrmse_by_element(solved.volumes, known.volumes)))
    ratios = [found.nrmse / own]
    for each, volume, true in zip(found.elements, solved.volumes, known.volumes, strict=True):
        sharp = shell_correlation(volume, true, series.voxel_size_nm).resolution_nm(AGAINST_TRUTH)
        ratios.append(each.resolution_nm["all"] / sharp)
    return found, ratios


def rows(size: int, seeds: range, part: str) -> Iterator[tuple[object, ...]]:
    """A line for each kind of series that has this in its name."""
    for name, made in (SOUND | FAULTS).items():
        if part not in name:
            continue
        cases = list(itertools.product(KINDS, LAWS, seeds))
        runs = [judged(made, size, case) for case in cases]
        doubted = [{finding.kind for finding in found.findings} for found, _ in runs]
        kinds = Counter(kind for each in doubted for kind in each)
        missed = [
            f"{k} {law}" for (k, law, _), each in zip(cases, doubted, strict=True) if not each
        ]
        row = [name, len(runs), sum(map(bool, doubted)), words(kinds)]
        if name in FAULTS:
            yield (*row, words(Counter(missed)), "–", "–")
            continue
        nrmse = np.array([ratios[0] for _, ratios in runs])
        sharp = np.array([ratio for _, ratios in runs for ratio in ratios[1:]])
        sharp = sharp[np.isfinite(sharp)]
        near = f"{np.median(nrmse):.2f}; {(np.abs(nrmse - 1) <= 0.25).mean():.0%} within 25 %"
        yield (*row, "–", near, f"{np.median(sharp):.2f}")


def words(counts: Counter[str]) -> str:
    """Names with their numbers."""
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "–"


def main() -> None:
    """Print the table."""
    given = (*sys.argv[1:], *("32", "2", "10", "")[len(sys.argv) - 1 :])
    size, seeds, first = map(int, given[:3])
    header = ("series", "number", "doubted", "of these", "not doubted")
    ratios = ("NRMSE to expect / true, median", "resolution / true, median")
    table((*header, *ratios), rows(size, range(first, first + seeds), given[3]))


if __name__ == "__main__":
    main()
