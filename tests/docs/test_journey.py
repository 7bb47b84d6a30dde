"""The commands of the simulated series of the journey, in the order of the page, at 16³."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_blocks import ROOT, working_in
from .test_walks import TITLED, run_quickly

TEXT = (ROOT / "docs" / "journey.md").read_text(encoding="utf-8")
# The files of the real series are not part of the repository.
SIMULATED = TEXT.partition("\n## A real series")[0]
TYPED = [line.strip()[2:] for line in SIMULATED.splitlines() if line.startswith("    $ ")]
COMMANDS = [line for line in TYPED if line.startswith("tomoatlas ")]
SMALL = {"48": "16", "41": "9", "9": "5"}  # voxels per edge, HAADF tilts, maps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with working_in(tmp_path_factory.mktemp("journey"), dict(TITLED.findall(TEXT))) as folder:
        yield folder


def test_the_journey_leads_from_a_specimen_to_a_verdict() -> None:
    names = {command.split()[1] for command in COMMANDS}
    assert names >= {"phantom", "simulate", "inspect", "align", "reconstruct", "assess", "export"}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_journey_runs(command: str) -> None:
    run_quickly([SMALL.get(word, word) for word in shlex.split(command, comments=True)[1:]])
