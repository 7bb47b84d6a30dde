"""The main job: choose who works, run the study, write atlas and report."""

from __future__ import annotations

import os
from pathlib import Path

import click

from analysis.report import write_report
from jobs.console import display
from jobs.exits import Exit
from jobs.shipped import find_study
from sweep.driver import Summary, run
from sweep.executors.base import Executor
from sweep.executors.inline import InlineExecutor
from sweep.executors.launch import launched_under_mpi
from sweep.executors.processes import ProcessExecutor
from sweep.study import Study


def run_study(name: str, out: Path, workers: int | None, quiet: bool) -> int:
    """Run or resume the study ``name`` in the folder ``out``; the exit code.

    Under MPI rank 0 does this, and all ranks evaluate trials for it.

    Raises
    ------
    BadInput : the study or the folder is not acceptable.

    """
    if launched_under_mpi():
        from sweep.executors import mpi

        if mpi.ranks() > 1:
            return mpi.leave(mpi.run_ranks(lambda executor: _manage(name, out, executor, quiet)))
    return _manage(name, out, _executor(workers), quiet)


def _manage(name: str, out: Path, executor: Executor, quiet: bool) -> int:
    summary = _run(find_study(name), out, executor, quiet)
    if summary.interrupted:
        click.echo(
            f"interrupted: {summary.done} of {summary.total} trials are kept; "
            f"resume with: tomoatlas run {name} --out {out}",
            err=True,
        )
        return Exit.INTERRUPTED
    index = write_report(out)
    if not quiet:
        click.echo(f"{summary.done} trials, {summary.failed} failed; report: {index}")
    return Exit.TRIALS_FAILED if summary.failed else Exit.DONE


def _run(study: Study, out: Path, executor: Executor, quiet: bool) -> Summary:
    shown = display(quiet)
    try:
        return run(study, out, executor, shown.result, shown.start)
    finally:
        shown.stop()


def _executor(workers: int | None) -> Executor:
    count = workers or len(os.sched_getaffinity(0))
    return InlineExecutor() if count == 1 else ProcessExecutor(count)
