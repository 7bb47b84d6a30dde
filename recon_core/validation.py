"""Errors of pydantic, each as one line that names section, key and value."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from .errors import BadInput

M = TypeVar("M", bound=BaseModel)
Location = tuple[int | str, ...]
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_MEANT = {"radius_nm": "diameter_nm"}  # what sounds least like the key that is meant
MANY = 40  # keys are too many to name: those of the nearest one's table will do
_IN_TOML = {"an object": "a table", "array": "a list"}
_KINDS: dict[object, str] = {str: "a string", int: "an integer", float: "a number"}


def validated(
    data: Mapping[str, Any], model: type[M], source: str | Path | None, strict: bool | None = None
) -> M:
    """The model of a table.

    Parameters
    ----------
    data : the table, as read.
    model : what it describes.
    source : the file or the part of one that holds it; None if there is none.
    strict : as pydantic takes it; None for what the model says.

    Raises
    ------
    BadInput : an unknown key, or a value that is not acceptable.
    """
    try:
        return model.model_validate(data, strict=strict)
    except ValidationError as error:
        raise validation_error(error, data, model, source) from error


def validation_error(
    error: ValidationError,
    data: object,
    model: type[BaseModel],
    source: str | Path | None,
    axes: Collection[str] = (),
) -> BadInput:
    """Report the first fault of a table in one line; a misspelt key comes before all others.

    Parameters
    ----------
    error : as pydantic raises it.
    data : the table that was validated, as read.
    model : the model that it was validated by.
    source : the file that holds it; None if there is no file.
    axes : paths whose values come from ``[axes]``, and are named so.

    Returns
    -------
    BadInput : to be raised by the caller.
    """
    found = sorted(error.errors(), key=lambda e: _rank(e, data))[0]
    location = _located(found["loc"], data, found["type"] == "missing")
    key = _name(location, axes)
    value = _at(data, location)
    inner = found.get("ctx", {}).get("error")
    if isinstance(inner, BadInput):
        return _from_inner(inner, source, key, value, axes)
    if found["type"] == "extra_forbidden":
        return unknown_key(location, _keys(model, location[:-1], data), value, source)
    if found["type"] == "missing":
        return _missing(location, data, model, source)
    accepted = _accepted(found, _field(model, location, data))
    if location[:1] == ("axes",):
        accepted = "a list of numbers or strings" if location[1:] else "a table of lists"
    return BadInput(_problem(found), source=source, key=key, value=value, accepted=accepted)


def unknown_key(
    location: Location, known: Iterable[str], value: object, source: str | Path | None
) -> BadInput:
    """Report a key that has no meaning, with the nearest known one as a suggestion.

    Parameters
    ----------
    location : steps to the key.
    known : keys possible in its place.
    value : the value of the key.
    source : the file that holds it; None if there is no file.

    Returns
    -------
    BadInput : to be raised by the caller.
    """
    known = list(known)
    meant = _MEANT.get(str(location[-1]), str(location[-1]))
    near = difflib.get_close_matches(meant, known, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]}?" if near else ""
    if near and len(known) > MANY:
        table = near[0].split(".")[0]
        known = [name for name in known if name.split(".")[0] == table]
    return BadInput(
        f"unknown key{hint}",
        source=source,
        key=_name(location, ()),
        value=value,
        accepted=", ".join(known),
    )


def _missing(
    location: Location, data: object, model: type[BaseModel], source: str | Path | None
) -> BadInput:
    """Report a key that is required, or a list that ends too early."""
    info = _field(model, location, data)
    kind = info.annotation if info else None
    if isinstance(location[-1], int):
        key, value = _name(location[:-1], ()), _at(data, location[:-1])
        accepted = f"{len(get_args(kind))} values"
        return BadInput("too short", source=source, key=key, value=value, accepted=accepted)
    inner = _table(info) if info else None
    table = f"a table of {', '.join(inner.model_fields)}" if inner else None
    return BadInput(
        "missing", source=source, key=_name(location, ()), accepted=table or _KINDS.get(kind)
    )


def _rank(found: Any, data: object) -> tuple[bool, int]:
    located = _located(found["loc"], data, found["type"] == "missing")
    return found["type"] != "extra_forbidden", -len(located)


def _located(loc: Location, data: object, missing: bool) -> Location:
    """The part of a pydantic location that is in the data, without the tags of union members."""
    path: list[int | str] = []
    for step in loc:
        if _has(data, step):
            path.append(step)
            data = data[step]  # type: ignore[index]
    return (*path, loc[-1]) if missing else tuple(path)


def _has(data: object, step: int | str) -> bool:
    if isinstance(data, list):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, Mapping) and step in data


def _at(data: object, location: Location) -> object:
    for step in location:
        if not _has(data, step):
            return None
        data = data[step]  # type: ignore[index]
    return data


def _name(location: Location, axes: Collection[str]) -> str:
    name = ".".join(str(step) for step in location)
    return f"axes.{name}" if name in axes else name


def _from_inner(
    inner: BadInput, source: str | Path | None, key: str, value: object, axes: Collection[str]
) -> BadInput:
    if inner.source is not None:
        return inner  # of another file, which this one names
    if inner.key is not None:
        key = f"axes.{inner.key}" if inner.key in axes else inner.key
        value = inner.value
    return inner.at(source=source, key=key, value=value)


def _keys(model: type[BaseModel], location: Location, data: object) -> list[str]:
    info = _field(model, location, data)
    inner = model if info is None else _table(info)
    return [] if inner is None else list(_fields(inner, _at(data, location)))


def _field(model: type[BaseModel], location: Location, data: object) -> FieldInfo | None:
    info = None
    for depth, step in enumerate(location):
        known = _fields(model, _at(data, location[:depth]))
        if step not in known:
            break
        info = known[str(step)]
        inner = _table(info)
        if inner is None:
            break
        model = inner
    return info


def _fields(model: type[BaseModel], data: object) -> Mapping[str, FieldInfo]:
    """The fields of a table; some depend on what it holds, as on the kind of a specimen."""
    fields_for: Callable[[object], Mapping[str, FieldInfo]] | None
    fields_for = getattr(model, "fields_for", None)
    return model.model_fields if fields_for is None else fields_for(data)


def _table(info: FieldInfo) -> type[BaseModel] | None:
    """The table that a field is, or may be; None for a value."""
    kind = info.annotation
    for one in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _problem(found: Any) -> str:
    return "out of range" if _SIGNS.keys() & found.get("ctx", {}).keys() else "not acceptable"


def _accepted(found: Any, info: FieldInfo | None) -> str:
    limits = [
        f"{sign} {getattr(mark, name):g}"
        for mark in (info.metadata if info else ())
        for name, sign in _SIGNS.items()
        if hasattr(mark, name)
    ]
    if found["type"] == "too_long":
        return f"{found['ctx']['max_length']} values"
    if found["type"] == "value_error" or not limits:
        return _plain(str(found["msg"]))
    kind = "integer" if info is not None and info.annotation is int else "number"
    return f"{kind} {' and '.join(limits)}"


def _plain(message: str) -> str:
    for words in ("Value error, ", "expected ", "Input should be ", "a valid "):
        message = message.removeprefix(words)
    # HH:MM:SS stays as it is
    opening = message[:1] if message[:2].isupper() else message[:1].lower()
    return _IN_TOML.get(message, opening + message[1:])
