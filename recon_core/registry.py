"""Registries: what a study or the command line can name, and how others add to it.

A registry holds what ships with tomoatlas, what other distributions declare as entry points of its
group, what the present process registers by hand, and, for a name that ends in ``.py``, what that
file defines. Nothing is imported before it is needed, and the entry points of the environment are
read only for a name that does not ship, or to list all names.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from .errors import BadInput

T = TypeVar("T")
SHIPPED = "tomoatlas"
TABLES = ".toml"
"""Suffix of a file that describes a specimen instead of defining it."""


@dataclass(frozen=True)
class Origin:
    """Where an entry of a registry comes from.

    Parameters
    ----------
    provider : distribution or file that provides it.
    value : place of the object, ``module:attribute``.
    """

    provider: str
    value: str

    def __str__(self) -> str:
        return f"{self.value} of {self.provider}"


@dataclass(frozen=True)
class _Loader(Generic[T]):
    """Imports the entries of a registry, and reports what is wrong with one.

    Parameters
    ----------
    noun, group, kind : as of the :class:`Registry`.
    """

    noun: str
    group: str
    kind: type[T]

    def from_point(self, name: str, origin: Origin) -> T:
        """Import the object of an entry point.

        Parameters
        ----------
        name : of the entry.
        origin : where it comes from.

        Raises
        ------
        BadInput : it cannot be imported, or is of another type.
        """
        # What an import runs is a stranger's code: whatever it raises ends as one line that names
        # it.
        point = EntryPoint(name, origin.value, self.group)
        try:
            entry = point.load()
        except Exception as error:
            raise self._fault(
                f"fails to load ({type(error).__name__}: {error})",
                origin.provider,
                name,
                origin.value,
                "a distribution whose entry point can be imported; otherwise uninstall it",
            ) from error
        return self.checked(entry, origin.provider, name, origin.value)

    def from_file(self, name: str) -> T:
        """Return the only entry that a Python file defines, or the one that is named.

        Parameters
        ----------
        name : ``FILE.py`` or ``FILE.py:NAME``.

        Raises
        ------
        BadInput : the file cannot be run, or defines none, or several and none is named.
        """
        path, wanted = split_file(name)
        names = vars(_module(path))
        entries = {key: entry for key, entry in names.items() if isinstance(entry, self.kind)}
        if wanted:
            if wanted not in entries:
                raise self._fault("not in the file", str(path), None, wanted, ", ".join(entries))
            return entries[wanted]
        if len(entries) != 1:
            raise self._fault(
                f"{len(entries) or 'no'} {self.kind.__name__} in the file",
                str(path),
                None,
                list(entries) or None,
                f"one {self.kind.__name__}, or {path.name}:NAME",
            )
        return next(iter(entries.values()))

    def checked(self, entry: object, provider: str, name: str, value: str) -> T:
        """Check the type of an entry.

        Parameters
        ----------
        entry : as imported.
        provider, name, value : what the error calls it.
        """
        if isinstance(entry, self.kind):
            return entry
        raise self._fault(
            f"is of type {type(entry).__name__}", provider, name, value, f"a {self.kind.__name__}"
        )

    def collision(self, name: str, one: Origin, other: str) -> BadInput:
        """Build the error for a name that two distributions declare.

        Parameters
        ----------
        name : of the entry.
        one : where it comes from.
        other : the second provider.
        """
        return self._fault(
            f"declared twice, also as {one}",
            other,
            name,
            None,
            f"one {self.noun} of a name; uninstall or rename the other",
        )

    def _fault(
        self, problem: str, source: str, name: str | None, value: object, accepted: str
    ) -> BadInput:
        key = self.group if name is None else f"{self.group}.{name}"
        return BadInput(problem, source=source, key=key, value=value, accepted=accepted)


class Registry(Generic[T]):
    """Objects of one type by name, imported when they are needed.

    Parameters
    ----------
    noun : what an entry is, for errors.
    group : entry-point group through which other distributions add entries.
    kind : type that every entry must have.
    builtin : name to ``module:attribute`` of what ships with tomoatlas.
    key : where the names are written (``specimen.kind``), for errors.

    Examples
    --------
    >>> from tomoatlas.recon_core.methods import Weights
    >>> registry = Registry("example", "tomoatlas.examples", Weights, {})
    >>> registry.register("strong", Weights(haadf=1.0, tv=5.0))
    >>> registry.get("strong").tv
    5.0
    """

    def __init__(
        self,
        noun: str,
        group: str,
        kind: type[T],
        builtin: Mapping[str, str],
        key: str | None = None,
    ) -> None:
        self.noun, self.group, self.kind, self.key = noun, group, kind, key
        self._loader = _Loader(noun, group, kind)
        self._builtin = dict(builtin)
        self._registered: dict[str, T] = {}
        self._shipped: dict[str, T] = {}

    def get(self, name: str) -> T:
        """Return the entry of a name, or the one that a Python file defines.

        Parameters
        ----------
        name : a name, ``FILE.py``, or ``FILE.py:NAME`` for one of several in a file.

        Raises
        ------
        BadInput : no such entry; it cannot be imported; it is not of the registry's type; two
            distributions declare the name.
        """
        if name in self._registered:
            return self._registered[name]
        if name in self._builtin:
            if name not in self._shipped:
                origin = Origin(SHIPPED, self._builtin[name])
                self._shipped[name] = self._loader.from_point(name, origin)
            return self._shipped[name]
        if is_file(name):
            return self._loader.from_file(name)
        if name in self._plugins:
            return self._loader.from_point(name, self._plugins[name])
        raise self.unknown(name)

    def names(self) -> tuple[str, ...]:
        """List every name: shipped ones in their order, then those of plugins and of this process.

        Raises
        ------
        BadInput : two distributions declare one name.
        """
        return (*self.shipped(), *self.added())

    def shipped(self) -> tuple[str, ...]:
        """Names of what ships with tomoatlas, in their order."""
        return tuple(self._builtin)

    def added(self) -> tuple[str, ...]:
        """Names that plugins and this process have added.

        Raises
        ------
        BadInput : two distributions declare one name.
        """
        return tuple(dict.fromkeys([*self._plugins, *self._registered]))

    def __contains__(self, name: str) -> bool:
        """Check whether a name is registered; a plugin's may still fail to load."""
        known = name in self._builtin or name in self._registered
        return known or (not is_file(name) and name in self._plugins)

    def register(self, name: str, entry: T) -> None:
        """Add an entry to this process, in a notebook or a test; worker processes do not see it.

        Parameters
        ----------
        name : not that of a shipped entry; it hides a plugin's.
        entry : of the registry's type.

        Raises
        ------
        BadInput : the name ships with tomoatlas, or ``entry`` is of another type.
        """
        if name in self._builtin:
            raise self._loader.collision(name, Origin(SHIPPED, self._builtin[name]), "this process")
        self._registered[name] = self._loader.checked(
            entry, "registered by hand", name, repr(entry)
        )

    def refresh(self) -> None:
        """Read the entry points again, as after an installation in a running session."""
        self.__dict__.pop("_plugins", None)

    def origin(self, name: str) -> str:
        """Return the distribution, or the file, that provides an entry.

        Parameters
        ----------
        name : of an entry.
        """
        if is_file(name):
            return str(split_file(name)[0])
        if name in self._builtin:
            return SHIPPED
        return self._plugins[name].provider if name in self._plugins else "this process"

    def unknown(self, name: object) -> BadInput:
        """Build the error for a name that is not registered, with the nearest one that is.

        Parameters
        ----------
        name : as it was given.
        """
        near = difflib.get_close_matches(str(name), self.names(), n=1, cutoff=0.5)
        return BadInput(
            f"no such {self.noun}{f', did you mean {near[0]}?' if near else ''}",
            key=self.key,
            value=name,
            accepted=", ".join(self.names()) or f"an entry point of the group {self.group}",
        )

    @cached_property
    def _plugins(self) -> dict[str, Origin]:
        """Entries of other distributions; one installed twice, as in two folders, counts once."""
        found: dict[str, Origin] = {}
        # Sorted: which of two is named first must not depend on the order of the path.
        for point in sorted(entry_points(group=self.group)):
            origin = Origin(_distribution(point), point.value)
            other = found.setdefault(point.name, origin)
            if point.name in self._builtin:
                other = Origin(SHIPPED, self._builtin[point.name])
            if other != origin:
                raise self._loader.collision(point.name, other, str(origin))
        return found


def is_file(name: str) -> bool:
    """Check whether the name of an entry is a Python file, or a TOML file.

    Parameters
    ----------
    name : ``FILE.py``, ``FILE.py:NAME`` and ``FILE.toml`` are.
    """
    return name.endswith((".py", TABLES)) or ".py:" in name


def split_file(name: str) -> tuple[Path, str]:
    """Split the name of an entry in a file into path and object.

    Parameters
    ----------
    name : ``FILE.py`` or ``FILE.py:NAME``.

    Returns
    -------
    tuple : path, and the object's name or "".

    Examples
    --------
    >>> split_file("rods.py:THIN")[1]
    'THIN'
    """
    stem, colon, wanted = name.partition(".py:")
    return Path(f"{stem}.py" if colon else name).expanduser(), wanted


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed distribution"


def _module(path: Path) -> ModuleType:
    """Import the module of a file, once for each content: an edited file is imported again.

    Raises
    ------
    BadInput : no such file, or it raises when it is run.
    """
    try:
        # the content is part of the module's name, so an edit is not hidden by the cache of imports
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise BadInput(
            error.strerror or "unreadable", source=path, accepted="a Python file"
        ) from error
    name = f"tomoatlas_file_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}_{digest}"
    if name in sys.modules:
        return import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInput("not a Python file", source=path, accepted="a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it is run: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadInput(
            f"fails to load ({type(error).__name__}: {error})",
            source=path,
            accepted="a Python file that can be run",
        ) from error
    return module
