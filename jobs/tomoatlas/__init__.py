"""Phase maps and hyperparameter atlases for fused multi-modal electron tomography.

The names of a whole session, each imported when it is first used::

    import tomoatlas as ta

    specimen = ta.make_specimen("nanocubes", size=64)
    series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=47, chemical_tilts=9), seed=0)
    advice = ta.recommend("fig4_nanocubes_64", haadf_tilts=47, chemical_tilts=9)
    result = ta.reconstruct(series, "fused", advice.weights, advice.settings)
    scores = ta.evaluate(result, specimen)

    summary = ta.run("quickstart", "first")
    atlas = ta.load_atlas("first")
    ta.figure("nrmse", "first")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis.assess import assess
    from .analysis.atlas import load_atlas
    from .analysis.figures import figure
    from .analysis.journal import load_trials
    from .analysis.recommend import recommend
    from .analysis.scores import evaluate
    from .analysis.weights import auto_weights
    from .jobs import load_study
    from .jobs.plan import plan
    from .jobs.run import run
    from .phantoms.acquire import simulate
    from .phantoms.acquisition import Acquisition
    from .phantoms.formats import (
        load_specimen,
        load_tilt_series,
        load_volumes,
        save_reconstruction,
        save_specimen,
        save_tilt_series,
    )
    from .phantoms.kinds import make_specimen
    from .phantoms.specimen import Specimen
    from .recon_core.errors import BadInput
    from .recon_core.methods import Method, Weights
    from .recon_core.result import Reconstruction
    from .recon_core.settings import SolverSettings
    from .recon_core.solver import reconstruct, reconstruct_batch
    from .recon_core.tiltseries import TiltSeries
    from .sweep.study import Study, parse_study

    __version__: str

_HOMES = {
    "make_specimen": "phantoms.kinds",
    "Specimen": "phantoms.specimen",
    "load_specimen": "phantoms.formats",
    "save_specimen": "phantoms.formats",
    "Acquisition": "phantoms.acquisition",
    "simulate": "phantoms.acquire",
    "TiltSeries": "recon_core.tiltseries",
    "load_tilt_series": "phantoms.formats",
    "save_tilt_series": "phantoms.formats",
    "Method": "recon_core.methods",
    "Weights": "recon_core.methods",
    "SolverSettings": "recon_core.settings",
    "auto_weights": "analysis.weights",
    "assess": "analysis.assess",
    "reconstruct": "recon_core.solver",
    "reconstruct_batch": "recon_core.solver",
    "Reconstruction": "recon_core.result",
    "save_reconstruction": "phantoms.formats",
    "load_volumes": "phantoms.formats",
    "evaluate": "analysis.scores",
    "Study": "sweep.study",
    "parse_study": "sweep.study",
    "load_study": "jobs",
    "run": "jobs.run",
    "plan": "jobs.plan",
    "load_trials": "analysis.journal",
    "load_atlas": "analysis.atlas",
    "recommend": "analysis.recommend",
    "figure": "analysis.figures",
    "BadInput": "recon_core.errors",
}
"""Name → the module below this one that defines it."""

__all__ = [
    "Acquisition",
    "BadInput",
    "Method",
    "Reconstruction",
    "SolverSettings",
    "Specimen",
    "Study",
    "TiltSeries",
    "Weights",
    "__version__",
    "assess",
    "auto_weights",
    "evaluate",
    "figure",
    "load_atlas",
    "load_specimen",
    "load_study",
    "load_tilt_series",
    "load_trials",
    "load_volumes",
    "make_specimen",
    "parse_study",
    "plan",
    "recommend",
    "reconstruct",
    "reconstruct_batch",
    "run",
    "save_reconstruction",
    "save_specimen",
    "save_tilt_series",
    "simulate",
]


# Loaded on first use: numpy, numba and matplotlib take most of a second.
def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module(".sweep.versions", __name__).package_version(__name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = found  # the next use finds it without this function
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
