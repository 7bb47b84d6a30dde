"""The commands in the tables of the how-to page, in its order, on a small study and specimen."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tomoatlas.jobs.cli import main

from .test_blocks import CODE, ROOT, working_in

PAGE = ROOT / "docs" / "howto.md"
STUDY = """[study]
name = "small"
edition = 3
[specimen]
kind = "nanocubes"
size = 16
[acquisition]
haadf_snr = 2208.67
chemical_snr = { Co = 1.92, Cu = 2.89, O = 2.69, Au = 1.96 }
[search]
trials = 1
initial = 1
chemistry_tv_trials = 1
[axes]
"acquisition.haadf_tilts" = [9]
"acquisition.chemical_tilts" = [5]
"""
# the first words of a command that is not run, and why
LEFT_OUT = {
    "tomoatlas serve": "a server, ended by Ctrl+C",
    "tomoatlas import": "reads files of the reader's microscope",
    "tomoatlas plan": "a hundred trials and more",
    "mpiexec": "needs ranks",
    "mpirun": "needs ranks",
    "tomoatlas script": "stands for a study and account of the reader",
    "tomoatlas run STUDY": "stands for a study of the reader, on a cluster",
    "tomoatlas merge": "joins the parts that ranks of a cluster made",
}
# options that make a command short or end it
SMALL = {"run": ["--workers", "1", "--no-slices"]}


def commands() -> list[str]:
    """What the tables of the page say to do."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = "\n".join(line for line in lines if line.startswith("|"))
    return [code for code in CODE.findall(rows) if "tomoatlas " in code]


def left_out(command: str) -> bool:
    return any(command.startswith(start) for start in LEFT_OUT)


def shrunk(command: str) -> list[str]:
    """The words of the command, with the small study and specimen in place of those of the page."""
    words = shlex.split(command.split(" (")[0])[1:]
    if words[0] == "run":
        words = ["small.toml" if word == "nanocubes_64" else word for word in words]
    return ["16" if word == "64" else word for word in words] + SMALL.get(words[0], [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with working_in(tmp_path_factory.mktemp("howto"), {"small.toml": STUDY}) as folder:
        yield folder


def test_what_is_left_out_is_on_the_page() -> None:
    for start in LEFT_OUT:
        assert any(command.startswith(start) for command in commands())


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", [c for c in commands() if not left_out(c)])
def test_a_command_of_the_page_runs(command: str) -> None:
    assert main(shrunk(command)) == 0
