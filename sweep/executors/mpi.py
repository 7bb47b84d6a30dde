"""Trials on MPI ranks: rank 0 manages, and every rank evaluates. Importing this starts MPI."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Collection

from mpi4py import MPI

from sweep.devices import Request
from sweep.evaluate import evaluate
from sweep.executors.base import Evaluate
from sweep.executors.crew import make_crew
from sweep.executors.mail import Mail
from sweep.executors.manager import MpiExecutor
from sweep.executors.processes import ProcessExecutor
from sweep.executors.rank import ManagerLost, work
from sweep.limits import Limits

FINALIZE_SECONDS = 30.0


def ranks() -> int:
    """Number of MPI ranks."""
    return MPI.COMM_WORLD.Get_size()


def run_ranks(
    manage: Callable[[MpiExecutor], int],
    evaluate: Evaluate = evaluate,
    limits: Limits | None = None,
    request: Request = Request(),  # noqa: B008 - frozen
    comm: MPI.Intracomm = MPI.COMM_WORLD,
) -> int:
    """Call ``manage`` on rank 0 with an executor over all ranks; the exit code of this rank.

    Every rank calls this. Each has one device and one child process on it, rank 0 as well, so that
    N ranks use N devices. What ``manage`` leaves in flight, raising or not, is dropped and the
    other ranks are sent home.

    Parameters
    ----------
    manage : the run of a study; its return value is the exit code of rank 0.
    evaluate : evaluates a trial; a function that can be imported by its name.
    limits : what a trial may take; by default the limits of its study.
    request : what the ranks compute on.
    comm : the ranks.

    Raises
    ------
    BadInput : on all ranks, where the devices do not do; see :func:`sweep.devices.check_devices`.
    """
    crew = make_crew(comm, evaluate, limits, request)
    mail = Mail(comm)
    if mail.rank > 0:
        return _serve(mail, crew)
    executor = MpiExecutor(mail, crew, limits)
    code = 1
    try:
        code = manage(executor)
    finally:
        executor.close()
        executor.dismiss()
        if executor.silent:
            _say_silent(executor.silent)
            mail.abort(code)
    return code


def _say_silent(ranks: Collection[int]) -> None:
    if sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"ranks that do not answer: {sorted(ranks)}; all are ended", file=sys.stderr)


def _serve(mail: Mail, crew: ProcessExecutor) -> int:
    """Work for rank 0; where that cannot go on, all ranks end, for it would wait forever."""
    try:
        work(mail, crew)
    except ManagerLost as error:
        print(f"rank {mail.rank} ends: {error}", file=sys.stderr)
    except BaseException:  # noqa: BLE001 - told and ended by the abort
        traceback.print_exc()
    else:
        return 0
    mail.abort(1)
    return 1


def leave(code: int) -> int:
    """Finalise MPI, after which nothing can hang; ``code`` for ``sys.exit``.

    A rank whose MPI does not come back is ended at once with ``code``, without further clean-up:
    the record is closed and the streams are flushed by now, so nothing is lost but the wait.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    overdue = threading.Timer(FINALIZE_SECONDS, os._exit, [code])
    overdue.daemon = True
    overdue.start()
    MPI.Finalize()
    overdue.cancel()
    return code
