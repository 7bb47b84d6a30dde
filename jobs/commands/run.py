"""The command ``run``: the main job.

Here signals are caught before anything slow is imported; :mod:`tomoatlas.jobs.run` does the rest.
"""

from __future__ import annotations

from pathlib import Path

import click

from . import FilePath, Walltime, device_option, quiet_option


@click.command()
@click.argument("study", metavar="STUDY")
@click.option("--out", type=FilePath, required=True, metavar="DIR", help="The study folder.")
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes that evaluate trials. Default: all cores, or all GPUs. Under mpiexec or srun "
    "the ranks are the workers.",
)
@device_option
@click.option(
    "--share-devices",
    is_flag=True,
    help="Allow several workers or ranks to share a GPU; refused otherwise.",
)
@click.option(
    "--walltime",
    type=Walltime(),
    metavar="HH:MM:SS",
    help="End within this time: start no trial that cannot finish. Not needed in a Slurm, "
    "PBS or LSF job.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Evaluate on the workers of the Dask cluster with this scheduler; `local` starts one of "
    "--workers processes. Needs the extra `dask`.",
)
@click.option(
    "--executor",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Who evaluates trials: local, dask, inline, a plugin, or a Python file that defines one; "
    "auto also takes the ranks of mpiexec or srun.",
)
@click.option("--no-slices", is_flag=True, help="A report without slices of the middle cell.")
@quiet_option
def run(
    study: str,
    out: Path,
    workers: int | None,
    device: str,
    share_devices: bool,
    walltime: int | None,
    dask: str | None,
    executor: str,
    no_slices: bool,
    quiet: bool,
) -> int:
    """Run STUDY into DIR: trials, atlas and report.

    STUDY is a TOML file or the name of a shipped study. The same command resumes a run that was
    interrupted or killed. On SIGTERM, SIGUSR1 or SIGUSR2 running trials finish and no new ones
    start; a second signal stops them.
    Exit code 3 if some trials failed, 4 if time was up before the end, 5 if the machine is in
    trouble and the same command may succeed later, 130 if interrupted.
    """
    from ..exits import Exit
    from ..signals import SignalHandler, handling_signals

    signals = SignalHandler()
    # Installed before the slow imports: a signal without a handler kills the process.
    with handling_signals(signals):
        try:
            from ..run import run_study
            from ..workers import Workers

            who = Workers(workers, dask, device, share_devices, executor)
            return run_study(study, out, who, quiet, walltime, not no_slices, signals)
        except KeyboardInterrupt:
            if not signals.draining:
                raise
            # A drained run can be resumed: for a batch script that is the walltime's case.
            return Exit.WALLTIME
