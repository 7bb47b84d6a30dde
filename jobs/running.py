"""The main job: choose who works, run the study, write atlas and report."""

from __future__ import annotations

import os
from pathlib import Path

import click

from analysis.report import write_report
from jobs.console import display
from jobs.exits import Exit
from jobs.shipped import find_study
from jobs.signals import drained_by_signals
from jobs.walltime import for_trials, seconds_left
from sweep.driver import run
from sweep.executors.base import Executor
from sweep.executors.inline import InlineExecutor
from sweep.executors.launch import launched_under_mpi
from sweep.executors.processes import ProcessExecutor
from sweep.ledger import Summary
from sweep.study import Study
from sweep.watch import Watch


def run_study(
    name: str, out: Path, workers: int | None, quiet: bool, walltime: float | None = None
) -> int:
    """Run or resume the study ``name`` in the folder ``out``; the exit code.

    ``walltime``: seconds within which to end; a scheduler's own limit counts as well. Under MPI
    rank 0 does this, and the other ranks are its workers.

    Raises
    ------
    BadInput : the study or the folder is not acceptable.

    """
    if launched_under_mpi():
        from sweep.executors import mpi

        if mpi.ranks() > 1:
            code = mpi.run_ranks(lambda executor: _manage(name, out, executor, quiet, walltime))
            return Exit.DONE if code is None else code
    return _manage(name, out, _executor(workers), quiet, walltime)


def _manage(name: str, out: Path, executor: Executor, quiet: bool, walltime: float | None) -> int:
    watch = _watch(walltime)
    with drained_by_signals(watch):
        summary = _run(find_study(name), out, executor, quiet, watch)
    if summary.interrupted:
        _say_resume("stopped" if watch.draining else "interrupted", summary, name, out)
        return Exit.WALLTIME if watch.draining else Exit.INTERRUPTED
    index = write_report(out)
    if summary.drained:
        _say_resume("drained" if watch.draining else "time is up", summary, name, out)
        return Exit.WALLTIME
    if not quiet:
        click.echo(f"{summary.done} trials, {summary.failed} failed; report: {index}")
    return Exit.TRIALS_FAILED if summary.failed else Exit.DONE


def _say_resume(why: str, summary: Summary, name: str, out: Path) -> None:
    click.echo(
        f"{why}: {summary.done} of {summary.total} trials are kept; "
        f"resume with: tomoatlas run {name} --out {out}",
        err=True,
    )


def _watch(walltime: float | None) -> Watch:
    """The shorter of what was asked for and what the scheduler has left."""
    known = [seconds for seconds in (walltime, seconds_left()) if seconds is not None]
    return Watch(for_trials(min(known))) if known else Watch()


def _run(study: Study, out: Path, executor: Executor, quiet: bool, watch: Watch) -> Summary:
    shown = display(quiet)
    try:
        return run(study, out, executor, shown.result, shown.start, watch)
    finally:
        shown.stop()


def _executor(workers: int | None) -> Executor:
    count = workers or len(os.sched_getaffinity(0))
    return InlineExecutor() if count == 1 else ProcessExecutor(count)
