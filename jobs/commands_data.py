"""Commands about data: phantom, simulate, reconstruct, evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import click

from jobs.options import (
    FilePath,
    Snr,
    device_option,
    force_option,
    out_option,
    quiet_option,
    refuse_existing,
)


@click.command()
@click.argument("kind", metavar="KIND")
@click.option("--size", type=int, required=True, metavar="N", help="Voxels per edge.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the objects.")
@out_option
@force_option
@quiet_option
def phantom(kind: str, size: int, seed: int, out: Path, force: bool, quiet: bool) -> None:
    """Write a specimen: KIND is nanocubes or composite.

    The seed draws the objects, the size only resolves them: the same seed is the same specimen at
    every size.
    """
    from phantoms.files import save_specimen
    from phantoms.kinds import make_specimen

    refuse_existing(out, force)
    specimen = make_specimen(kind, size, seed)
    save_specimen(out, specimen, overwrite=force)
    if not quiet:
        elements = ", ".join(specimen.elements)
        click.echo(
            f"{out}: {kind} of {elements}, {size}³ voxels of {specimen.voxel_size_nm:.4g} nm"
        )


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
@click.option("--gamma", type=float, help="Exponent of the HAADF contrast.  [default: 2]")
@click.option(
    "--oversample",
    type=int,
    metavar="K",
    help="SPECIMEN is on a grid K times finer than the data will be.  [default: 1]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the noise.")
@out_option
@force_option
@quiet_option
def simulate(
    specimen: Path,
    dose: float | None,
    counts_per_electron: float | dict[str, float] | None,
    out: Path,
    seed: int,
    force: bool,
    quiet: bool,
    **given: object,
) -> None:
    """Simulate the tilt series of SPECIMEN.h5, in counts with Poisson noise.

    HAADF is linear incoherent imaging, the sum of (Z x)^gamma along the beam.
    """
    from jobs.acquiring import acquisition_of, simulate_file, snr_of_dose
    from phantoms.files import load_specimen

    refuse_existing(out, force)
    loaded = load_specimen(specimen)
    if dose is not None or counts_per_electron is not None:
        given["snr"] = snr_of_dose(loaded, given, dose, counts_per_electron)
    line = simulate_file(loaded, acquisition_of(given), seed, out, force)
    if not quiet:
        click.echo(line)


@click.command()
@click.argument("tilts", metavar="TILTS.h5", type=FilePath)
@click.option(
    "--method",
    type=click.Choice(["fused", "chemistry-tv", "ml"]),
    default="fused",
    show_default=True,
)
@click.option("--haadf", type=float, metavar="W", help="Weight of the HAADF term (fused).")
@click.option("--tv", type=float, metavar="W", help="Weight of TV (fused, chemistry-tv).")
@click.option("--atlas", type=FilePath, metavar="ATLAS", help="Take the weights from an atlas.")
@click.option("--gamma", type=float, help="Exponent of the HAADF contrast, 1.4 to 2.  [default: 2]")
@click.option("--tolerance", type=float, help="Relative change at which to stop.  [default: 1e-4]")
@click.option("--max-iterations", type=int, metavar="N", help="Limit of work.  [default: 400]")
@click.option(
    "--chemistry",
    type=click.Choice(["poisson", "least-squares"]),
    help="Likelihood of the chemical counts.  [default: poisson]",
)
@device_option
@out_option
@force_option
@quiet_option
def reconstruct(
    tilts: Path,
    method: str,
    haadf: float | None,
    tv: float | None,
    atlas: Path | None,
    device: str,
    out: Path,
    force: bool,
    quiet: bool,
    **solver: object,
) -> int:
    """Reconstruct the concentrations of every element from TILTS.h5.

    Weights are scale-free: haadf 1 is the statistical weight; where none is given,
    haadf 0.05 and tv 1 are taken, and said. Exit code 3 if the solver diverged; nothing is written
    then.
    """
    from jobs.solving import reconstruct_file
    from jobs.weights import choose_weights, settings_of
    from phantoms.files import load_tilt_series
    from recon_core.settings import Method

    refuse_existing(out, force)
    series = load_tilt_series(tilts)
    chosen = choose_weights(series, Method(method), haadf, tv, atlas)
    code, lines = reconstruct_file(tilts, series, chosen, settings_of(solver), out, force, device)
    for line in () if quiet else (*chosen.notes, *lines):
        click.echo(line)
    return code


@click.command()
@click.argument("recon", metavar="RECON.h5", type=FilePath)
@click.argument("specimen", metavar="SPECIMEN.h5", type=FilePath)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet_option
def evaluate(recon: Path, specimen: Path, as_json: bool, quiet: bool) -> None:
    """Score RECON.h5 against the truth SPECIMEN.h5; elements are matched by name.

    NRMSE of z-scored volumes (0 equal, 1.41 nothing in common) per element and their mean, the
    relative error (which sees a wrong scale), and the stoichiometry of every oxide. With -q only
    the mean NRMSE is printed.
    """
    from jobs.scoring import score_files, score_text

    scores = score_files(recon, specimen)
    if as_json:
        click.echo(json.dumps(scores, allow_nan=False))
    else:
        click.echo(f"{scores['nrmse']:.6f}" if quiet else score_text(scores))
