"""What the planning page shows of the output of its commands."""

from __future__ import annotations

import re
from itertools import product

import pytest

from tomoatlas.analysis.plan import DOSES, IMAGES, MAPS, SHARES
from tomoatlas.analysis.surface import Choice, at_edges
from tomoatlas.jobs.commands.plan import edges_text

from .pages import ROOT, languages

PAGE = ROOT / "docs" / "plan.md"
TAKE = re.compile(
    r"Take (\d+) HAADF .* and (\d+) chemical .* HAADF (\d+)% of (\d+) e/Å². (.*)Expect"
)


@pytest.mark.parametrize("block", languages(PAGE, "text"))
def test_what_is_shown_says_which_ends_of_the_design_were_chosen(block: str) -> None:
    taken = TAKE.match(" ".join(block.split("\n\n")[0].splitlines()))
    assert taken is not None
    images, maps, share, dose = (int(number) for number in taken.groups()[:4])
    design = [Choice(dose * d, m, i, s) for d, m, i, s in product(DOSES, MAPS, IMAGES, SHARES)]
    edges = at_edges(Choice(dose, maps, images, share / 100), design)
    assert taken[5].strip() == edges_text(edges)
