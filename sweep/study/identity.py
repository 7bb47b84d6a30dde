"""Canonical parameters: the identity of a trial and the seeds drawn from a condition."""

from __future__ import annotations

import hashlib
import json


def canonical(parameters: object) -> str:
    """JSON text of ``parameters`` that does not depend on the order of keys.

    Raises
    ------
    ValueError : a number that is not finite.
    """
    return json.dumps(parameters, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(parameters: object) -> str:
    """Identity of ``parameters``: SHA-256 of their canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical(parameters).encode()).hexdigest()


def seed_from(*parts: object) -> int:
    """A seed in [0, 2**63) that depends on every part, never on time, rank or order of work."""
    return int(digest(list(parts))[:16], 16) >> 1


def short_seed(*parts: object) -> int:
    """:func:`seed_from` in [0, 2**31), for generators that take no more."""
    return seed_from(*parts) >> 32
