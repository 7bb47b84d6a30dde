"""What a release is made of beside the wheel: its description, the recipe, the container file."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / "docs" / "release"
SOURCE = "https://example.org/lab/tomoatlas"
ELSEWHERE = {"matplotlib": "matplotlib-base"}  # conda's name of what pip calls so
README = """# Name

![a map](analysis/map.png)

*What the map
shows.*

**Bold** [in](docs/in.md), [here](#here), [web](https://example.org/x).
"""


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return yaml.safe_load((RELEASE / "recipe.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def description() -> ModuleType:
    spec = importlib.util.spec_from_file_location("description", RELEASE / "description.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def spaced(requirement: str) -> str:
    """A requirement of pip as a recipe writes it, without its marker."""
    name, bound = re.fullmatch(r"([\w-]+)(.*)", requirement.split(";")[0].strip()).groups()
    return f"{ELSEWHERE.get(name, name)} {bound}".strip()


def test_a_description_alone_has_no_pictures_and_no_dead_links(description: ModuleType) -> None:
    assert description.alone(README) == (
        "# Name\n\n**Bold** in, [here](#here), [web](https://example.org/x).\n"
    )


@pytest.mark.parametrize(("version", "ref"), [("1.2.0", "v1.2.0"), ("1.2.1.dev3+gabc", "HEAD")])
def test_with_an_address_links_lead_there(version: str, ref: str, description: ModuleType) -> None:
    text = description.absolute(README, f"{SOURCE}/", version)
    assert f"![a map]({SOURCE}/raw/{ref}/analysis/map.png)" in text
    assert f"[in]({SOURCE}/blob/{ref}/docs/in.md)" in text
    assert "[here](#here), [web](https://example.org/x)" in text


def test_the_readme_keeps_its_words_and_loses_its_files(description: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = description.alone(readme)
    assert not [t for t in re.findall(r"\]\(([^)]+)\)", text) if "://" not in t]
    assert "![" not in text
    assert set(re.findall(r"^#+ .*$", readme, re.M)) == set(re.findall(r"^#+ .*$", text, re.M))


def test_the_recipe_requires_what_the_wheel_does(
    project: dict[str, Any], recipe: dict[str, Any]
) -> None:
    run = recipe["requirements"]["run"]
    (astra,) = [entry for entry in run if isinstance(entry, dict)]
    always = [entry for entry in run if isinstance(entry, str)]
    needed = project["project"]["dependencies"]
    assert sorted(always) == sorted(
        [spaced(d) for d in needed if ";" not in d]
        + [f"python {project['project']['requires-python']}"]
    )
    assert astra["if"] == "linux and x86_64"
    assert astra["then"] == [spaced(d) for d in needed if ";" in d]


def test_the_recipe_builds_with_what_the_wheel_does(
    project: dict[str, Any], recipe: dict[str, Any]
) -> None:
    tools = [spaced(d) for d in project["build-system"]["requires"]]
    assert set(recipe["requirements"]["host"]) == {"python", "pip", *tools}
    scripts = [f"{name} = {at}" for name, at in project["project"]["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == scripts
    assert recipe["about"]["summary"] == project["project"]["description"]
    assert recipe["about"]["license"] == project["project"]["license"]


def test_recipe_fallback_and_changelog_name_one_version(
    project: dict[str, Any], recipe: dict[str, Any]
) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)[1]
    assert recipe["context"]["version"] == newest
    assert project["tool"]["setuptools_scm"]["fallback_version"] == f"{newest}.dev0"


def test_the_image_is_built_of_what_the_build_reads(project: dict[str, Any]) -> None:
    text = (RELEASE / "Containerfile").read_text(encoding="utf-8")
    copied = {
        name for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.M) for name in line.split()
    }
    folders = {path.split("/")[0] for path in project["tool"]["setuptools"]["package-dir"].values()}
    assert copied == folders | {"pyproject.toml", "README.md", "LICENSE", "docs/release"}
    extras = re.search(r"\$\{wheel\}\[([\w,]+)\]", text)[1].split(",")
    assert set(extras) <= project["project"]["optional-dependencies"].keys()
