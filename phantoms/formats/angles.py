"""Tilt angles of a microscope's files: beside a stack, along its axis, or in the names of files."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...recon_core.errors import BadInput
from .mrc import SUFFIXES

SIDECARS = (".rawtlt", ".tlt", ".mdoc")
INNER = (".ome", *SUFFIXES)  # before another suffix: stack.ome.tif, stack.mrc.gz
DEGREES = {
    "rad": float(np.rad2deg(1.0)),
    "radian": float(np.rad2deg(1.0)),
    "radians": float(np.rad2deg(1.0)),
    "mrad": float(np.rad2deg(1e-3)),
    "gon": 0.9,
    "gradian": 0.9,
    "gradians": 0.9,
}
"""Degrees of a unit that is none."""
ANGLE_UNITS = ("deg", "degree", "degrees", "°", *DEGREES)

_SIGN = r"([+-]|(?<![A-Za-z])[pm])?"
_DIGITS = r"(\d+(?:\.\d+)?)"
_MARKED = (
    re.compile(_SIGN + _DIGITS + r"[ _]?(?:deg|°)", re.IGNORECASE),
    re.compile(r"(?:tilt|angle|alpha|theta)[ _=]*([+-]|[pm])?" + _DIGITS, re.IGNORECASE),
)
_APART = re.compile(r"(?<![A-Za-z0-9.])([+-]|[pm])?" + _DIGITS)
_ANYWHERE = re.compile(r"([+-])?" + _DIGITS)
_COMMENT = re.compile(r"(?:#|%|//).*")
_DECIMAL = re.compile(r"^[+-]?\d+,\d+$|[;\t]")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_GON = re.compile(r"(?<![A-Za-z])(?:gon|gradians?)(?![A-Za-z])", re.IGNORECASE)
_TITLE = re.compile("tilt|angle|alpha|theta|deg", re.IGNORECASE)
MINUS = {ord(sign): "-" for sign in "\u2212\u2013\ufe63\uff0d"}
"""Signs that programs write for a hyphen, or people copy from a page."""
PLAIN: dict[int, str] = MINUS | {ord(sign): " " for sign in "[](){}°\ufffd"}
"""What may stand beside the numbers of a text: brackets, and a sign of degrees in any encoding."""
FARTHEST = 360.0  # degrees: a larger number in a name is a date, a size or a count


def sidecar_angles(path: Path) -> tuple[tuple[float, ...], Path] | None:
    """Read the angles that lie beside a stack, in degrees.

    Parameters
    ----------
    path : of the stack; ``stack.rawtlt``, ``stack.tlt``, ``stack.mdoc`` or ``stack.mrc.mdoc`` are
        looked for.

    Returns
    -------
    angles, path : or None without such a file.

    Raises
    ------
    BadInput : a sidecar without numbers.
    """
    for place in _beside(path):
        if place.is_file():
            return angles_of_text(place), place
    return None


def angles_of_text(path: Path) -> tuple[float, ...]:
    """Read angles from a text file: one a line, or the ``TiltAngle`` lines of an mdoc; in degrees.

    Parameters
    ----------
    path : of the file.

    Raises
    ------
    BadInput : no angle in it.
    """
    text = _decoded(path.read_bytes())
    found = _of_mdoc(text) or _of_table(text.translate(PLAIN))
    factor = DEGREES["gon"] if _GON.search(text) else 1.0
    try:
        angles = tuple(factor * float(word) for word in found)
    except ValueError as fault:
        raise BadInput(f"no angle ({fault})", source=path, accepted="a number a line") from fault
    if not angles:
        raise BadInput("no angle", source=path, accepted="a number a line, or an mdoc's TiltAngle")
    return angles


def _decoded(raw: bytes) -> str:
    """A text in any encoding: a microscope writes its notes in many, with the same numbers."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", errors="replace")
    high, low = raw[::2].count(0), raw[1::2].count(0)
    if high or low:  # UTF-16 without its mark: of a digit every other byte is 0
        return raw.decode("utf-16-be" if high > low else "utf-16-le", errors="replace")
    return raw.decode("utf-8-sig", errors="replace")


def _beside(path: Path) -> Iterator[Path]:
    """Where the angles of a stack may lie: beside it, or beside the file that a link leads to."""
    for stack in dict.fromkeys((path, path.resolve())):
        bare = stack.with_suffix("")
        bare = bare.with_suffix("") if bare.suffix.lower() in INNER else bare
        for suffix in (form for s in SIDECARS for form in (s, s.upper())):
            yield from (stack.with_suffix(suffix), Path(f"{stack}{suffix}"))
            yield bare.with_name(bare.name + suffix)


def _of_mdoc(text: str) -> list[str]:
    """Angles of an mdoc, in the order of its sections' numbers, which are those of the images."""
    numbered, section = [], 0
    for number, angle in re.findall(
        r"^\s*(?:\[ZValue\s*=\s*(\d+)\]|TiltAngle\s*=\s*(\S+))", text, re.MULTILINE
    ):
        if angle:
            numbered.append((section, angle))
        else:
            section = int(number)
    return [angle for _, angle in sorted(numbered, key=lambda one: one[0])]


def _of_table(text: str) -> list[str]:
    """Numbers of a text: of all its words, or of the one column that can be angles."""
    lines = [bare for line in text.splitlines() if (bare := _COMMENT.sub("", line).strip("\t ,;"))]
    header: list[str] = []
    while lines and not any(map(_is_number, words := _words(lines[0]))):
        header, lines = words, lines[1:]
    if len(lines) > 1 and all(_DECIMAL.search(line) for line in lines):
        lines = [_DECIMAL_COMMA.sub(".", line) for line in lines]  # as in many countries
    rows = [_words(line) for line in lines]
    return _column(rows, header) or [word for row in rows for word in row]


def _words(line: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", line) if word]


def _column(rows: list[list[str]], header: list[str]) -> list[str]:
    """The column that its header calls angles, else the only one of numbers that do not count.

    Empty where there is none, or several.
    """
    if len(rows) < 2 or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
        return []
    columns = [list(column) for column in zip(*rows, strict=True)]
    titled = zip(header, columns, strict=True) if len(header) == len(columns) else ()
    called = [column for title, column in titled if _TITLE.search(title)]
    if len(called) == 1:
        return called[0]
    counted = [[str(i + start) for i in range(len(rows))] for start in (0, 1)]
    able = [c for c in columns if all(map(_is_number, c)) and c not in counted and len({*c}) > 1]
    return able[0] if len(able) == 1 else []


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def values_of_axis(axis: Mapping[str, Any], count: int) -> tuple[float, ...]:
    """Values along an axis of a file, whether their steps are alike or not.

    Parameters
    ----------
    axis : as RosettaSciIO describes one: ``axis`` holds the values, else ``offset`` and ``scale``.
    count : of its points.
    """
    if "axis" in axis:
        values = np.asarray(axis["axis"], np.float64)
    else:
        values = axis.get("offset", 0.0) + axis.get("scale", 1.0) * np.arange(count)
    return tuple(float(value) for value in values)


def degrees_of_axis(axis: Mapping[str, Any], count: int) -> tuple[float, ...]:
    """Angles along an axis of a file, in degrees whatever its unit.

    Parameters
    ----------
    axis : as RosettaSciIO describes one.
    count : of its points.

    Examples
    --------
    >>> [round(a) for a in degrees_of_axis({"units": "rad", "offset": -0.5236, "scale": 0.5236}, 3)]
    [-30, 0, 30]
    """
    factor = DEGREES.get(str(axis.get("units", "")).lower().strip("[] "), 1.0)
    return tuple(factor * value for value in values_of_axis(axis, count))


def angle_of_name(path: Path) -> float | None:
    """Take the angle from a file's name: its last number, with a sign, or ``p`` and ``m`` for one.

    Parameters
    ----------
    path : of the file.

    Examples
    --------
    >>> angle_of_name(Path("-40.bcf")), angle_of_name(Path("haadf_p12.5deg.dm4"))
    (-40.0, 12.5)
    >>> angle_of_name(Path("overview.dm4")) is None
    True
    """
    found = angles_of_names([path])
    return None if found is None else found[0]


def angles_of_names(paths: Sequence[Path]) -> tuple[float, ...] | None:
    """Take the angles from the names of the files of one channel.

    A number marked as an angle comes first (``tilt40``, ``-40deg``), then the one that differs from
    file to file and is signed, then the last that differs and does not merely count the files.

    Parameters
    ----------
    paths : of the files.

    Returns
    -------
    tuple of float : None where the names do not say.

    Examples
    --------
    >>> angles_of_names([Path("Co_-40_0001.tif"), Path("Co_0_0002.tif"), Path("Co_40_0003.tif")])
    (-40.0, 0.0, 40.0)
    >>> angles_of_names([Path("HAADF-10.tif"), Path("HAADF+10.tif")])
    (-10.0, 10.0)
    """
    stems = [path.stem.translate(MINUS) for path in paths]
    for marked in _MARKED:
        found = [marked.findall(stem) for stem in stems]
        if all(found) and _distinct(values := [_number(f[-1]) for f in found]):
            return tuple(values)
    for anywhere in (_APART, _ANYWHERE) if len(paths) > 1 else (_APART,):
        columns = _columns([anywhere.findall(stem) for stem in stems])
        able = [c for c in columns if _distinct([_number(n) for n in c])]
        if able:
            # max keeps the first of equals, and the last number of a name comes first
            best = max(able, key=_likeliness)
            return tuple(_number(n) for n in best)
    lasts = [_APART.findall(stem) for stem in stems]
    return tuple(_number(f[-1]) for f in lasts) if all(lasts) else None


Number = tuple[str, str]  # sign and digits


def _columns(found: list[list[Number]]) -> list[list[Number]]:
    """Numbers at the same place from the end of each name, the last ones first."""
    least = min(map(len, found))
    return [[numbers[-1 - place] for numbers in found] for place in range(least)]


def _likeliness(numbers: list[Number]) -> tuple[bool, bool]:
    values = [_number(n) for n in numbers]
    counted = sorted(values) in ([*range(len(values))], [*range(1, len(values) + 1)])
    return any(sign for sign, _ in numbers), not (counted and len(values) > 1)


def _distinct(values: list[float]) -> bool:
    return len(set(values)) == len(values) and max(map(abs, values)) <= FARTHEST


def _number(found: Number) -> float:
    sign, digits = found
    return -float(digits) if sign in ("-", "m", "M") else float(digits)
