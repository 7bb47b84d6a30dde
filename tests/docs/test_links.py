"""Links and pictures of the README and of docs/ lead to files that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tomoatlas.analysis.figures import FIGURES, MAP, TRIALS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    nearby = [target for target in targets if "://" not in target]
    assert not [target for target in nearby if not (page.parent / target).exists()]


def test_the_gallery_has_a_picture_of_every_figure() -> None:
    places = ROOT / "docs" / "pictures", ROOT / "analysis" / "atlases" / "fig4_nanocubes_64"
    kept = {path.stem for place in places for path in place.glob("*.png")}
    solved = {name for name in FIGURES.shipped() if FIGURES.get(name).needs not in (MAP, TRIALS)}
    assert solved <= kept


def test_the_readme_leads_to_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert "(docs/index.md)" in (ROOT / "README.md").read_text()
    others = {page.name for page in PAGES[1:]} - {"index.md"}
    assert not [name for name in others if f"({name})" not in index]


def test_the_page_of_the_installation_names_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "install.md").read_text()
    words = set(re.findall(r"[a-z][a-z0-9]*", " ".join(re.findall(r"`([^`]+)`", page))))
    assert set(project["optional-dependencies"]) <= words
