"""The commands of the walks that take seconds, in the order of the page, on smaller grids."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tomoatlas.jobs.cli import main

from .test_blocks import ROOT, working_in

PAGE = ROOT / "docs" / "walks.md"
TITLED = re.compile(r'^```toml title="([^"]+)"\n(.*?)^```$', re.M | re.S)
LEFT_OUT = {
    "tomoatlas plan": "a hundred trials and more",
    "mpiexec": "needs ranks",
}
SMALL = {"32": "16", "53": "9"}  # voxels per edge, HAADF tilts
QUICK = {"reconstruct": ["--max-iterations", "10"]}
DOUBTS = {"align", "assess"}  # so small and so short, they may well speak against the data


def commands() -> list[str]:
    """What the page says was typed, without what installs."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    typed = [line.strip().removeprefix("$ ") for line in lines if line.startswith("    $ ")]
    return [command for command in typed if command.startswith(("tomoatlas ", *LEFT_OUT))]


def run_quickly(words: list[str]) -> None:
    """Run a command with few iterations and without a search of weights, which takes 19 solves."""
    if "--weights" in words:
        at = words.index("--weights")
        words = [*words[:at], *words[at + 2 :]]
    code = main(words + QUICK.get(words[0], []))
    assert code in ({0, 3} if words[0] in DOUBTS else {0})


def left_out(command: str) -> bool:
    return any(command.startswith(start) for start in LEFT_OUT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    shown = dict(TITLED.findall(PAGE.read_text(encoding="utf-8")))
    with working_in(tmp_path_factory.mktemp("walks"), shown) as folder:
        yield folder


def test_what_is_left_out_is_on_the_page() -> None:
    for start in LEFT_OUT:
        assert any(command.startswith(start) for command in commands())


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", [c for c in commands() if not left_out(c)])
def test_a_command_of_the_walks_runs(command: str) -> None:
    run_quickly([SMALL.get(word, word) for word in shlex.split(command, comments=True)[1:]])
