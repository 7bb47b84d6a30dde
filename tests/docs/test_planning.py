"""The commands of the planning page, with trials by a law; and what it shows of their output."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest

from tomoatlas.analysis.plan import DOSES, IMAGES, MAPS, SHARES
from tomoatlas.analysis.surface import Choice, at_edges
from tomoatlas.jobs import plan as plans
from tomoatlas.jobs.cli import main
from tomoatlas.jobs.commands.plan import edges_text
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.study import Task
from tomoatlas.sweep.study.specimens import outline
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus

from .test_blocks import ROOT, languages, working_in
from .test_walks import TITLED

PAGE = ROOT / "docs" / "plan.md"
COMMANDS = [line for block in languages(PAGE, "sh") for line in block.splitlines()]
SMALL = ["--size", "16", "--workers", "1"]
TAKE = re.compile(
    r"Take (\d+) HAADF .* and (\d+) chemical .* HAADF (\d+)% of (\d+) e/Å². (.*)Expect"
)


def by_law(tasks: Sequence[Task]) -> list[TrialResult]:
    """Scores that more of everything improves, in place of a hundred trials."""
    found = []
    for study, trial in tasks:
        plan = study.acquisition
        assert plan.dose_e_per_A2 is not None
        nrmse = (plan.dose_e_per_A2 * plan.chemical_tilts * max(plan.haadf_tilts, 1)) ** -0.1
        nrmse *= 1.4 if trial.method is Method.CHEMISTRY_TV else 1.0
        elements = dict.fromkeys(outline(study.specimen).elements, nrmse)
        found.append(TrialResult(TrialStatus.OK, nrmse=nrmse, nrmse_by_element=elements))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    shown = dict(TITLED.findall(PAGE.read_text(encoding="utf-8")))
    own = {"particle.toml": shown["catalyst.toml"]}  # stands for the reader's
    with working_in(tmp_path_factory.mktemp("plan"), shown | own) as folder:
        yield folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "_evaluator", lambda executor, on_result: by_law)
    words = shlex.split(command, comments=True)[1:]
    assert main([*words, *SMALL]) == 0
    if "--figure" in words:
        assert (folder / words[words.index("--figure") + 1]).stat().st_size > 0


@pytest.mark.parametrize("block", languages(PAGE, "text"))
def test_what_is_shown_says_which_ends_of_the_design_were_chosen(block: str) -> None:
    taken = TAKE.match(" ".join(block.split("\n\n")[0].splitlines()))
    assert taken is not None
    images, maps, share, dose = (int(number) for number in taken.groups()[:4])
    design = [Choice(dose * d, m, i, s) for d, m, i, s in product(DOSES, MAPS, IMAGES, SHARES)]
    edges = at_edges(Choice(dose, maps, images, share / 100), design)
    assert taken[5].strip() == edges_text(edges)
