"""Whose turn it is: the order in which the strands of a study get their next trial."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from sweep.strand import Strand

LAST_ROUNDS = 6
"""Trials left for every worker when the end decides the order: 4 are too late for it, 12 no better
(1,000 workers, trials of 4 to 100 s)."""

PORTIONS = 4
"""In which the map fills. The trials of a cell in one portion follow each other, so that a worker
finds the data of its last trial again: to simulate them takes as long as a trial on a GPU."""

Turn = tuple[float, int, Strand]


class Turns:
    """The strands whose next trial can be made, in order.

    Every strand gets a portion of its trials before any gets its next, so that a run that ends
    early leaves an even map. In the last rounds the strand with the most work left is next, so
    that no worker is left alone with a long row of long trials.

    Parameters
    ----------
    strands : all; those of a cell in a row.
    seconds : expected time of a trial of a strand.
    """

    def __init__(self, strands: Iterable[Strand], seconds: Callable[[Strand], float]) -> None:
        self._seconds, self._ending = seconds, False
        self._place = {strand: i for i, strand in enumerate(strands)}
        self._waiting: set[Strand] = set()
        self._turns: list[Turn] = []
        for strand in self._place:
            self.add(strand)

    def add(self, strand: Strand) -> None:
        """Put a strand in line, if its next trial can be made and it is not in line yet."""
        if strand.ready and strand not in self._waiting:
            self._waiting.add(strand)
            heapq.heappush(self._turns, self._turn(strand))

    def take(self) -> Strand | None:
        """The strand whose turn it is, out of line; None where all wait for results."""
        if not self._turns:
            return None
        strand = heapq.heappop(self._turns)[-1]
        self._waiting.discard(strand)
        return strand

    def see(self, left: int, slots: int) -> None:
        """Take note of the trials still to be made and of the workers that there are for them."""
        if not self._ending and left <= LAST_ROUNDS * slots:
            self._ending = True
            self._turns = [self._turn(strand) for strand in self._waiting]
            heapq.heapify(self._turns)

    def _turn(self, strand: Strand) -> Turn:
        if self._ending:
            return -strand.left * self._seconds(strand), self._place[strand], strand
        return int(PORTIONS * strand.progress), self._place[strand], strand
