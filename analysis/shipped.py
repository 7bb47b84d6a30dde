"""The atlases shipped with tomoatlas, found by name wherever it is installed."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path

from ..recon_core.errors import BadInput

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
