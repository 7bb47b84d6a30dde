"""Walltimes: reading and writing them, and the part of one that trials may use."""

from __future__ import annotations

import re

from ...recon_core.errors import BadInput

FORMS = "HH:MM:SS or D-HH:MM:SS, above zero"
RESERVE_SECONDS, RESERVE_PART = 60.0, 0.05
"""Of a walltime, kept for the atlas and the report: the smaller of the two."""


def parse_walltime(text: str) -> int:
    """Return the seconds of ``HH:MM:SS`` or ``D-HH:MM:SS``; hours may be more than 24.

    Raises
    ------
    BadInput : any other form, or no time at all.

    Examples
    --------
    >>> parse_walltime("1-02:00:30")
    93630
    """
    found = re.fullmatch(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d):([0-5]\d)", text.strip())
    days, hours, minutes, seconds = (
        (int(part or 0) for part in found.groups()) if found else [0] * 4
    )
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise BadInput("not a walltime", key="--walltime", value=text, accepted=FORMS)
    return total


def walltime_text(seconds: float) -> str:
    """Write ``seconds`` as ``HH:MM:SS``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def for_trials(seconds: float) -> float:
    """The part of a walltime that trials may use; the rest is for atlas and report."""
    return seconds - min(RESERVE_SECONDS, RESERVE_PART * seconds)
