"""The main job: choose who works, run the study, write atlas and report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from analysis.report import write_report
from jobs.capacity import check_workers
from jobs.console import display
from jobs.exits import Exit
from jobs.shipped import find_study
from jobs.signals import drained_by_signals
from jobs.walltime import for_trials, seconds_left
from recon_core.cuda_device import device_named
from recon_core.device import CPU
from recon_core.errors import BadInput
from sweep.devices import Request, assign, visible_uuids
from sweep.driver import run
from sweep.evaluate import DEVICE_VARIABLE
from sweep.executors.base import Executor
from sweep.executors.child import CannotStart
from sweep.executors.inline import InlineExecutor
from sweep.executors.launch import launched_under_mpi
from sweep.executors.processes import ProcessExecutor
from sweep.ledger import Summary
from sweep.limits import Limits
from sweep.study import Study
from sweep.watch import Watch


@dataclass(frozen=True)
class Workers:
    """Who is to evaluate trials: ``count`` processes, or a Dask cluster.

    ``count``: None for one per core, or one per GPU. ``dask``: the address of a scheduler, or local
    for a cluster of ``count`` processes. ``device``: auto, cpu or cuda.
    """

    count: int | None = None
    dask: str | None = None
    device: str = "auto"


def run_study(
    name: str,
    out: Path,
    workers: Workers,
    quiet: bool,
    walltime: float | None = None,
    slices: bool = True,
) -> int:
    """Run or resume the study ``name`` in the folder ``out``; the exit code.

    ``walltime``: seconds within which to end; a scheduler's own limit counts as well. ``slices``:
    the report of a finished study shows the middle cell's. Under MPI rank 0 does this, and all
    ranks evaluate trials for it.

    Raises
    ------
    BadInput : the study, the folder or the workers are not acceptable.

    """
    study = find_study(name)

    def manage(executor: Executor) -> int:
        watch = _watch(walltime)
        # The report too: what a first signal asks for is an end, not half of one.
        with drained_by_signals(watch):
            summary = _run(study, out, executor, quiet, watch)
            return _ended(name, out, summary, watch, quiet, slices)

    with _computing_on(workers.device):
        if launched_under_mpi() and workers.dask is None:
            from sweep.executors import mpi

            if mpi.ranks() > 1:
                check_workers(study, mpi.ranks())
                return mpi.leave(mpi.run_ranks(manage, request=Request(workers.device)))
        with _executor(study, workers) as executor:
            return manage(executor)


@contextmanager
def _computing_on(device: str) -> Iterator[None]:
    """Tell this process, and the workers it starts meanwhile, what to compute on."""
    before = os.environ.get(DEVICE_VARIABLE)
    os.environ[DEVICE_VARIABLE] = device
    try:
        yield
    finally:
        del os.environ[DEVICE_VARIABLE]
        if before is not None:
            os.environ[DEVICE_VARIABLE] = before


def _ended(name: str, out: Path, summary: Summary, watch: Watch, quiet: bool, slices: bool) -> int:
    """Say and write what a run leaves behind; the exit code."""
    if summary.interrupted:
        _say_resume("stopped" if watch.draining else "interrupted", summary, name, out)
        return Exit.WALLTIME if watch.draining else Exit.INTERRUPTED
    index = write_report(out, () if summary.drained or not slices else None).index
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
    except CannotStart as error:
        accepted = "workers that start; what is done is kept, and the same command resumes"
        raise BadInput(f"{error}", source=out, accepted=accepted) from error
    finally:
        shown.stop()


@contextmanager
def _executor(study: Study, workers: Workers) -> Iterator[Executor]:
    on_gpu = device_named(workers.device) is not CPU
    gpus = visible_uuids() if on_gpu else ()
    count = workers.count or len(gpus) or len(os.sched_getaffinity(0))
    if workers.count:
        check_workers(study, count)
    if workers.dask is not None:
        with _on_dask(workers.dask, count) as executor:
            yield executor
    # Nothing can end a trial in this process.
    elif count == 1 and Limits.of(study).none:
        yield InlineExecutor()
    else:
        yield ProcessExecutor(count, places=_places(count, gpus) if on_gpu else None)


def _places(count: int, gpus: Sequence[str]) -> list[Mapping[str, str]]:
    """The GPU of each local worker, in turn."""
    host, request = os.uname().nodename, Request("cuda")
    return [assign(os.environ, i, host, request, gpus).variables for i in range(count)]


@contextmanager
def _on_dask(address: str, count: int) -> Iterator[Executor]:
    try:
        from sweep.executors.dask import DaskExecutor, connected
    except ImportError as error:
        accepted = "pip install 'tomoatlas[dask]'"
        raise BadInput(f"{error}", key="--dask", value=address, accepted=accepted) from error
    with connected(address, count) as client:
        yield DaskExecutor(client)
