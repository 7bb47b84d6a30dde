"""The five packages import leftwards only; one file knows the GPU; the names are ours alone."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest

PACKAGES = ("recon_core", "phantoms", "sweep", "analysis", "jobs")
ROOT = Path(__file__).parents[1]
GPU_FILE = "recon_core/backend.py"


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Absolute names of the modules a file imports, inside functions too."""
    here = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = here[: len(here) - node.level] if node.level else ()
            yield ".".join([*parent, *([node.module] if node.module else [])])


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_from_their_left(package: str) -> None:
    assert sources(package)
    right = PACKAGES[PACKAGES.index(package) + 1 :]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imported(path)
        if name.split(".")[0] in right
    ]
    assert wrong == []


def test_one_file_imports_cupy() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sources(package)
        if any(name.split(".")[0] in ("cupy", "cupyx") for name in imported(path))
    }
    assert users <= {GPU_FILE}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_has_the_import_name(package: str) -> None:
    try:
        distribution("tomoatlas")
    except PackageNotFoundError:
        pytest.skip("tomoatlas is not installed: run from its source folder")
    assert set(packages_distributions()[package]) == {"tomoatlas"}


def declared() -> set[str]:
    """Distributions that pyproject.toml names, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return {re.split(r"[\[<>=]", line)[0].lower() for line in lines}


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_what_is_imported_is_declared(package: str) -> None:
    ours = {*PACKAGES, "tests", *(path.stem for path in sources("tests"))}
    names = {name.split(".")[0] for path in sources(package) for name in imported(path)}
    installed = packages_distributions() | {"cupy": ["cupy-cuda13x"], "cupyx": ["cupy-cuda13x"]}
    others = names - ours - set(sys.stdlib_module_names)
    known = {name: {found.lower() for found in installed.get(name, ())} for name in others}
    missing = {name: found for name, found in known.items() if found and not found & declared()}
    assert missing == {}
