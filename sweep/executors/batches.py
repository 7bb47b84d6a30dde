"""How many trials a worker takes at a time, and the trials that wait for one."""

from __future__ import annotations

import itertools
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...recon_core.methods import Method
from ..evaluate import evaluate_together
from ..study import Task
from ..study.trial import Cell
from . import EvaluateTogether

_Kind = tuple[Cell, Method]

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
        self._numbers = itertools.count()
        # All, and those of each cell and method: tens of thousands may wait when GPUs start.
        self._tasks: OrderedDict[int, Task] = OrderedDict()
        self._like: defaultdict[_Kind, OrderedDict[int, Task]] = defaultdict(OrderedDict)
        self._singly: deque[Task] = deque()

    def __len__(self) -> int:
        return len(self._tasks) + len(self._singly)

    def add(self, task: Task) -> None:
        """Have a trial wait behind all others."""
        self._put(task, last=True)

    def put_back(self, tasks: Sequence[Task]) -> None:
        """Have trials that no worker has begun wait again, before all others."""
        for task in reversed(tasks):
            self._put(task, last=False)

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
        # Rounded up: of fewer trials than workers each worker still gets one.
        return self._alike(min(self._size, -(-len(self._tasks) // max(1, free))))

    def clear(self) -> None:
        """Forget all."""
        self._tasks.clear()
        self._like.clear()
        self._singly.clear()

    def _alike(self, count: int) -> list[Task]:
        """The trial that has waited longest, then its like, then others."""
        first = next(iter(self._tasks.values()))
        like = list(itertools.islice(self._like[_kind(first)], count))
        taken = [self._pop(number) for number in like]
        return taken + [self._pop(next(iter(self._tasks))) for _ in range(count - len(like))]

    def _put(self, task: Task, last: bool) -> None:
        # Numbers, not trials, are the keys: a trial may be put back while its like still waits.
        number = next(self._numbers)
        for queue in (self._tasks, self._like[_kind(task)]):
            queue[number] = task
            queue.move_to_end(number, last)

    def _pop(self, number: int) -> Task:
        task = self._tasks.pop(number)
        del self._like[_kind(task)][number]
        return task


def _kind(task: Task) -> _Kind:
    _, trial = task
    return trial.cell, trial.method
