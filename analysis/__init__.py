"""From the journal of a study to tables, phase maps, atlases, figures and a report.

``analysis.load_trials(DIR)`` and ``analysis.load_atlas(FILE)`` are the way in for notebooks; they
are imported when first used, because pandas takes its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .atlas import load_atlas
    from .journal import load_trials

__all__ = ["load_atlas", "load_trials"]

_HOMES = {"load_atlas": "tomoatlas.analysis.atlas", "load_trials": "tomoatlas.analysis.journal"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
