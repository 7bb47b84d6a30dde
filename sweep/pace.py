"""How long a trial will take: from those that are finished, else from the study's estimate."""

from __future__ import annotations

from collections import defaultdict

from recon_core.settings import Method
from sweep.estimate import trial_seconds
from sweep.strand import Strand

OWN_MARGIN, OTHERS_MARGIN = 1.25, 1.5
"""Over the slowest trial of the same cell and method; over what other cells let one expect."""


class Pace:
    """Learns from finished trials how long the next will take."""

    def __init__(self) -> None:
        self._slowest: dict[Strand, float] = {}
        self._seconds: defaultdict[Method, float] = defaultdict(float)
        self._estimated: defaultdict[Method, float] = defaultdict(float)
        self._estimates: dict[Strand, float] = {}

    def learn(self, strand: Strand, seconds: float) -> None:
        """A trial of ``strand`` took ``seconds``."""
        self._slowest[strand] = max(seconds, self._slowest.get(strand, 0.0))
        self._seconds[strand.method] += seconds
        self._estimated[strand.method] += self.estimate(strand)

    def knows(self, method: Method) -> bool:
        """Whether a trial of ``method`` is finished."""
        return bool(self._estimated[method])

    def expected(self, strand: Strand) -> float:
        """Seconds within which a trial of ``strand`` will very likely end, one way or another."""
        slowest = self._slowest.get(strand)
        if slowest is None:
            likely = OTHERS_MARGIN * self._rate(strand.method) * self.estimate(strand)
        else:
            likely = OWN_MARGIN * slowest
        return min(likely, strand.study.limits.trial_seconds or likely)

    def estimate(self, strand: Strand) -> float:
        """Seconds of a trial of ``strand`` as the study lets one expect, before anything is run."""
        if strand not in self._estimates:
            self._estimates[strand] = trial_seconds(strand.study, strand.method)
        return self._estimates[strand]

    def _rate(self, method: Method) -> float:
        """Time over estimate: of this method, else of all, else as estimated."""
        if self._estimated[method]:
            return self._seconds[method] / self._estimated[method]
        estimated = sum(self._estimated.values())
        return sum(self._seconds.values()) / estimated if estimated else 1.0
