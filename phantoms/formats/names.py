"""What an image shows by the title of a signal or the name of its file: HAADF or an element."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from ...recon_core.tiltseries import SYMBOLS

HAADF, SURVEY, OTHER = "HAADF", "survey", "bright field"

_LINE = re.compile(r"(?<![A-Za-z])([A-Z][a-z]?)[ _-]?[KLM](?:[aαb]\d?)?(?![A-Za-z])")
"""An element and its X-ray line, which looks like an element itself."""
_LINES = {shell + line for shell in "klm" for line in ("", "a", "b")}
OTHER_SPELLINGS = {"aluminum": "Al", "cesium": "Cs", "sulphur": "S"}


def name_of(title: str, path: Path) -> str:
    """Say what an image shows: ``HAADF``, a symbol, another detector, or empty if unknown.

    Parameters
    ----------
    title : of the signal.
    path : of its file, asked if the title does not tell.

    Examples
    --------
    >>> [name_of(text, Path("a.mrc")) for text in ("HAADF", "Au Lα", "carbon map", "au_la", "DF4")]
    ['HAADF', 'Au', 'C', 'Au', '']
    """
    for text in (title, path.stem):
        if re.search(r"adf", text, re.IGNORECASE):
            return HAADF
        if re.search(r"survey|overview", text, re.IGNORECASE):
            return SURVEY
        words = [w for w in re.split(r"[^A-Za-z]+", _LINE.sub(_without_line, text)) if w]
        if element := _by_symbol(words) or _in_other_letters(words):
            return element
        if {"BF", "ABF"} & set(words):
            return OTHER
    return ""


def _without_line(found: re.Match[str]) -> str:
    return f" {found[1]} " if found[1] in SYMBOLS else found[0]


def _by_symbol(words: list[str]) -> str:
    # A single letter among several words is more often a label than an element.
    elements = [word for word in words if word in SYMBOLS and (len(word) > 1 or len(words) < 3)]
    return elements[0] if len(set(elements)) == 1 else ""


def _in_other_letters(words: list[str]) -> str:
    """The element that one word spells out, or a symbol that stands alone in other letters."""
    small = [word.lower() for word in words]
    spelt = {_spelt()[word] for word in small if word in _spelt()}
    if len(spelt) == 1:
        return spelt.pop()
    # beside other words two letters are rather a part of the language
    alone = len(small) == 1 or (len(small) == 2 and small[1] in _LINES)
    symbol = small[0].capitalize() if alone else ""
    return symbol if symbol in SYMBOLS else ""


@cache
def _spelt() -> dict[str, str]:
    """Symbols by the English names of elements."""
    import periodictable

    known = {e.name: e.symbol for e in periodictable.elements if e.symbol in SYMBOLS}
    return known | OTHER_SPELLINGS
