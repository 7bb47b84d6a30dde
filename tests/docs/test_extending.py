"""The package of the page on extending, installed: its parts are known by name."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tomoatlas.analysis.figures import FIGURES
from tomoatlas.jobs.batch.sites import PACKAGES, find_site
from tomoatlas.jobs.cli import main
from tomoatlas.phantoms.formats.registry import FORMATS
from tomoatlas.phantoms.kinds import SPECIMENS
from tomoatlas.recon_core.registry import Registry

from .pages import ROOT, shown, working_in

PAGE = ROOT / "docs" / "extending.md"
REGISTRIES: tuple[Registry[Any], ...] = (SPECIMENS, FORMATS, FIGURES, PACKAGES)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the page was read, first on the path of modules."""
    monkeypatch.syspath_prepend(str(tmp_path))
    with working_in(tmp_path, shown(PAGE)) as folder:
        assert main(["sites", "slurm", "--copy", "ours.toml"]) == 0
        yield folder
    for module in ("rods", "npz", "dots"):
        sys.modules.pop(module, None)


@pytest.fixture
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package of the page, as an installer leaves it: modules and a dist-info beside them."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"].items()
    points = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in found.items())
        for group, found in groups
    ]
    (info / "entry_points.txt").write_text("\n".join(points))
    (folder / "lab_sites").mkdir(exist_ok=True)
    (folder / "lab_sites" / "__init__.py").touch()
    (folder / "lab_sites" / "lab_cluster.toml").write_text((folder / "ours.toml").read_text())
    for registry in REGISTRIES:
        registry.refresh()
    yield
    monkeypatch.undo()
    (info / "entry_points.txt").unlink()
    for registry in REGISTRIES:
        registry.refresh()


@pytest.mark.usefixtures("installed")
def test_the_package_of_the_page_is_known_by_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["phantom", "--list"]) == 0
    listed = capsys.readouterr().out
    assert "length = 0.5" in listed
    assert "(by lab-tomo)" in listed
    text = (folder / "study.toml").read_text().replace("rods.py", "rods")
    (folder / "named.toml").write_text(text)
    assert main(["run", "named.toml", "--out", "named", "--workers", "1", "--no-slices"]) == 0
    assert main(["figure", "dots", "named", "--out", "named.svg"]) == 0
    assert find_site("lab_cluster").workers_per_node == 4
    assert FORMATS.origin("npz") in ("lab-tomo", "this process")
