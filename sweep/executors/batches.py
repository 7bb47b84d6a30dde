"""How many trials a worker takes at a time, and the trials that wait for one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..evaluate import evaluate_together
from ..study import Task
from . import EvaluateTogether

GPU_BATCH = 8
"""Trials that a GPU is given at a time: small volumes do not fill it. Its memory may hold fewer."""


@dataclass(frozen=True)
class Batching:
    """How many trials a worker takes at a time, and what evaluates several.

    Parameters
    ----------
    size : most trials that a worker holds.
    evaluate : evaluates them; a function that can be imported by its name. None for one after the
        other.
    """

    size: int = 1
    evaluate: EvaluateTogether | None = None

    @classmethod
    def of(cls, asked: int | None, on_gpu: bool) -> Batching:
        """The batching of a run.

        Parameters
        ----------
        asked : trials at a time; None for :data:`GPU_BATCH` on a GPU, 1 on the CPU.
        on_gpu : whether the workers compute on GPUs.
        """
        return cls(asked or (GPU_BATCH if on_gpu else 1), evaluate_together)


SINGLY = Batching()


class Waiting:
    """Trials that wait for a worker, in their order.

    Free workers share them evenly, up to so many each. A worker gets trials of one cell and method
    where there are some, and fills up with others. Trials of a batch that ended without an answer
    are handed out singly: one of them may be to blame, and none of the others shall end with it
    again.

    Parameters
    ----------
    size : most trials that a worker takes.
    """

    def __init__(self, size: int = 1) -> None:
        self._size = size
        self._tasks: deque[Task] = deque()
        self._singly: deque[Task] = deque()

    def __len__(self) -> int:
        return len(self._tasks) + len(self._singly)

    def add(self, task: Task) -> None:
        """Have a trial wait behind all others."""
        self._tasks.append(task)

    def put_back(self, tasks: Sequence[Task]) -> None:
        """Have trials that no worker has begun wait again, before all others."""
        self._tasks.extendleft(reversed(tasks))

    def add_singly(self, tasks: Iterable[Task]) -> None:
        """Have trials wait each for a worker of its own."""
        self._singly.extend(tasks)

    def take(self, free: int) -> list[Task]:
        """The trials for one of the free workers.

        Parameters
        ----------
        free : number of free workers, this one included.
        """
        if self._singly:
            return [self._singly.popleft()]
        return self._alike(min(self._size, -(-len(self._tasks) // max(1, free))))

    def clear(self) -> None:
        """Forget all."""
        self._tasks.clear()
        self._singly.clear()

    def _alike(self, count: int) -> list[Task]:
        """The trial that has waited longest, then its like, then others."""
        first = self._tasks[0][1]
        other = [(t.cell, t.method) != (first.cell, first.method) for _, t in self._tasks]
        chosen = sorted(range(len(other)), key=other.__getitem__)[:count]
        taken = [self._tasks[i] for i in chosen]
        for i in sorted(chosen, reverse=True):
            del self._tasks[i]
        return taken
