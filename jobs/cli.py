"""The command ``tomoatlas``: the group of commands, and how their errors become exit codes.

Heavy packages are imported inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from ..recon_core.errors import BadInput, Trouble
from ..recon_core.machine import core_quota, usable_cores
from ..sweep.versions import package_version

# Only the definitions of commands are imported here; each loads its packages when it runs.
from .commands.assess import assess
from .commands.examples import examples_of
from .commands.microscope import import_series
from .commands.plan import plan
from .commands.reconstruct import reconstruct
from .commands.results import figure, recommend, report, serve
from .commands.script import script, sites
from .commands.simulate import phantom, simulate
from .commands.study import check, merge, run, status
from .commands.tilts import align, calibrate, inspect, show
from .commands.volumes import evaluate, export
from .exits import Exit, exit_saying, exit_with


class Commands(click.Group):
    """Commands that return their exit code; one that raises SystemExit by itself is a fault."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command.

        Parameters
        ----------
        ctx : click's context.

        Raises
        ------
        RuntimeError : the command left by SystemExit, other than for a broken pipe.
        """
        try:
            return super().invoke(ctx)
        except SystemExit as error:
            # Rich raises SystemExit when the reader of the output has left.
            if isinstance(error.__context__, BrokenPipeError):
                return Exit.DONE
            raise RuntimeError(f"left with {error.code}") from error


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with:  tomoatlas run quickstart --out first",
)
@click.version_option(package_version("tomoatlas"))
@click.pass_context
def cli(context: click.Context) -> None:
    """Phase maps and hyperparameter atlases for fused HAADF + chemical electron tomography.

    How many tilts, at which SNR, give which accuracy, and with which weights to reconstruct?
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


_STUDY_COMMANDS = (check, run, status, merge, report, serve, figure)
_ANSWER_COMMANDS = (recommend, plan, script, sites)
_SERIES_COMMANDS = (simulate, import_series, show, inspect, align, calibrate)
_VOLUME_COMMANDS = (reconstruct, assess, evaluate, export)
# In the order of a session, which is also that of this list.
for command in (*_STUDY_COMMANDS, *_ANSWER_COMMANDS, phantom, *_SERIES_COMMANDS, *_VOLUME_COMMANDS):
    command.epilog = examples_of(str(command.name))
    cli.add_command(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; bad input becomes one line on stderr.

    Parameters
    ----------
    argv : arguments without the program's name; None for those of this process.

    Returns
    -------
    An :class:`Exit` code.
    """
    if sys.platform.startswith("win"):
        return exit_saying("tomoatlas runs on Linux and macOS; on Windows, use WSL.")
    _set_threads()
    try:
        code = cli.main(argv, prog_name="tomoatlas", standalone_mode=False)
    # Everything a person can mend, or wait out, is one line; a traceback means a fault of ours.
    except (BadInput, Trouble, OSError) as error:
        return exit_with(error)
    except click.UsageError as error:
        # Click's own message, on one line, with the way to the full help.
        command = error.ctx.command_path if error.ctx else "tomoatlas"
        return exit_saying(f"{command}: {error.format_message()} See {command} --help.")
    except click.ClickException as error:
        return exit_saying(error.format_message())
    except click.Abort:
        return exit_saying("interrupted", Exit.INTERRUPTED)
    except SystemExit:
        # Click raises this when the reader of the output has left, as `head` does.
        return Exit.DONE
    # Click returns what a command returns: None or an exit code.
    return int(code or Exit.DONE)


def _set_threads() -> None:
    """Keep numba, which counts the cores of the affinity alone, within the quota of a container.

    ducc0 is called with one thread, and would fail on OMP_NUM_THREADS=4,2 without one of its own.
    """
    os.environ.setdefault("DUCC0_NUM_THREADS", "1")
    quota = core_quota()
    if quota is not None and "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", str(usable_cores()))


if __name__ == "__main__":
    sys.exit(main())
