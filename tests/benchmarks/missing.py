"""Which series are doubted for an element without a map, scales of the maps known and unknown.

Seven specimens in vacuum, made on a grid twice as fine, laws (Zx)² and Z²x; sound series, series
with other faults, which are not to be mistaken for a missing element, and series without their
heaviest element. The thresholds were set on the seeds 31 to 33. Run:

    python tests/benchmarks/missing.py [SIZE [SEEDS [FIRST]]]
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace

from common import table
from doubts import FAULTS, KINDS, LAWS, SOUND, Made, scaled
from misaligned import NONE, Fault, misaligned, specimen_in_vacuum

from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.checks import check_series
from tomoatlas.recon_core.tiltseries import TiltSeries

ALL_KINDS = (*KINDS, "zns-cus", "c-tio2", "cu-sic", "au-fe3o4")
HEAVIEST = "no map of the heaviest element"
OTHERS = ("maps' background × 0.8", "images off by 0.5 px", "tilt axis off by 0.5 px")


def recorded(fault: Fault = NONE, maps: int = 9, haadf_snr: float = 2208.67) -> Made:
    """A series whose file knows where its images lie, and its film."""
    return lambda fine, seed, law: misaligned(
        fine, fault, seed, (41, maps), (haadf_snr, 2.365), law
    )


def in_other_units(fine: Specimen, seed: int, law: str) -> TiltSeries:
    """HAADF 40 units an electron, its vacuum not known."""
    series = recorded()(fine, seed, law)
    return replace(series, haadf=40 * series.haadf, haadf_background=0.0)


CASES: dict[str, Made] = {
    **{name: made for name, made in SOUND.items() if "scales" not in name},
    "sound, 5 maps": recorded(maps=5),
    "sound, HAADF SNR 50": recorded(haadf_snr=50.0),
    "sound, HAADF SNR 5": recorded(haadf_snr=5.0),
    "sound, shifts ± 4 px, axis 3 px, 2°, drift 1 px, film 10 %, all known": recorded(Fault()),
    "HAADF × 40, vacuum not known": in_other_units,
    **{name: FAULTS[name] for name in OTHERS},
}


def rows(size: int, seeds: range) -> Iterator[tuple[object, ...]]:
    """A line for each kind of series; of those without an element one for each specimen."""
    for name, made in CASES.items():
        yield name, *numbers(made, size, ALL_KINDS, seeds)
    for kind in ALL_KINDS:
        yield f"{HEAVIEST}, {kind}", *numbers(FAULTS[HEAVIEST], size, (kind,), seeds)


def numbers(made: Made, size: int, kinds: tuple[str, ...], seeds: range) -> tuple[int, int, int]:
    """How many series, and how many of them are doubted, scales known and unknown."""
    cases = list(itertools.product(kinds, LAWS, seeds))
    found = [(doubted(scaled(made), size, c), doubted(made, size, c)) for c in cases]
    known, unknown = (sum(column) for column in zip(*found, strict=True))
    return len(found), known, unknown


def doubted(made: Made, size: int, case: tuple[str, str, int]) -> bool:
    """Whether an element is said to lack a map."""
    kind, law, seed = case
    fine = specimen_in_vacuum(kind, 2 * size * 11 // 16, 2 * size, seed)
    return any(found.kind == "missing-element" for found in check_series(made(fine, seed, law)))


def main() -> None:
    """Print the table."""
    size, seeds, first = map(int, (*sys.argv[1:], *("32", "2", "40")[len(sys.argv) - 1 :]))
    header = ("series", "number", "doubted, scales known", "scales unknown")
    table(header, rows(size, range(first, first + seeds)))


if __name__ == "__main__":
    main()
