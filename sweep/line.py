"""Trials that are made and wait to be started, and which of them may start in the time left."""

from __future__ import annotations

from collections import Counter, deque

from recon_core.settings import Method
from sweep.pace import Pace
from sweep.strand import Strand
from sweep.trial import Trial
from sweep.watch import Watch

Made = tuple[Strand, Trial]


class Line:
    """Trials in the order in which they are to be started.

    One that is too long for the time left stands aside, and comes back when more is known. As long
    as nothing is known of a method, and nothing of it is under way, its shortest trial is started
    however long the estimate: that knows no device, and a trial can still be given up with the run.

    Parameters
    ----------
    pace : how long a trial will take.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._waiting: deque[Made] = deque()
        self._aside: list[Made] = []
        self._scouts: set[Trial] = set()
        self._out: Counter[Method] = Counter()
        self._news = True

    @property
    def waiting(self) -> int:
        """Trials in line, those aside left out."""
        return len(self._waiting)

    @property
    def aside(self) -> int:
        """Trials that were too long when their turn came."""
        return len(self._aside)

    def add(self, strand: Strand, trial: Trial) -> None:
        """Put a trial at the end."""
        self._waiting.append((strand, trial))

    def start(self) -> Made:
        """The first trial, which is under way from now on."""
        strand, trial = self._waiting.popleft()
        self._out[trial.method] += 1
        return strand, trial

    def end(self, strand: Strand, trial: Trial, again: bool) -> None:
        """A trial has come back; ``again`` puts it in front of all."""
        self._out[trial.method] -= 1
        self._news = True
        if again:
            self._waiting.appendleft((strand, trial))

    def startable(self, watch: Watch) -> bool:
        """Whether the first trial can be started now, once those that cannot are aside."""
        while self._waiting:
            if self._fits(self._waiting[0], watch):
                return True
            self._aside.append(self._waiting.popleft())
            self._news = True
        return False

    def recall(self, watch: Watch) -> bool:
        """Put those back in line that may start by now; whether there are any."""
        if not self._news:
            return False
        self._news = False
        back = [made for made in self._aside if self._fits(made, watch)] or self._chosen_scouts()
        gone = {trial for _, trial in back}
        self._aside = [made for made in self._aside if made[1] not in gone]
        self._waiting.extend(back)
        return bool(back)

    def _fits(self, made: Made, watch: Watch) -> bool:
        strand, trial = made
        expected = self._pace.expected(strand)
        return watch.endless or trial in self._scouts or watch.allows(expected)

    def _chosen_scouts(self) -> list[Made]:
        """The shortest trial of every method of which nothing is known or under way."""
        shortest: dict[Method, Made] = {}
        for strand, trial in sorted(self._aside, key=lambda made: self._pace.expected(made[0])):
            if not (self._pace.knows(trial.method) or self._out[trial.method]):
                shortest.setdefault(trial.method, (strand, trial))
        self._scouts.update(trial for _, trial in shortest.values())
        return list(shortest.values())
