"""Walltimes as people write them, and how much of one trials may use."""

from __future__ import annotations

import re

from ...recon_core.errors import BadInput

FORMS = "HH:MM:SS or D-HH:MM:SS, above zero"
RESERVE_SECONDS, RESERVE_PART = 60.0, 0.05
"""Reserved at the end of a walltime for the atlas and the report: seconds, or this fraction
of it, whichever is smaller.
"""


def parse_walltime(text: str) -> int:
    """Seconds of a walltime.

    Parameters
    ----------
    text : ``HH:MM:SS`` or ``D-HH:MM:SS``; hours may exceed 24.

    Raises
    ------
    BadInput : any other form, or zero.

    Examples
    --------
    >>> parse_walltime("00:30:00"), parse_walltime("2-12:00:00")
    (1800, 216000)
    """
    # Slurm's form with days beside the common one; minutes alone would be ambiguous.
    found = re.fullmatch(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d):([0-5]\d)", text.strip())
    days, hours, minutes, seconds = (
        (int(part or 0) for part in found.groups()) if found else [0] * 4
    )
    # A malformed text also gives zero, which no job may have.
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise BadInput("not a walltime", key="--walltime", value=text, accepted=FORMS)
    return total


def walltime_text(seconds: float) -> str:
    """A walltime as schedulers read it.

    Parameters
    ----------
    seconds : rounded down to whole seconds.

    Returns
    -------
    ``HH:MM:SS``, with hours above 24 where needed.

    Examples
    --------
    >>> walltime_text(216000)
    '60:00:00'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def for_trials(seconds: float) -> float:
    """The part of a walltime that trials may use; the rest is kept for the atlas and the report.

    Parameters
    ----------
    seconds : the walltime.

    Examples
    --------
    >>> for_trials(3600.0), for_trials(100.0)
    (3540.0, 95.0)
    """
    return seconds - min(RESERVE_SECONDS, RESERVE_PART * seconds)
