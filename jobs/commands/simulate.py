"""The commands that make data of a known specimen: ``phantom``, and its tilt series, ``simulate``.

The noise of a tilt series is set by an SNR, or by a dose with the counts that an electron yields.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...recon_core.errors import BadInput
from ...recon_core.registry import SHIPPED
from . import (
    FilePath,
    Snr,
    beside,
    force_option,
    out_option,
    parameters_of,
    print_entries,
    quiet_option,
    refuse_existing,
)

if TYPE_CHECKING:
    from ...phantoms.acquisition import Acquisition
    from ...phantoms.disturbances import Disturbances
    from ...phantoms.kinds import SpecimenKind
    from ...phantoms.specimen import Specimen

_KEYS = {"tilt_range": "tilt_range_deg", "snr": "chemical_snr"}

EXAMPLE = (
    "bodies.core.shape=sphere",
    "bodies.core.diameter_nm=60",
    "bodies.core.material=Co",
    "bodies.dots.shape=sphere",
    "bodies.dots.diameter_nm=10",
    "bodies.dots.count=12",
    "bodies.dots.on=core",
    "bodies.dots.material=Au",
)
"""Bodies of a specimen of one's own that describes none: a particle with smaller ones on it."""

LOOK = 96
"""Voxels per edge of a specimen that is only looked at."""


@click.command()
@click.argument("kind", metavar="[KIND]", required=False)
@click.option("--list", "as_list", is_flag=True, help="Print the specimens there are, and stop.")
@click.option("--size", type=int, metavar="N", help="Voxels per edge.")
@click.option("--seed", type=int, metavar="S", help="Draws the objects.  [default: 0]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the kind's own, as --list shows them, or bodies.NAME.KEY; repeatable.",
)
@click.option("--out", type=FilePath, metavar="F.h5", help="The HDF5 file to write.")
@click.option(
    "--show",
    is_flag=True,
    help="Draw it, in 3D and as slices: F.png beside F.h5, or KIND.png here without --out.",
)
@force_option
@quiet_option
def phantom(
    kind: str | None,
    as_list: bool,
    size: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    out: Path | None,
    show: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Write or draw a specimen: KIND is a name of --list, a Python file that defines one, or a TOML
    file that describes one.

    The seed draws the objects, the size only resolves them: the same seed is the same specimen at
    every size.
    """
    from ...phantoms.formats import save_specimen
    from ...phantoms.kinds import SPECIMENS, make_specimen

    if as_list:
        return print_entries(SPECIMENS, _kind_text)
    # A description may give its own size and seed, over which the options count.
    usual = SPECIMENS.get(kind).usual if kind is not None else {}
    size = usual.get("size", LOOK if show else None) if size is None else size
    if kind is None or size is None or (out is None and not show):
        raise _missing({"KIND": kind, "--size": size, "--out": out})
    picture = _picture(kind, out) if show else None
    paths = [path for path in (out, picture) if path is not None]
    for path in paths:
        refuse_existing(path, force, Path(kind))
    seed = usual.get("seed", 0) if seed is None else seed
    specimen = make_specimen(kind, size, seed, **parameters_of(_completed(kind, settings)))
    if out is not None:
        save_specimen(out, specimen, overwrite=force)
    if picture is not None:
        _draw(specimen, picture)
    if not quiet:
        written = " and ".join(map(str, paths))
        elements = ", ".join(specimen.elements)
        click.echo(
            f"{written}: {kind} of {elements}, {size}³ voxels of {specimen.voxel_size_nm:.4g} nm"
        )
    return None


def _missing(given: Mapping[str, object]) -> click.UsageError:
    name = next(name for name, value in given.items() if value is None)
    return click.UsageError(f"Missing {name}.", click.get_current_context())


def _completed(kind: str, settings: tuple[str, ...]) -> tuple[str, ...]:
    """The settings, with the bodies of an example for a specimen that is to be built of none."""
    if kind != "build" or any(text.startswith("bodies.") for text in settings):
        return settings
    said = " ".join(f"--set {text}" for text in EXAMPLE)
    click.echo(f"note: no bodies are given, this is an example: {said}", err=True)
    return (*EXAMPLE, *settings)


def _picture(kind: str, out: Path | None) -> Path:
    return beside(out, ".png") if out is not None else Path(f"{Path(kind).stem}.png")


def _draw(specimen: Specimen, path: Path) -> None:
    from ...analysis.figures.draw import save_figure
    from ...analysis.figures.render import specimen_figure

    save_figure(specimen_figure(specimen), path)


def _kind_text(name: str, kind: SpecimenKind) -> str:
    """What a kind shows, and its own parameters with their defaults."""
    from ...phantoms.kinds import SPECIMENS

    # a table of bodies would fill the screen
    parameters = kind.completed({}).model_dump(mode="json").items()
    own = "".join(f"  {k} = {v}" for k, v in parameters if not isinstance(v, dict))
    by = SPECIMENS.origin(name)
    return f"{kind.about}  [{_elements(kind)}]{own}{'' if by == SHIPPED else f'  (by {by})'}"


def _elements(kind: SpecimenKind) -> str:
    try:
        return ", ".join(kind.elements_of({}))
    except BadInput:  # of bodies that a study describes
        return "as described"


@click.command()
@click.argument("specimen", metavar="SPECIMEN.h5", type=FilePath)
@click.option("--haadf-tilts", type=int, required=True, metavar="N", help="0 leaves HAADF out.")
@click.option("--chemical-tilts", type=int, required=True, metavar="N")
@click.option(
    "--tilt-range",
    type=(float, float),
    metavar="LOW HIGH",
    help="First and last tilt in degrees.  [default: -70 70]",
)
@click.option(
    "--tilt-scheme",
    type=click.Choice(["equal-angle", "equal-slope", "saxton", "golden-angle"]),
    help="How the tilts lie in the range.  [default: equal-angle]",
)
@click.option(
    "--snr",
    type=Snr(),
    metavar="S",
    help="Chemical SNR, 1 + mean counts per pixel: one number, or Co=1.9,O=2.7.  [default: 2.365]",
)
@click.option(
    "--dose",
    type=float,
    metavar="D",
    help="Instead of --snr: dose of the chemical series in electrons per square angstrom.",
)
@click.option(
    "--counts-per-electron",
    type=Snr(),
    metavar="C",
    help="With --dose: counts detected per electron, one number or Co=1e-4,O=2e-4.",
)
@click.option(
    "--haadf-snr", type=float, metavar="S", help="1 + mean counts per pixel.  [default: 2208.67]"
)
@click.option(
    "--background", type=float, help="Vacuum, as a fraction of the maximum.  [default: 0.15]"
)
@click.option(
    "--contrast",
    type=click.Choice(["power", "linear"]),
    help="HAADF contrast: (Z x)^gamma, or Z^gamma x as atoms add up.  [default: power]",
)
@click.option("--gamma", type=float, help="Exponent of the HAADF contrast.  [default: 2]")
@click.option(
    "--oversample",
    type=int,
    metavar="K",
    help="SPECIMEN is on a grid K times finer than the data will be.  [default: 1]",
)
@click.option(
    "--disturb",
    multiple=True,
    metavar="KEY=VALUE",
    help="A fault of the microscope, as in [disturbances] of a study: film=0.1; repeatable.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the noise.")
@out_option
@force_option
@quiet_option
def simulate(
    specimen: Path,
    dose: float | None,
    counts_per_electron: float | dict[str, float] | None,
    disturb: tuple[str, ...],
    out: Path,
    seed: int,
    force: bool,
    quiet: bool,
    **given: object,
) -> None:
    """Simulate the tilt series of SPECIMEN.h5, in counts with Poisson noise.

    HAADF is linear incoherent imaging, the sum of (Z x)^gamma, or of Z^gamma x, along the beam.
    """
    from ...phantoms.formats import load_specimen

    # Before the specimen is read, which may take longer than anything else here.
    refuse_existing(out, force, specimen)
    loaded = load_specimen(specimen)
    if dose is not None or counts_per_electron is not None:
        given["snr"] = snr_of_dose(loaded, given, dose, counts_per_electron)
    faults = disturbances_of(disturb)
    line = simulate_file(loaded, (acquisition_of(given), faults), seed, out, force)
    if not quiet:
        click.echo(line)


def acquisition_of(options: Mapping[str, Any]) -> Acquisition:
    """The acquisition that the options describe.

    Parameters
    ----------
    options : option → value; one that is None keeps its default.

    Raises
    ------
    BadInput : a value out of range.
    """
    from ...phantoms.acquisition import Acquisition
    from ...recon_core.validation import validated

    data = {_KEYS.get(name, name): value for name, value in options.items() if value is not None}
    return validated(data, Acquisition, "acquisition")


def disturbances_of(settings: tuple[str, ...]) -> Disturbances:
    """The disturbances that ``KEY=VALUE`` options describe.

    Parameters
    ----------
    settings : the options.

    Raises
    ------
    BadInput : an unknown key, or a value out of range.
    """
    from ...phantoms.disturbances import Disturbances
    from ...recon_core.validation import validated

    return validated(
        parameters_of(settings, "--disturb"), Disturbances, "disturbances", strict=True
    )


def snr_of_dose(
    specimen: Specimen,
    options: Mapping[str, Any],
    dose: float | None,
    counts_per_electron: float | dict[str, float] | None,
) -> float | dict[str, float]:
    """The chemical SNR that a dose gives, spread evenly over the chemical tilts.

    Parameters
    ----------
    specimen : sets the size of a pixel.
    options : option → value, of which ``chemical_tilts``, ``oversample`` and ``snr`` are used.
    dose : of the chemical series, electrons per square angstrom.
    counts_per_electron : detected counts per electron: one number, or element → number.

    Returns
    -------
    One SNR, or element → SNR, as ``counts_per_electron`` is given.

    Raises
    ------
    BadInput : an SNR beside the dose, a missing dose or yield, or a value that is not positive.
    """
    from ...phantoms.dose import ANGSTROM_PER_NM, snr_from_dose

    if dose is None:
        raise BadInput(
            "missing", key="--dose", accepted="with --counts-per-electron: electrons per Å²"
        )
    if options.get("snr") is not None:
        raise BadInput("given beside --snr", key="--dose", value=dose, accepted="one of the two")
    if counts_per_electron is None:
        raise BadInput(
            "missing",
            key="--counts-per-electron",
            accepted="with --dose: mean counts per pixel over electrons per pixel, as calibrate "
            "prints them; or --snr and --haadf-snr, as plan prints them",
        )
    # The pixel of the data: several voxels of a finer specimen.
    pixel = specimen.voxel_size_nm * (options.get("oversample") or 1) * ANGSTROM_PER_NM
    tilts = options["chemical_tilts"]
    if isinstance(counts_per_electron, dict):
        return {e: snr_from_dose(dose, tilts, pixel, c) for e, c in counts_per_electron.items()}
    return snr_from_dose(dose, tilts, pixel, counts_per_electron)


def simulate_file(
    specimen: Specimen,
    conditions: tuple[Acquisition, Disturbances],
    seed: int,
    out: Path,
    force: bool,
) -> str:
    """Write the tilt series of a specimen; return a line about it.

    Parameters
    ----------
    specimen : what to image.
    conditions : tilts, SNR and contrast; and faults of the microscope.
    seed : of the noise.
    out : HDF5 file to write.
    force : whether an existing file may be replaced.

    Raises
    ------
    BadInput : the acquisition does not fit the specimen, or the file cannot be written.
    """
    import numpy as np

    from ...phantoms.acquire import simulate
    from ...phantoms.formats import save_tilt_series

    acquisition, disturbances = conditions
    series = simulate(specimen, acquisition, seed, disturbances=disturbances)
    save_tilt_series(out, series, overwrite=force)
    # float64: a sum over a whole series loses digits in float32.
    means = zip(
        series.elements, series.chemical.mean(axis=(1, 2, 3), dtype=np.float64), strict=True
    )
    counts = ", ".join(f"{element} {mean:.3g}" for element, mean in means)
    tilts = (
        f"{len(series.haadf_angles_deg)} HAADF, {len(series.chemical_angles_deg)} chemical tilts"
    )
    return f"{out}: {tilts}; mean counts {counts}"
