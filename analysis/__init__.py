"""From the journal of a study to tables, phase maps, atlases, figures and a report.

``analysis.load_trials(DIR)`` and ``analysis.load_atlas(FILE)`` are the way in for notebooks; they
are imported when first used, because pandas takes its time. The shipped atlases are found by name
wherever tomoatlas is installed.
"""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..recon_core.errors import BadInput

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


_SOURCES = "a study folder, an atlas.csv or atlas.h5, or a shipped atlas"


def atlas_names() -> tuple[str, ...]:
    """Names of the shipped atlases."""
    return tuple(sorted(place.name for place in _home().iterdir() if place.is_dir()))


def shipped_atlas(name: str | Path) -> Path | None:
    """The folder of a shipped atlas.

    Parameters
    ----------
    name : the name, which an existing path of that name hides.

    Returns
    -------
    None if the name is that of a path, or of no shipped atlas.
    """
    if Path(name).exists() or str(name) not in atlas_names():
        return None
    return _home() / str(name)


def is_shipped(path: Path) -> bool:
    """Whether a path lies among the shipped atlases, to which nothing is written.

    Parameters
    ----------
    path : of a study folder or an atlas.
    """
    return path.resolve().is_relative_to(_home().resolve())


def located(source: str | Path) -> Path:
    """The path given, or the folder of the shipped atlas of that name.

    Parameters
    ----------
    source : a path, or the name of a shipped atlas.

    Raises
    ------
    BadInput : neither exists; lists the shipped names, and the closest of them.
    """
    if Path(source).exists():
        return Path(source)
    if (shipped := shipped_atlas(source)) is not None:
        return shipped
    names = atlas_names()
    near = difflib.get_close_matches(str(source), names, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]}?" if near else ""
    raise BadInput(
        f"no such file or folder{hint}", source=source, accepted=f"{_SOURCES}: {', '.join(names)}"
    )


def _home() -> Path:
    return Path(str(files("tomoatlas.analysis"))) / "atlases"
