"""Links and pictures of the README and of docs/ lead to files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    nearby = [target for target in targets if "://" not in target]
    assert not [target for target in nearby if not (page.parent / target).exists()]


def test_the_readme_leads_to_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert "(docs/index.md)" in (ROOT / "README.md").read_text()
    others = {page.name for page in PAGES[1:]} - {"index.md"}
    assert not [name for name in others if f"({name})" not in index]
