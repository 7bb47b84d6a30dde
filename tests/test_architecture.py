"""The packages import leftwards only, nothing in circles, and one file knows the GPU."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Collection, Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest

PACKAGES = ("recon_core", "phantoms", "sweep", "analysis", "jobs")
ROOT = Path(__file__).parents[1]
ROOMS = {
    "recon_core": ("cpu", "projection", "gpu", "metrics", "solver"),
    "phantoms": ("kinds", "formats"),
    "sweep": ("study", "record", "executors", "search", "run"),
    "analysis": ("figures", "report"),
    "jobs": ("batch", "terminal", "commands"),
}
"""The folders of each package: each imports only from those left of it."""
GPU_FILE = "recon_core/gpu/cupy.py"


def sources(package: str, root: Path = ROOT) -> list[Path]:
    return sorted((root / package).rglob("*.py"))


def module(path: Path, root: Path) -> tuple[str, ...]:
    """A file's place below ``tomoatlas``; the facade, in ``jobs/tomoatlas``, is the top itself."""
    parts = path.relative_to(root).with_suffix("").parts
    return parts[2:] if parts[:2] == ("jobs", "tomoatlas") else parts


def imported(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Names of the modules a file imports, inside functions too; ours below ``tomoatlas``."""
    here = ("tomoatlas", *module(path, root))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = here[: len(here) - node.level] if node.level else ()
            above = ".".join([*parent, *([node.module] if node.module else [])])
            yield above
            yield from (f"{above}.{alias.name}" for alias in node.names)


def package_of(name: str) -> str:
    """The package of a module name: the first one, or the second below ``tomoatlas``."""
    parts = name.split(".")
    return parts[1] if parts[0] == "tomoatlas" and len(parts) > 1 else parts[0]


def wrong_imports(root: Path) -> list[str]:
    """Imports of a package to the right, and imports of ours that are not relative."""
    found = []
    for place, package in enumerate(PACKAGES):
        right = PACKAGES[place + 1 :]
        for path in sources(package, root):
            if module(path, root)[:1] != (package,):
                continue  # the facade may see everything
            found += [
                f"{path.relative_to(root)} imports {name}"
                for name in imported(path, root)
                if package_of(name) in right or name.split(".")[0] in PACKAGES
            ]
    return found


def test_packages_import_only_from_their_left() -> None:
    assert all(sources(package) for package in PACKAGES)
    assert wrong_imports(ROOT) == []


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("recon_core/errors.py", "from ..sweep.study import Study"),
        ("recon_core/solver/admm.py", "from ...phantoms import paint"),
        ("phantoms/paint.py", "from tomoatlas.analysis.atlas import Atlas"),
        ("sweep/run/driver.py", "    from ...analysis import load_atlas"),
        ("analysis/atlas.py", "import tomoatlas.jobs.cli"),
        ("sweep/evaluate.py", "from recon_core.errors import BadInput"),
        ("jobs/cli.py", "import sweep"),
    ],
)
def test_a_planted_wrong_import_is_found(where: str, line: str, tmp_path: Path) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
    path = tmp_path / where
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(
        f"def late() -> None:\n    pass\n{line}\n" if line[0] != " " else f"if 1:\n{line}\n"
    )
    assert [found.split(" imports ")[0] for found in wrong_imports(tmp_path)][:1] == [where]


def wrong_rooms(root: Path) -> list[str]:
    """Imports of a folder of a package from one to its right."""
    return [
        f"{path.relative_to(root)} imports {name}"
        for package, rooms in ROOMS.items()
        for place, room in enumerate(rooms)
        for path in sources(f"{package}/{room}", root)
        for name in imported(path, root)
        if name.split(".")[1:3] in [[package, other] for other in rooms[place + 1 :]]
    ]


def test_rooms_of_a_package_import_only_from_their_left() -> None:
    for package, rooms in ROOMS.items():
        folders = {path.relative_to(ROOT / package).parts[0] for path in sources(package)}
        assert {f for f in folders if not f.endswith(".py")} - {"tomoatlas"} == set(rooms)
    assert wrong_rooms(ROOT) == []


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("recon_core/projection/rays.py", "from ..solver import reconstruct"),
        ("sweep/executors/mpi/worker.py", "from ...run.scheduler import Scheduler"),
        ("phantoms/kinds/build.py", "from ..formats.registry import FORMATS"),
    ],
)
def test_a_planted_import_of_a_room_to_the_right_is_found(
    where: str, line: str, tmp_path: Path
) -> None:
    path = tmp_path / where
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n")
    assert [found.split(" imports ")[0] for found in wrong_rooms(tmp_path)][:1] == [where]


def loaded_at_once(path: Path, modules: Collection[str]) -> Iterator[str]:
    """Those of our ``modules`` that a file imports when it is loaded itself."""
    here = ("tomoatlas", *module(path, ROOT))
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            parent = here[: len(here) - node.level]
            above = ".".join([*parent, *([node.module] if node.module else [])])
            inside = [f"{above}.{alias.name}" for alias in node.names]
            yield from {name if name in modules else above for name in inside} & set(modules)


def test_no_circle_of_imports() -> None:
    modules = {
        ".".join(("tomoatlas", *module(path, ROOT))).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sources(package)
    }
    edges = {
        name: sorted(set(loaded_at_once(path, modules)) - {name}) for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in edges[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in modules:
        visit(name, ())


def test_one_file_imports_cupy() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sources(package)
        if any(name.split(".")[0] in ("cupy", "cupyx") for name in imported(path))
    }
    assert users <= {GPU_FILE}


def test_the_installed_distribution_has_one_import_name() -> None:
    try:
        distribution("tomoatlas")
    except PackageNotFoundError:
        pytest.skip("tomoatlas is not installed")
    names = packages_distributions()
    assert set(names["tomoatlas"]) == {"tomoatlas"}
    assert not [name for name in PACKAGES if "tomoatlas" in names.get(name, ())]


def declared() -> set[str]:
    """Distributions that pyproject.toml names, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return {re.split(r"[\[<>=;@ ]", line)[0].lower() for line in lines}


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_what_is_imported_is_declared(package: str) -> None:
    ours = {"tomoatlas", "tests", *(path.stem for path in sources("tests"))}
    names = {name.split(".")[0] for path in sources(package) for name in imported(path)}
    installed = packages_distributions() | {"cupy": ["cupy-cuda13x"], "cupyx": ["cupy-cuda13x"]}
    others = names - ours - set(sys.stdlib_module_names)
    known = {name: {found.lower() for found in installed.get(name, ())} for name in others}
    missing = {name: found for name, found in known.items() if found and not found & declared()}
    assert missing == {}
