"""What a result was made with: the algorithm's revision, the version, the commit, the packages."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from ..recon_core.errors import BadInput

_SHOWN = ("tomoatlas", "numpy", "scipy", "numba", "astra-toolbox", "scikit-optimize")

UNRECORDED = 0
"""The revision of a trial that names none."""

REVISIONS: dict[int, str] = {
    UNRECORDED: "until 2026-11-28: not recorded, several states of the solver; that of the "
    "committed atlases gave 0.5081 where revision 1 gives 0.5096",
    1: "2026-11-28: the first recorded; strong TV settles, a filter for the first steps",
    2: "2026-11-28: counts without background have a likelihood of bounded slope and curvature; "
    "grids below 32 voxels and odd ones start from half the resolution too; others as before",
    3: "2026-11-28: the HAADF half of a step remembers its last one and momentum is 0.9, which "
    "halves the iterations; a trial ends when its volumes have settled, not its objective alone; "
    "an unknown HAADF scale is fitted while the objective falls",
    4: "2026-11-28: TV keeps a tenth of its weight at the edges of a guide, where it kept 1/25: "
    "single voxels gather less noise; without a guide as before",
    5: "2026-11-29: convex problems keep their momentum and hold totals by longer steps, their "
    "trials begin with duals eased by the weights: about half the iterations to the same minimum "
    "of the same guide; a trial may end with volumes and coupling less settled",
}
"""Revision of the algorithm → since when, and what moved.

A new one whenever the score of any trial moves by more than rounding: by more than
:data:`ROUNDING` on the same device. Trials of different revisions are no repetitions of each other.
"""

REVISION = max(REVISIONS)
"""The revision of this code."""

ROUNDING = 1e-4
"""Relative difference up to which two scores are the same.

Devices and libraries add in another order, each sum off by single precision's 6e-8 and a solve by
some hundreds of them: well below this. The solver's last change moved scores by 3e-3, well above.
"""

_MOST = 2**31
_NAMED = 4
# SHA-1, or SHA-256 of newer repositories.
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True)
class Provenance:
    """The code that made a result; no part of a trial's identity.

    Parameters
    ----------
    revision : of the algorithm, see :data:`REVISIONS`.
    version : of the installed distribution.
    commit : of the checkout or of the source that was installed, None where unknown. Changes that
        are not committed do not show in it.
    """

    revision: int
    version: str
    commit: str | None

    @property
    def results(self) -> tuple[int, str]:
        """What results depend on; a commit of the same revision and version gives the same."""
        return self.revision, self.version

    def __str__(self) -> str:
        commit = f", commit {self.commit[:12]}" if self.commit else ""
        return f"revision {self.revision}, version {self.version}{commit}"


@cache
def provenance() -> Provenance:
    """Of the code that is running; read once per process."""
    commit = checkout_commit(Path(__file__).resolve().parents[1]) or _installed_commit()
    return Provenance(REVISION, package_version("tomoatlas"), commit)


def check_same_code(codes: Mapping[str, Provenance]) -> None:
    """Refuse processes of one run that another revision or version would have evaluate trials.

    Parameters
    ----------
    codes : of each process by its name, such as ``rank 3 on node7``; the first is the manager.

    Raises
    ------
    BadInput : naming the processes of the first other code, and the manager.
    """
    manager, expected = next(iter(codes.items()))
    others = [code for code in codes.values() if code.results != expected.results]
    if not others:
        return
    found = others[0]
    who = [name for name, code in codes.items() if code.results == found.results]
    more = f" and {len(who) - _NAMED} more" if len(who) > _NAMED else ""
    raise BadInput(
        f"another version of tomoatlas than that of {manager}",
        source=", ".join(who[:_NAMED]) + more,
        key="version",
        value=str(found),
        accepted=f"{expected}, everywhere",
    )


def revision_of(record: Mapping[str, Any]) -> int:
    """The revision that a record of the journal names; :data:`UNRECORDED` where it names none."""
    found = record.get("revision")
    # bool is an int, and a damaged line may hold any number.
    return found if type(found) is int and UNRECORDED < found < _MOST else UNRECORDED


def revision_note(
    counts: Mapping[int, int],
    what: str = "trials",
    meaning: str = "its scores may differ by more than rounding",
) -> str | None:
    """One line on what other revisions of the algorithm made; None where this one made all.

    Parameters
    ----------
    counts : how many of each revision.
    what : is counted, in the plural.
    meaning : for whoever reads it; by itself the difference is no fault.

    Examples
    --------
    >>> revision_note({REVISION: 12}) is None
    True
    """
    others = {revision: n for revision, n in sorted(counts.items()) if n and revision != REVISION}
    if not others:
        return None
    listed = ", ".join(f"{n} by {revision_name(revision)}" for revision, n in others.items())
    return (
        f"{sum(others.values())} of {sum(counts.values())} {what} were made by other revisions of "
        f"the algorithm ({listed}; the present one is {REVISION}), which is no fault: {meaning}"
    )


def revision_name(revision: int) -> str:
    """``revision 2``, or that it was not recorded."""
    return f"revision {revision}" if revision else "an unrecorded revision"


def checkout_commit(root: Path) -> str | None:
    """The commit that the git checkout at ``root`` has checked out, without running git.

    None where ``root`` itself is no checkout: one further up belongs to something else.
    """
    with suppress(OSError, ValueError):
        # By its files: git need not be there, and a thousand ranks would start a thousand
        # processes.
        git = _git_folder(root / ".git")
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        found = _resolved(git, head.removeprefix("ref: ")) if head.startswith("ref: ") else head
        return found if _COMMIT.fullmatch(found) else None
    return None


def _git_folder(path: Path) -> Path:
    """The folder itself; a worktree has a file there that names it."""
    if path.is_dir():
        return path
    return path.parent / path.read_text(encoding="utf-8").strip().removeprefix("gitdir: ")


def _resolved(git: Path, ref: str) -> str:
    """The commit of a branch: a file of its own, or a line of the packed ones."""
    # The branches of a worktree are kept by the checkout that it was made from.
    shared = git / "commondir"
    common = git / shared.read_text(encoding="utf-8").strip() if shared.is_file() else git
    for place in (git, common):
        if (place / ref).is_file():
            return (place / ref).read_text(encoding="utf-8").strip()
    lines = (common / "packed-refs").read_text(encoding="utf-8").splitlines()
    return next((line.split()[0] for line in lines if line.endswith(f" {ref}")), "")


def _installed_commit() -> str | None:
    """The commit that pip recorded when it installed from a repository."""
    with suppress(PackageNotFoundError, ValueError, AttributeError, OSError):
        origin = json.loads(distribution("tomoatlas").read_text("direct_url.json") or "{}")
        commit = str(origin.get("vcs_info", {}).get("commit_id", ""))
        return commit if _COMMIT.fullmatch(commit) else None
    return None


def package_version(name: str) -> str:
    """Installed version of a distribution, ``not installed`` for a bare checkout."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """Python and the packages whose version can change a number, with the algorithm's revision."""
    packages = {name: package_version(name) for name in _SHOWN}
    return {"revision": str(REVISION), "python": platform.python_version(), **packages}
