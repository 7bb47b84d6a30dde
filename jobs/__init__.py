"""What a person launches: the command line, batch scripts for sites, and the shipped study files.

``cli`` is the entry point and ``commands`` holds the commands; ``run`` is the main job, with
``workers`` and ``exits`` around it; ``batch`` writes and submits scripts; ``terminal`` prints. Here
are the shipped studies, found by name wherever tomoatlas is installed. Nothing else in the package
imports from here.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    Returns
    -------
    Study : with the defaults of its edition filled in, and every cell checked.

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
    near = difflib.get_close_matches(str(name), shipped_names(), n=1, cutoff=0.6)
    hint = f", did you mean {near[0]}?" if near else ""
    if (recorded := Path(name) / "study.toml").is_file():
        hint = f" but the folder of one, did you mean {recorded}?"
    raise BadInput(
        f"no such study{hint}",
        source=name,
        accepted=f"a TOML file, or a shipped study: {', '.join(shipped_names())}",
    )


MOST_MISTAKES = 20
OF_ABSENCE = ("missing", "given without", "without ", "no such body")
"""How problems begin that another key's absence can be the reason of."""


def mistakes(path: Path) -> Iterator[BadInput]:
    """Every mistake of a study file, one after the other.

    Reading a study ends at its first mistake. Here the key that is wrong is left out and the rest
    is read again; what is only wrong because of that, as a key that stood there misspelt and is
    missing now, or one that has no meaning without it, is no mistake of its own.

    Parameters
    ----------
    path : the file.

    Yields
    ------
    BadInput : as :func:`load_study` would raise it of a file with this mistake alone.
    """
    from ..recon_core.toml import toml_text
    from ..sweep import study as files_of_studies

    text = path.read_text(encoding="utf-8-sig")
    tables: set[str] = set()
    for _ in range(MOST_MISTAKES):
        try:
            files_of_studies.parse_study(text, path, path.parent)
        except BadInput as error:
            key = error.key or ""
            follows = error.problem.startswith(OF_ABSENCE) and _within(key, tables)
            if not follows:
                yield error
            tables.add(key.removeprefix("axes.").rpartition(".")[0])
            try:
                data = tomllib.loads(text)
                left = _without(data, key.split("."))
                text = toml_text(data)
            # What is no TOML, or holds what cannot be written again, has no second mistake.
            except (tomllib.TOMLDecodeError, BadInput, TypeError, ValueError):
                return
            if not left:
                return
        else:
            return


def _within(key: str, tables: Collection[str]) -> bool:
    """Whether a dotted key stands in one of the tables, or in one below it."""
    return any(key.startswith(f"{table}.") for table in tables)


def _without(table: dict[str, Any], steps: list[str]) -> bool:
    """Leave a dotted key out of tables, in place; False if it is not there.

    An axis may be one quoted key with dots, and an entry of a list stands for the list.
    """
    for count in range(len(steps), 0, -1):
        key = ".".join(steps[:count])
        if key in table:
            inner = table[key]
            if count < len(steps) and isinstance(inner, Mapping):
                return _without(table[key], steps[count:])
            del table[key]
            return True
    return False
