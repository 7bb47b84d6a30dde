"""The main job as a function, for notebooks and scripts: no signals, no exit codes, no output."""

from __future__ import annotations

from pathlib import Path

from ..analysis.report import write_report
from ..recon_core.errors import BadInput
from ..sweep.launchers import launched_under_mpi
from ..sweep.run import driver
from ..sweep.run.scheduler import Summary
from ..sweep.study import Study
from .run import deadline_of
from .shipped import load_study
from .workers import Workers, executor_of


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
        raise KeyboardInterrupt
    write_report(folder, () if summary.drained else None)
    return summary
