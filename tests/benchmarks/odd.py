"""Odd variants of a sound series: what import and inspect --fix make of them, and what they say.

A series of nanocubes in vacuum (31/11 tilts, SNR 400 and 6), spoilt in one way at a time, goes
through the functions behind both commands; with ``assess`` those of which inspect says nothing are
solved and assessed too. Run:

    python tests/benchmarks/odd.py [SIZE [assess]]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import table

sys.path.insert(0, str(Path(__file__).parents[1] / "recon_core"))
from misaligned import NONE, misaligned, specimen_in_vacuum

from tomoatlas.analysis.assess import assess
from tomoatlas.phantoms.formats.gather import Choices, gather
from tomoatlas.phantoms.formats.microscope import Channel
from tomoatlas.phantoms.formats.names import HAADF
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.inspection import inspect, mended
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.tiltseries import TiltSeries

Channels = list[Channel]
ALIKE = 0.999  # correlation with the sound images, above which a variant is mended


def channels(series: TiltSeries) -> Channels:
    """The series as files would give it: HAADF first."""
    maps = zip(series.elements, series.chemical, strict=True)
    haadf = Channel(HAADF, series.haadf, series.haadf_angles_deg, "file", 1.0, Path("HAADF.mrc"))
    angles = series.chemical_angles_deg
    return [haadf, *(Channel(e, m, angles, "file", 1.0, Path(f"{e}.mrc")) for e, m in maps)]


def maps_changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Channels], Channels]:
    """Change the images of every map."""
    return lambda all_: [all_[0], *(replace(c, images=change(c.images)) for c in all_[1:])]


def haadf_changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Channels], Channels]:
    """Change the images of HAADF."""
    return lambda all_: [replace(all_[0], images=change(all_[0].images)), *all_[1:]]


def with_borders(images: np.ndarray) -> np.ndarray:
    """Rows and columns set to 0 that another program moved into the images."""
    images = images.copy()
    for i, image in enumerate(images):
        image[: i % 5] = image[:, : i % 3] = 0
    return images


def one_map_twice(found: Channels) -> Channels:
    """The map of the first element under the name of the second too."""
    return [*found[:2], replace(found[1], name=found[2].name), *found[3:]]


def cut_off(images: np.ndarray) -> np.ndarray:
    """Counts less those of vacuum, and 0 where they would be negative."""
    level = images[:, :3].mean()
    return np.maximum(images - level, 0)


def other_angles(found: Channels) -> Channels:
    """Tilts of the maps 6 degrees off."""
    moved = tuple(a + 6.0 for a in found[1].angles_deg or ())
    return [found[0], *(replace(c, angles_deg=moved) for c in found[1:])]


def dimmed(images: np.ndarray) -> np.ndarray:
    """One tilt with half of the beam."""
    images = images.copy()
    images[len(images) // 3] = np.round(0.5 * images[len(images) // 3])
    return images


def swapped(found: Channels) -> Channels:
    """The first and last element under each other's name."""
    one, other = found[1], found[-1]
    return [
        found[0],
        replace(other, name=one.name),
        *found[2:-1],
        replace(one, name=other.name),
    ]


def without_gold(found: Channels) -> Channels:
    """The heaviest element has no map."""
    return [channel for channel in found if channel.name != "Au"]


def beam_off(images: np.ndarray) -> np.ndarray:
    """Two tilts without signal."""
    images = images.copy()
    images[[3, len(images) // 2]] = 0
    return images


def with_nan(images: np.ndarray) -> np.ndarray:
    """A pixel in a hundred without a number."""
    missing = np.random.default_rng(0).random(images.shape) < 0.01
    return np.where(missing, np.float32(np.nan), images)


def in_eight_bits(images: np.ndarray) -> np.ndarray:
    """Unsigned integers of 8 bits, the brightest tenth of the specimen full."""
    top = np.quantile(images[images > np.median(images)], 0.9)
    return np.minimum(np.round(255 * images / top), 255).astype(np.float32)


def binned(images: np.ndarray) -> np.ndarray:
    """Four pixels added to one."""
    n, y, x = images.shape
    return images.reshape(n, y // 2, 2, x // 2, 2).sum(axis=(2, 4))


def binned_maps(found: Channels) -> Channels:
    """Maps of half as many pixels, of twice the size."""
    return [found[0], *(replace(c, images=binned(c.images), pixel_nm=2.0) for c in found[1:])]


def reversed_angles(found: Channels) -> Channels:
    """Tilts of the maps with the opposite sign."""
    negative = tuple(-a for a in found[1].angles_deg or ())
    return [found[0], *(replace(c, angles_deg=negative) for c in found[1:])]


def any_order(found: Channels) -> Channels:
    """Tilts in a random order, another in each modality."""
    out = []
    for channel in found:
        rng = np.random.default_rng(channel.name == HAADF)
        order = rng.permutation(len(channel.images))
        angles = tuple(np.asarray(channel.angles_deg)[order].tolist())
        out.append(replace(channel, images=channel.images[order], angles_deg=angles))
    return out


def same_twice(found: Channels) -> Channels:
    """Two tilts of each modality under the angle of their neighbours."""
    out = []
    for channel in found:
        angles = list(channel.angles_deg or ())
        angles[2] = angles[1]
        out.append(replace(channel, angles_deg=tuple(angles)))
    return out


def beyond_ninety(found: Channels) -> Channels:
    """Tilts from 20 to 160 degrees."""
    return [replace(c, angles_deg=tuple(a + 90.0 for a in c.angles_deg or ())) for c in found]


ODD: dict[str, Callable[[Channels], Channels]] = {
    "sound": lambda found: found,
    "no map of the heaviest element": without_gold,
    "maps of two elements swapped": swapped,
    "maps transposed": maps_changed(lambda i: i.swapaxes(1, 2)),
    "maps mirrored across the axis": maps_changed(lambda i: i[:, ::-1]),
    "maps mirrored along the axis": maps_changed(lambda i: i[:, :, ::-1]),
    "tilts of the maps of the opposite sign": reversed_angles,
    "beam off at two HAADF tilts": haadf_changed(beam_off),
    "beam off at two tilts of the maps": maps_changed(beam_off),
    "tilt axis of HAADF upright, of the maps not": haadf_changed(lambda i: i.swapaxes(1, 2)),
    "maps binned by 2": binned_maps,
    "1 % of the pixels NaN": haadf_changed(with_nan),
    "HAADF of 8 bits, saturated": haadf_changed(in_eight_bits),
    "an element listed twice": lambda found: [*found, found[1]],
    "tilts in a random order": any_order,
    "two tilts at one angle": same_twice,
    "tilts from 20° to 160°": beyond_ninety,
    "borders filled in with 0": lambda found: maps_changed(with_borders)(
        haadf_changed(with_borders)(found)
    ),
    "one map under two names": one_map_twice,
    "maps cut off at 0": maps_changed(cut_off),
    "maps doubled": maps_changed(lambda i: 2 * i),
    "tilts of the maps 6° off": other_angles,
    "one HAADF tilt dimmed": haadf_changed(dimmed),
    "one tilt of the maps dimmed": maps_changed(dimmed),
}


def row(name: str, known: TiltSeries, sound: set[str], deep: bool) -> Iterator[object]:
    """What became of one variant of a series, of which this is judged where it is sound."""
    yield name
    try:
        found = gather(ODD[name](channels(known)), Choices(axis="x"))
    except BadInput as fault:
        yield from ("–", f"refused: {fault}", "–", "–")
        return
    series = mended(found.series)
    alike = (same(series.haadf, known.haadf), same(series.chemical, known.chemical))
    yield " / ".join(f"{a:.2f}" for a in alike)
    doubts = [v for v in inspect(series) if v.verdict != "good" or v.name not in sound]
    before = [v for v in inspect(found.series) if v.verdict != "good"]
    usual = ("vacuum of HAADF", "vacuum of the maps")
    yield "; ".join(n for n in found.notes if "axis" not in n) or "–"
    named = [f"{v.name}: {v.words}"[:110] for v in {v.name: v for v in (*before, *doubts)}.values()]
    named = [words for words in named if not words.startswith(usual)]
    yield "; ".join(named) or "–"
    if not deep or named or min(alike) > ALIKE:
        yield "–"
        return
    solved = reconstruct(series)
    yield ", ".join(sorted({f.kind for f in assess(solved, series).findings})) or "nothing"


def same(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two stacks; 0 of other shapes."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) if one.shape == other.shape else 0.0


def main() -> None:
    """Print the table."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    known = misaligned(
        specimen_in_vacuum("nanocubes", size * 4 // 3, 2 * size, 0), NONE, 0, (31, 11), (400.0, 6.0)
    )
    sound = {v.name for v in inspect(gather(channels(known), Choices(axis="x")).series)}
    header = ("variant", "HAADF / maps as they were", "import notes", "inspect names", "assess")
    table(header, (tuple(row(name, known, sound, "assess" in sys.argv)) for name in ODD))


if __name__ == "__main__":
    main()
