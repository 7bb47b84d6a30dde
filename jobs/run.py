"""The main job: choose who works, run the study, write atlas and report."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from ..analysis.report import write_report
from ..recon_core.errors import BadInput, Trouble
from ..sweep.executors import Executor
from ..sweep.executors.child import CannotStart
from ..sweep.launchers import launched_under_mpi
from ..sweep.run.deadline import Deadline
from ..sweep.run.driver import run
from ..sweep.run.scheduler import Summary
from ..sweep.study import Study
from .batch import inside_job, seconds_left
from .batch.capacity import check_workers
from .batch.walltime import for_trials
from .exits import Exit, exit_with
from .shipped import find_study
from .signals import SignalHandler
from .terminal import display, say
from .workers import Workers, executor_of, request_of

LOCK_SECONDS = 180.0
"""For the lock of a study folder, in a job: the one before may still be dying."""


def run_study(
    name: str,
    out: Path,
    workers: Workers,
    quiet: bool,
    walltime: float | None = None,
    slices: bool = True,
    signals: SignalHandler | None = None,
) -> int:
    """Run or resume the study ``name`` in the folder ``out``; the exit code.

    ``walltime``: seconds within which to end; a scheduler's own limit counts as well. ``slices``:
    the report of a finished study shows the middle cell's. ``ears``: hear the signals. Under MPI
    rank 0 does this, and all ranks evaluate trials for it.

    Raises
    ------
    BadInput : the study, the folder or the workers are not acceptable.

    """
    study, signals = find_study(name), signals or SignalHandler()

    def manage(executor: Executor) -> int:
        deadline = signals.attach(_watch(walltime))
        summary = _run(study, out, executor, quiet, deadline)
        return _ended(name, out, summary, deadline, quiet, slices)

    if launched_under_mpi() and workers.dask is None:
        from ..sweep.executors.mpi import ranks as mpi

        if mpi.ranks() > 1:
            check_workers(study, mpi.ranks())
            request = request_of(workers)
            return mpi.leave(_told(lambda: mpi.run_ranks(manage, request=request), signals))
    with executor_of(study, workers) as executor:
        return manage(executor)


def _told(run_ranks: Callable[[], int], signals: SignalHandler) -> int:
    """The exit code of a rank, whatever happens: MPI has to be finalised by :func:`mpi.leave`."""
    try:
        return run_ranks()
    except (BadInput, Trouble, OSError) as error:
        return exit_with(error)
    except KeyboardInterrupt:
        return Exit.WALLTIME if signals.draining else Exit.INTERRUPTED
    except Exception:  # noqa: BLE001 - told here, as nothing may be after the end of MPI
        traceback.print_exc()
        return 1


def _ended(
    name: str, out: Path, summary: Summary, deadline: Deadline, quiet: bool, slices: bool
) -> int:
    """Say and write what a run leaves behind; the exit code."""
    if summary.interrupted:
        _say_resume("stopped" if deadline.draining else "interrupted", summary, name, out)
        return Exit.WALLTIME if deadline.draining else Exit.INTERRUPTED
    index = write_report(out, () if summary.drained or not slices else None).index
    if summary.drained:
        _say_resume("drained" if deadline.draining else "time is up", summary, name, out)
        return Exit.WALLTIME
    if not quiet:
        say(f"{summary.done} trials, {summary.failed} failed; report: {index}")
    return Exit.TRIALS_FAILED if summary.failed else Exit.DONE


def _say_resume(why: str, summary: Summary, name: str, out: Path) -> None:
    say(
        f"{why}: {summary.done} of {summary.total} trials are kept; "
        f"resume with: tomoatlas run {name} --out {out}",
        err=True,
    )


def _watch(walltime: float | None) -> Deadline:
    """The shorter of what was asked for and what the scheduler has left."""
    known = [seconds for seconds in (walltime, seconds_left()) if seconds is not None]
    return Deadline(for_trials(min(known))) if known else Deadline()


def _run(study: Study, out: Path, executor: Executor, quiet: bool, deadline: Deadline) -> Summary:
    shown = display(quiet)
    try:
        return run(study, out, executor, shown.result, shown.start, deadline, _patience())
    except CannotStart as error:
        kept = "what is done is kept, and the same command resumes"
        raise CannotStart(f"{out}: {error}; {kept}") from error
    except BrokenPipeError as error:
        # Click takes it for a reader of the output that has left, and all for done.
        raise Trouble(f"{out}: {error}") from error
    finally:
        shown.stop()


def _patience(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds to wait for the lock of the study folder."""
    return LOCK_SECONDS if inside_job(environment) else 0.0
