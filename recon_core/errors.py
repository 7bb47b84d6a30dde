"""Errors that are reported in one line: input a person can correct, and failures of the machine."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CORRECTABLE = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
    None,
}
"""Error numbers of a wrong path. All others, such as a full disk, are failures of the machine; None
stands for a file that a library cannot read."""


class BadInput(ValueError):
    """Input that a person can correct; ``str()`` is one line naming file, key, value and remedy.

    Parameters
    ----------
    problem : what is wrong, in a few words.
    source : the file or argument that holds it.
    key : the key inside that source (``section.key`` in a study, a dataset path in HDF5).
    value : the offending value.
    accepted : what would be accepted instead.

    Examples
    --------
    >>> raise BadInput("negative", source="study.toml", key="seed", value=-1, accepted=">= 0")
    Traceback (most recent call last):
    tomoatlas.recon_core.errors.BadInput: study.toml: seed = -1: negative; accepted: >= 0
    """

    def __init__(
        self,
        problem: str,
        *,
        source: str | Path | None = None,
        key: str | None = None,
        value: object = None,
        accepted: str | None = None,
    ) -> None:
        self.problem, self.source, self.key = problem, source, key
        self.value, self.accepted = value, accepted
        super().__init__(self._line())

    def at(
        self,
        *,
        source: str | Path | None = None,
        key: str | None = None,
        value: object = None,
        accepted: str | None = None,
    ) -> BadInput:
        """Return a copy that names the place as the caller knows it.

        Parameters
        ----------
        source, key, value, accepted : replace those of this error; None keeps them.

        Examples
        --------
        >>> print(BadInput("negative", key="seed", value=-1).at(source="study.toml"))
        study.toml: seed = -1: negative
        """
        return BadInput(
            self.problem,
            source=self.source if source is None else source,
            key=self.key if key is None else key,
            value=self.value if value is None else value,
            accepted=self.accepted if accepted is None else accepted,
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Keep all parts of the error when it crosses a process boundary."""
        # by default an exception is rebuilt from its message alone
        return _rebuild, (self.problem, self.source, self.key, self.value, self.accepted)

    def _line(self) -> str:
        where = [str(self.source)] if self.source is not None else []
        # As a person wrote it: a path has another name on each system.
        value = str(self.value) if isinstance(self.value, Path) else self.value
        if self.key is not None:
            where.append(self.key if value is None else f"{self.key} = {value!r}")
        elif value is not None:
            where.append(repr(value))
        line = ": ".join([*where, self.problem])
        if self.accepted is not None:
            line += f"; accepted: {self.accepted}"
        # one line, whatever the parts contain
        return printable(" ".join(line.split()))


def printable(text: str) -> str:
    r"""A text of which a terminal shows every character and obeys none.

    Parameters
    ----------
    text : of any origin, as a name out of a file.

    Returns
    -------
    What is not printable as an escape; line breaks as well.

    Examples
    --------
    >>> printable("Co\x1b[2J")
    'Co\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Trouble(RuntimeError):
    """Failure of the machine, not of the input: the same call may succeed later."""


def from_os_error(
    error: OSError, problem: str = "", source: str | Path | None = None, accepted: str | None = None
) -> BadInput | Trouble:
    """Classify an operating-system error: a path a person can correct, or a failure of the machine.

    Parameters
    ----------
    error : as raised by the system or by a library that reads files.
    problem : what failed, in a few words; the system's reason is appended.
    source : the path concerned.
    accepted : what would be accepted instead.

    Returns
    -------
    BadInput or Trouble : to be raised by the caller.

    Examples
    --------
    >>> import errno
    >>> from_os_error(OSError(errno.ENOENT, "No such file"), "cannot be read", "a.h5")
    BadInput('a.h5: cannot be read: No such file')
    >>> from_os_error(OSError(errno.ENOSPC, "Disk full"), "cannot be written", "a.h5")
    Trouble('a.h5: cannot be written: Disk full')
    """
    reason = ": ".join(part for part in (problem, error.strerror or str(error)) if part)
    bad = BadInput(reason, source=source, accepted=accepted)
    return bad if error.errno in CORRECTABLE else Trouble(str(bad))


def _rebuild(
    problem: str, source: str | None, key: str | None, value: object, accepted: str | None
) -> BadInput:
    return BadInput(problem, source=source, key=key, value=value, accepted=accepted)


@contextmanager
def needed(package: str, extra: str = "", purpose: str = "", accepted: str = "") -> Iterator[None]:
    """Turn a failed import in the block into one line that names the extra to install.

    Parameters
    ----------
    package : name of the package, as it is known to users.
    extra : extra of this distribution that installs it.
    purpose : what it is needed for; the key of the error.
    accepted : what to do instead, of a package that is in no extra.

    Raises
    ------
    BadInput : ``package`` is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise BadInput(
            f"{package} is not installed ({error})",
            key=purpose,
            accepted=accepted or f"pip install 'tomoatlas[{extra}]'",
        ) from error
