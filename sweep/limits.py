"""What one trial may take before it is ended."""

from __future__ import annotations

from dataclasses import dataclass

from recon_core.errors import BadInput
from sweep.study import Study

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Hard limits of a trial, None for none; a trial over one is killed and has a final status.

    ``seconds``: wall time, from the moment the trial is in its process; over it the status is
    timeout. ``memory_bytes``: resident memory of the process, caches of the specimen included; over
    it the status is crashed, for the process was killed and nobody knows how the trial would have
    ended. So it is of a trial that itself meets a MemoryError.

    Raises
    ------
    BadInput : a limit that is not positive.
    """

    seconds: float | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput("out of range", key=name, value=value, accepted="number > 0")

    @classmethod
    def of(cls, study: Study) -> Limits:
        """What the ``[limits]`` of a study say."""
        return cls(study.limits.trial_seconds, study.limits.memory_bytes)
