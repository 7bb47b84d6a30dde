"""A single reconstruction from file to file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from analysis.versions import package_version
from jobs.exits import Exit
from jobs.weights import Chosen
from phantoms.files import save_reconstruction
from recon_core.cuda_device import device_named
from recon_core.errors import BadInput
from recon_core.reconstruct import reconstruct
from recon_core.result import Reconstruction, Status
from recon_core.settings import SolverSettings
from recon_core.tiltseries import TiltSeries


def reconstruct_file(
    tilts: Path,
    series: TiltSeries,
    chosen: Chosen,
    settings: SolverSettings,
    out: Path,
    force: bool,
    device: str = "auto",
) -> tuple[Exit, tuple[str, ...]]:
    """Reconstruct ``series``, read from ``tilts``, and write; the exit code and lines about it.

    Nothing is written of a divergence.

    Raises
    ------
    BadInput : data that cannot be reconstructed, a file that cannot be written.

    """
    solved = reconstruct(
        series, chosen.method, chosen.weights, settings, device=device_named(device)
    )
    if solved.status is Status.BAD_DATA:
        raise BadInput(solved.message or "cannot be reconstructed", source=tilts)
    if solved.status is Status.DIVERGED:
        return Exit.TRIALS_FAILED, (f"diverged: {solved.message}; nothing was written",)
    save_reconstruction(
        out,
        solved.volumes,
        series.elements,
        series.voxel_size_nm,
        _attributes(solved, chosen, settings),
        overwrite=force,
    )
    return Exit.DONE, (
        *_without_haadf(series, chosen),
        *_terms(solved),
        f"{out}: {', '.join(series.elements)}",
    )


def _without_haadf(series: TiltSeries, chosen: Chosen) -> tuple[str, ...]:
    """That a fused reconstruction is not one; no or one line."""
    if chosen.weights.haadf > 0 and not series.haadf_angles_deg:
        return ("no HAADF tilts in the series: fused is chemistry-tv here, haadf has no effect",)
    return ()


def _attributes(
    solved: Reconstruction, chosen: Chosen, settings: SolverSettings
) -> dict[str, object]:
    weights = {n: w for n, w in asdict(chosen.weights).items() if n in chosen.method.weight_names}
    return {
        "method": str(chosen.method),
        "status": str(solved.status),
        "iterations": solved.iterations,
        "version": package_version("tomoatlas"),
        **weights,
        **settings.model_dump(),
    }


def _terms(solved: Reconstruction) -> tuple[str, ...]:
    ended = f"{solved.status} after {solved.iterations:g} iterations"
    history = solved.history
    if not history.iterations:
        return (ended,)
    terms = f"HAADF {history.haadf[-1]:.6g}, chemistry {history.chemistry[-1]:.6g}"
    return ended, f"terms: {terms}, TV {history.tv[-1]:.6g}"
