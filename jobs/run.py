"""The main job: choose who works, run the study, write atlas and report.

A run that ends early, by a signal, at its walltime or by Ctrl-C, keeps every recorded trial; the
same command resumes it. Under MPI all ranks come here, and rank 0 manages. :func:`run_study` is the
command's, with exit codes; :func:`run` is a function for notebooks and scripts: no signals, no exit
codes, no output.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..analysis.report import Report, write_report
from ..recon_core.errors import BadInput, Trouble, printable
from ..sweep.estimate import Share
from ..sweep.executors import Executor, devices_of
from ..sweep.executors.child import CannotStart
from ..sweep.launchers import check_world, first_rank, launched_under_mpi
from ..sweep.run import Deadline, driver
from ..sweep.run.scheduler import Summary
from ..sweep.study import Study
from . import load_study
from .batch import for_trials, inside_job, seconds_left
from .batch.capacity import check_workers
from .exits import Exit, SignalHandler, exit_with
from .terminal import cell_counter, display, say
from .terminal.text import answer_text
from .workers import AUTO, Workers, check_projectors, executor_of, request_of, sees_gpu

LOCK_SECONDS = 180.0
"""For the lock of a study folder, in a job: the one before may still be dying."""

SILENT_SECONDS = 3.0
"""For which ranks that are no world, and have nothing to say, let the first say so."""


def run_study(
    name: str,
    out: Path,
    workers: Workers,
    quiet: bool,
    walltime: float | None = None,
    slices: bool = True,
    signals: SignalHandler | None = None,
    share: Share | None = None,
) -> int:
    """Run or resume a study in a folder.

    Under MPI rank 0 manages the run, and all ranks evaluate trials for it.

    Parameters
    ----------
    name : path of a study file, or name of a shipped study.
    out : the study folder.
    workers : who evaluates the trials.
    quiet : whether to print nothing but problems.
    walltime : seconds within which to end; a scheduler's own limit counts as well. None for no
        limit.
    slices : whether the report of a finished study shows slices of the middle cell.
    signals : handler of the signals that may ask for an end; None for none.
    share : the cells to run, where several managers divide them; None for all.

    Returns
    -------
    The exit code, of :class:`~tomoatlas.jobs.exits.Exit`.

    Raises
    ------
    BadInput : the study, the folder or the workers are not acceptable.
    """
    study, signals = load_study(name), signals or SignalHandler()
    if share is not None:
        share.cells(study)  # before any worker starts
    command = f"tomoatlas run {name} --out {out}" + (f" --cells {share}" if share else "")

    def manage(executor: Executor) -> int:
        deadline = signals.attach(deadline_of(walltime))
        summary = _run(study, out, executor, quiet, deadline, share)
        ending = Ending(command, out, quiet, slices, devices_of(executor))
        return _ended(ending, summary, deadline)

    # Decided by the environment: importing mpi4py outside of a launcher may abort the process.
    if launched_under_mpi() and workers.dask is None and workers.executor == AUTO:
        with _needing_mpi():
            from ..sweep.executors.mpi import ranks as mpi

        _check_world(mpi.ranks())
        # A single rank is an ordinary run, with child processes that may crash.
        if mpi.ranks() > 1:
            # On every rank before any communication, so that all of them end with the same line.
            check_workers(study, mpi.ranks())
            request = request_of(workers)
            check_projectors(study, sees_gpu(request))

            def manage_ranks(executor: Executor) -> int:
                # Here already, so that the code reaches the other ranks.
                return rank_exit_code(lambda: manage(executor), signals)

            return mpi.leave(
                rank_exit_code(
                    lambda: mpi.run_ranks(manage_ranks, request=request, batch=workers.batch),
                    signals,
                )
            )
    with executor_of(study, workers) as executor:
        return manage(executor)


def _check_world(ranks: int) -> None:
    """Refuse ranks that do not know of each other: only the first of them says why."""
    try:
        check_world(ranks)
    except BadInput:
        # A launcher that ends all ranks once one has failed would leave that one no time.
        if not first_rank():
            time.sleep(SILENT_SECONDS)
        raise


@contextmanager
def _needing_mpi() -> Iterator[None]:
    """Turn an MPI that the import in the block does not start into one line."""
    try:
        yield
    # mpi4py raises RuntimeError where it finds no library, or one that lacks what it needs.
    except (ImportError, RuntimeError) as error:
        raise BadInput(
            f"a launcher started this as one of several ranks, but MPI does not start ({error})",
            key="mpi4py",
            accepted="pip install 'tomoatlas[mpi]', or MPI4PY_LIBMPI=/path/to/libmpi.so of the "
            "launcher's MPI, or --executor local for a run of its own on every rank",
        ) from error


def rank_exit_code(run_ranks: Callable[[], int], signals: SignalHandler) -> int:
    """Run a rank and turn whatever it raises into an exit code.

    An exception must not reach the interpreter: MPI has to be finalised by ``mpi.leave`` first.

    Parameters
    ----------
    run_ranks : runs this rank, returns its exit code.
    signals : the handler, to distinguish a drained run from an interrupted one.

    Returns
    -------
    The exit code of the rank.
    """
    try:
        return run_ranks()
    except (BadInput, Trouble, OSError) as error:
        return exit_with(error)
    except KeyboardInterrupt:
        return Exit.WALLTIME if signals.draining else Exit.INTERRUPTED
    except Exception:  # noqa: BLE001 - nothing can be printed after MPI has ended
        traceback.print_exc()
        return 1


@dataclass(frozen=True)
class Ending:
    """What is printed at the end of a run.

    Parameters
    ----------
    command : that resumes it.
    out : the study folder.
    quiet : whether to print nothing but problems.
    slices : whether the report shows slices of the middle cell.
    devices : what it computed on, in words; empty if unknown.
    """

    command: str
    out: Path
    quiet: bool
    slices: bool
    devices: str


def _ended(ending: Ending, summary: Summary, deadline: Deadline) -> int:
    """Report how a run ended and write its report; return the exit code."""
    command = ending.command
    if summary.interrupted:
        _say_resume("stopped" if deadline.draining else "interrupted", summary, command)
        return Exit.WALLTIME if deadline.draining else Exit.INTERRUPTED
    if not ending.quiet:
        # Figures of a large map take a minute, in which nothing else would be printed.
        say("writing atlas, figures and report")
    # A drained run writes its report without slices, which could take longer than is left.
    slices = None if ending.slices and not summary.drained else ()
    report = write_report(ending.out, slices, None if ending.quiet else cell_counter())
    if summary.drained:
        # Variables of a job that is over outlive it in a shell: name what sets the limit.
        time_is_up = "the time of this job is up" if inside_job() else "time is up"
        _say_resume("drained" if deadline.draining else time_is_up, summary, command)
        return Exit.WALLTIME
    if not ending.quiet:
        _say_answer(ending, summary, report)
    return Exit.TRIALS_FAILED if summary.failed else Exit.DONE


def _say_answer(ending: Ending, summary: Summary, report: Report) -> None:
    """Print what the run found, on what, and which file to open."""
    on = f" on {ending.devices}" * bool(ending.devices)
    say(f"{summary.done} trials, {summary.failed} failed{on}")
    for line in filter(None, (answer_text(report.atlas), f"open {report.index}")):
        say(printable(line))


def _say_resume(why: str, summary: Summary, command: str) -> None:
    """Print why a run ended early, and how to resume it."""
    say(
        f"{why}: {summary.done} of {summary.total} trials are kept; resume with: {command}",
        err=True,
    )


def deadline_of(walltime: float | None) -> Deadline:
    """The earlier of the walltime asked for and the end of the scheduler's job.

    Parameters
    ----------
    walltime : seconds asked for; None for no limit.

    Returns
    -------
    A deadline before either of them, since the report needs time; endless without a limit.
    """
    # The smaller one, since an option may be stricter or wider than the job.
    known = [seconds for seconds in (walltime, seconds_left()) if seconds is not None]
    return Deadline(for_trials(min(known))) if known else Deadline()


def _run(
    study: Study,
    out: Path,
    executor: Executor,
    quiet: bool,
    deadline: Deadline,
    share: Share | None,
) -> Summary:
    """Run the trials, with a display that is closed whatever happens."""
    shown = display(quiet, not study.search.strategy.alone)

    def start(done: int, total: int) -> None:
        if not quiet and (devices := devices_of(executor)):
            say(f"computing on {devices}")
        shown.start(done, total)

    try:
        note = None if quiet else _say_note
        patience = lock_patience()
        return driver.run(
            study, out, executor, shown.result, start, deadline, patience, note, share
        )
    except CannotStart as error:
        kept = "finished trials are kept, and the same command resumes"
        raise CannotStart(f"{out}: {error}; {kept}") from error
    except BrokenPipeError as error:
        # Click would treat this as a closed stdout and exit with 0.
        raise Trouble(f"{out}: {error}") from error
    finally:
        # Also on an error: a progress bar left running would overwrite the message.
        shown.stop()


def _say_note(note: str) -> None:
    """Print a note on stderr, where it does not mix with results."""
    say(f"note: {note}", err=True)


def lock_patience(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds to wait for the lock of the study folder: a job's predecessor may not be gone yet.

    Parameters
    ----------
    environment : environment variables, which show whether this is a job.
    """
    return LOCK_SECONDS if inside_job(environment) else 0.0


def run(
    study: Study | str | Path,
    folder: str | Path,
    workers: int | None = None,
    device: str = "auto",
    walltime: float | None = None,
    on_result: driver.OnResult | None = None,
) -> Summary:
    """Run or resume a study in a folder, and write its atlas and report there.

    Every trial is evaluated in a child process. Ctrl-C keeps what is done; the same call resumes.

    Parameters
    ----------
    study : or its file, or the name of a shipped study.
    folder : of the record, the atlas and the report; made if need be.
    workers : processes that evaluate trials; one per core or GPU if left out.
    device : what they compute on: ``auto``, ``cpu``, ``cuda`` or ``cuda-half``.
    walltime : seconds within which to end; no trial is started that cannot finish.
    on_result : called with every trial and its outcome, after it was recorded.

    Returns
    -------
    Summary : how many trials there are, are done and have failed.

    Raises
    ------
    BadInput : the study, the folder or the workers are not acceptable; called on MPI ranks, which
        ``mpiexec -n N tomoatlas run`` takes.
    Trouble : no worker can start, or the disk is full.

    Examples
    --------
    >>> import tempfile, tomoatlas as ta
    >>> study = ta.parse_study('''
    ... [study]
    ... name = "small"
    ... [specimen]
    ... kind = "nanocubes"
    ... size = 8
    ... [search]
    ... trials = 2
    ... methods = ["fused"]
    ... ''')
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     summary = ta.run(study, folder, workers=1, device="cpu")
    ...     trials = ta.load_trials(folder)
    >>> summary.done, list(trials.method)
    (2, ['fused', 'fused'])
    """
    if launched_under_mpi():
        raise BadInput(
            "called on MPI ranks", key="run", accepted="mpiexec -n N tomoatlas run STUDY --out DIR"
        )
    wanted = study if isinstance(study, Study) else load_study(study)
    with executor_of(wanted, Workers(workers, None, device)) as executor:
        deadline = deadline_of(walltime)
        summary = driver.run(wanted, folder, executor, on_result, deadline=deadline)
    if summary.interrupted:
        # As Python users expect of Ctrl-C in a notebook; the record is closed by now.
        raise KeyboardInterrupt
    write_report(folder, () if summary.drained else None)
    return summary
