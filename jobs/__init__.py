"""What a person launches: the command line, batch scripts for sites, and the shipped study files.

``cli`` is the entry point and ``commands`` holds the commands; ``run`` is the main job, with
``workers`` and ``exits`` around it; ``batch`` writes and submits scripts; ``terminal`` prints. Here
are the shipped studies, found by name wherever tomoatlas is installed. Nothing else in the package
imports from here.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ..recon_core.errors import BadInput

if TYPE_CHECKING:
    from ..sweep.study import Study


def shipped_names() -> tuple[str, ...]:
    """Names of the shipped studies, without their suffix."""
    found = (files("tomoatlas.jobs") / "studies").iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in found if f.name.endswith(".toml")))


def load_study(name: str | Path) -> Study:
    """The study in a file, or the shipped study of that name.

    Parameters
    ----------
    name : path of a TOML file, or name of a shipped study.

    Raises
    ------
    BadInput : neither exists, or the study is invalid.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> study = ta.load_study("fig4_nanocubes_64")
    >>> study.specimen.size, len(study.cells())
    (64, 64)
    """
    from ..sweep import study as files_of_studies

    # A file goes before a shipped name, so that a copy can be edited in place.
    if Path(name).is_file():
        return files_of_studies.load_study(name)
    if name in shipped_names():
        text = (files("tomoatlas.jobs") / "studies" / f"{name}.toml").read_text(encoding="utf-8")
        return files_of_studies.parse_study(text, f"{name}.toml")
    raise BadInput(
        "no such study",
        source=name,
        accepted=f"a TOML file, or a shipped study: {', '.join(shipped_names())}",
    )
