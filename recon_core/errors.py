"""Errors that are told in one line: input that a person can mend, trouble of the machine."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MENDABLE = {
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
"""What the system says of a wrong path; all else, as a full disk, is trouble of the machine. A file
that a library cannot read has no number."""


class BadInput(ValueError):
    """Input that a person can mend; ``str()`` is one line naming file, key, value and remedy.

    Parameters
    ----------
    problem : what is wrong, in a few words.
    source : the file or argument in which it stands.
    key : the key inside that source (``section.key`` in a study, a dataset path in HDF5).
    value : the offending value.
    accepted : what would be accepted instead.
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

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the line when the error crosses a process boundary."""
        return _rebuild, (self.problem, self.source, self.key, self.value, self.accepted)

    def _line(self) -> str:
        where = [str(self.source)] if self.source is not None else []
        if self.key is not None:
            where.append(self.key if self.value is None else f"{self.key} = {self.value!r}")
        elif self.value is not None:
            where.append(repr(self.value))
        line = ": ".join([*where, self.problem])
        if self.accepted is not None:
            line += f"; accepted: {self.accepted}"
        return " ".join(line.split())


class Trouble(RuntimeError):
    """Trouble of the machine, not of the input: the same call may go well a little later."""


def from_os_error(
    error: OSError, problem: str = "", source: str | Path | None = None, accepted: str | None = None
) -> BadInput | Trouble:
    """What ``error`` is to a person: a path that can be mended, or trouble of the machine."""
    reason = ": ".join(part for part in (problem, error.strerror or str(error)) if part)
    bad = BadInput(reason, source=source, accepted=accepted)
    return bad if error.errno in MENDABLE else Trouble(str(bad))


def _rebuild(
    problem: str, source: str | None, key: str | None, value: object, accepted: str | None
) -> BadInput:
    return BadInput(problem, source=source, key=key, value=value, accepted=accepted)


@contextmanager
def needed(package: str, extra: str, purpose: str) -> Iterator[None]:
    """Imports inside say in one line which extra to install for ``purpose``.

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
            accepted=f"pip install 'tomoatlas[{extra}]'",
        ) from error
