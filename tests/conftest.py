"""What tests of several packages share."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numba
import pytest
from hypothesis import HealthCheck, settings

from tomoatlas.jobs import cli, run
from tomoatlas.jobs.exits import Exit, exit_with
from tomoatlas.recon_core.errors import BadInput

if TYPE_CHECKING:
    from tomoatlas.jobs.server import PageServer

Refusal = Callable[..., BadInput]

# A busy machine is no failure: no example has a deadline, and none takes too long to make.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("random", UNTIMED)
# What has passed must pass again: .ci/run sets CI, and every run of it has the same examples.
settings.register_profile("ci", UNTIMED, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "random")

# Started in the background by a shell it is deaf to Ctrl-C, and so would be all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small arrays gain nothing from threads; waiting for them on a busy machine costs much.

    Of a module, so that what its tests share is made by one thread as well.
    """
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def _as_input(error: click.UsageError) -> BadInput:
    """The parts of an error of click's: its key is the option, argument or command."""
    found = getattr(error, "option_name", None) or getattr(error, "command_name", None)
    param = getattr(error, "param", None)
    if found is None and param is not None:
        named = param.param_type_name == "argument"
        found = param.human_readable_name if named else param.opts[-1]
    return BadInput(error.message, key=found)


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs a command that must end with code 2 and one line; returns the error by its parts."""
    errors: list[BadInput] = []
    command = cli.cli.main

    def watched(*args: object, **options: object) -> object:
        try:
            return command(*args, **options)
        except (BadInput, click.UsageError) as error:
            errors.append(error if isinstance(error, BadInput) else _as_input(error))
            raise

    def ended(error: Exception) -> int:
        errors.append(error)
        return exit_with(error)

    monkeypatch.setattr(cli.cli, "main", watched)
    monkeypatch.setattr(run, "exit_with", ended)

    def refused(*argv: object) -> BadInput:
        errors.clear()
        capsys.readouterr()
        assert cli.main([str(a) for a in argv]) == Exit.BAD_INPUT
        out, err = capsys.readouterr()
        assert (out, err.count("\n"), err[-1:]) == ("", 1, "\n")
        (error,) = errors
        assert isinstance(error, BadInput)
        assert error.key is None or error.key in err
        return error

    return refused


@contextmanager
def _serving(folder: Path) -> Iterator[PageServer]:
    from tomoatlas.jobs import server as module  # with plotly, which few tests need

    with pytest.MonkeyPatch.context() as patch, module.PageServer(folder, 0) as server:
        patch.setattr(module, "SHARE", 0.0)  # a page for every change
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def serving() -> Callable[[Path], AbstractContextManager[PageServer]]:
    """serving(folder) is a context in which the page of a study folder is served."""
    return _serving
