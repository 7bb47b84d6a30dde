"""How work shows its progress: a run by a bar on a terminal, or a line now and then elsewhere.

All displays of a run share one protocol, :class:`Display`, so that it does not depend on where its
output goes; :class:`SafeDisplay` keeps the run alive if the reader of the output leaves.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ...analysis.progress import counted, duration
from ...sweep.study.trial import Trial, TrialResult, TrialStatus

LINE_EVERY_S = 10.0
"""Least time between two lines in a log, seconds."""


class Display(Protocol):
    """What is shown of a run as it proceeds."""

    def start(self, done: int, total: int) -> None:
        """Called before the first trial, and once more if there were not as many as expected.

        Parameters
        ----------
        done : trials finished by earlier runs.
        total : trials planned, these included.
        """

    def result(self, trial: Trial, result: TrialResult) -> None:
        """Called whenever a trial has ended.

        Parameters
        ----------
        trial : the trial.
        result : its outcome.
        """

    def stop(self) -> None:
        """Called once, when the run is over."""


def display(quiet: bool, estimated: bool = False) -> Display:
    """The display that fits where the output goes.

    Parameters
    ----------
    quiet : whether to show nothing.
    estimated : whether the search ends by itself, so that nobody knows how many trials it makes.
    """
    if quiet:
        return Silent()
    kind = Bar if Console().is_terminal else Lines
    return SafeDisplay(kind(estimated=estimated))


def say(line: str, err: bool = False) -> None:
    """Print a line; a reader that has closed the pipe is no error.

    Parameters
    ----------
    line : the text.
    err : whether it goes to stderr.
    """
    with _perhaps_unread(sys.stderr if err else sys.stdout):
        click.echo(line, err=err)


@contextmanager
def _perhaps_unread(stream: TextIO) -> Iterator[None]:
    """Keep the run alive if the reader of its output has left: further output is discarded."""
    try:
        yield
    # Rich turns a broken pipe into SystemExit.
    except (OSError, SystemExit):
        with suppress(OSError):
            # The descriptor itself is replaced, since Python flushes the stream once more at exit.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class Silent:
    """Shows nothing."""

    def start(self, done: int, total: int) -> None:
        """Show nothing."""

    def result(self, trial: Trial, result: TrialResult) -> None:
        """Show nothing."""

    def stop(self) -> None:
        """Show nothing."""


class SafeDisplay:
    """A display whose output faults do not end the run.

    Parameters
    ----------
    shown : the display to protect; readable as an attribute.
    """

    def __init__(self, shown: Display) -> None:
        self.shown = shown

    def start(self, done: int, total: int) -> None:
        """Show where the run starts."""
        with _perhaps_unread(sys.stdout):
            self.shown.start(done, total)

    def result(self, trial: Trial, result: TrialResult) -> None:
        """Show the outcome of a trial."""
        with _perhaps_unread(sys.stdout):
            self.shown.result(trial, result)

    def stop(self) -> None:
        """Show that the run is over."""
        with _perhaps_unread(sys.stdout):
            self.shown.stop()


class Bar:
    """A progress bar with the number of failures so far.

    Parameters
    ----------
    estimated : whether the number of trials is.
    """

    def __init__(self, estimated: bool = False) -> None:
        columns = (
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[failed]}"),
        )
        self._progress = Progress(*columns)
        self._task = self._progress.add_task("", start=False, count="", failed="")
        self._done = self._total = self._failed = 0
        self._estimated = estimated

    def start(self, done: int, total: int) -> None:
        """Draw the bar."""
        self._done, self._total = done, total
        self._progress.update(self._task, total=total, completed=done, count=self._count())
        self._progress.start_task(self._task)
        self._progress.start()

    def result(self, trial: Trial, result: TrialResult) -> None:  # noqa: ARG002
        """Advance it by one trial."""
        self._done += 1
        self._failed += result.status is not TrialStatus.OK
        failed = f"{self._failed} failed" if self._failed else ""
        total = max(self._total, self._done)
        self._progress.update(
            self._task, completed=self._done, total=total, count=self._count(), failed=failed
        )

    def _count(self) -> str:
        more = self._done - self._total
        beyond = f", {more} more than expected" if more > 0 else ""
        return f"{_counted(self._done, self._total, self._estimated)}{beyond}"

    def stop(self) -> None:
        """Leave the bar as it stands."""
        self._progress.stop()


class Lines:
    """Lines for a log: one for the first result, then at most one every ten seconds, one for the
    last.

    Parameters
    ----------
    clock : monotonic time in seconds.
    estimated : whether the number of trials is.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, estimated: bool = False
    ) -> None:
        self._clock, self._estimated = clock, estimated
        self._done = self._total = self._failed = 0
        # The first result is shown at once.
        self._last = -LINE_EVERY_S

    def start(self, done: int, total: int) -> None:
        """Print how many trials there are."""
        again, self._done, self._total = self._total > 0, done, total
        if again:
            return
        self._began = self._clock()
        self._first: tuple[int, float] | None = None
        resumed = f", {done} from earlier runs" if done else ""
        click.echo(f"{'about ' if self._estimated else ''}{total} trials{resumed}")

    def result(self, trial: Trial, result: TrialResult) -> None:
        """Print the state, if the last line is old enough."""
        self._done += 1
        self._failed += result.status is not TrialStatus.OK
        now = self._clock()
        # The time left is extrapolated from the second trial on.
        self._first = self._first or (self._done, now)
        # The line of the last trial is always printed. A search may take more than were expected.
        if now - self._last < LINE_EVERY_S and self._done != self._total:
            return
        self._last = now
        score = f"NRMSE {result.nrmse:.3f}" if result.status is TrialStatus.OK else result.status
        failed = f", {self._failed} failed" if self._failed else ""
        done = _counted(self._done, self._total, self._estimated)
        click.echo(f"{done}{failed}{self._when(now)}; last: {trial.method} {score}")

    def _when(self, now: float) -> str:
        """Time left, from the trials after the first: before it ended, loops may have been
        compiled.
        """
        if self._done > self._total:
            return f", {self._done - self._total} more than expected"
        if self._done == self._total:
            return f", in {duration(now - self._began)}"
        done, since = self._first or (self._done, now)
        if self._done == done:
            return ""
        # Trials ended since the first, per time since then, for those that remain.
        left = (now - since) / (self._done - done) * (self._total - self._done)
        return f", about {duration(left)} left"

    def stop(self) -> None:
        """Print nothing: the last result already has its line."""


def _counted(done: int, total: int, estimated: bool) -> str:
    """Trials ended, of all; a search that ends by itself may take more than were expected."""
    if done > total:
        return f"{done} trials"
    return f"{counted(done, total, estimated)} trials" if estimated else f"{done}/{total} trials"


class SolveProgress:
    """A line on stderr now and then: solves done, and the time left.

    Parameters
    ----------
    what : the solves are for.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        # The first line comes after a while: one solve says little of the others, which compile
        # less.
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Print the line, if the last one is a while ago.

        Parameters
        ----------
        done : solves.
        total : solves that there will be.
        """
        now = time.monotonic()
        # Nor a last one where all was solved at once, or kept from an earlier figure.
        if now - self._last < LINE_EVERY_S and (done < total or self._last == self._start):
            return
        self._last = now
        left = duration((now - self._start) / done * (total - done))
        say(f"{self._what}: {done} of {total} solves, {left} left", err=True)


def cell_counter() -> Callable[[int, int], None]:
    """A callback that prints how many cells have their slices, if there are several."""

    def count(done: int, total: int) -> None:
        if total > 1:
            click.echo(f"slices of {done}/{total} cells", err=True)

    return count
