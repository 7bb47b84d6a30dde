"""The examples of the pages that are run: extending, specimens and tutorial, each in its order."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tomoatlas.analysis.figures import FIGURES
from tomoatlas.jobs.batch.sites import PACKAGES, find_site
from tomoatlas.jobs.cli import main
from tomoatlas.phantoms.formats.registry import FORMATS
from tomoatlas.phantoms.kinds import SPECIMENS
from tomoatlas.recon_core.registry import Registry

from .test_blocks import working_in

RUN = ("extending", "specimens", "tutorial")
PAGES = [Path(__file__).parents[2] / "docs" / f"{name}.md" for name in RUN]
REGISTRIES: tuple[Registry[Any], ...] = (SPECIMENS, FORMATS, FIGURES, PACKAGES)


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    title: str | None
    text: str


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        parts = re.finditer(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', text, re.M | re.S)
        lines = ((m, text[: m.start()].count("\n") + 1) for m in parts)
        found += [Block(page, line, m[1], m[2], m[3]) for m, line in lines]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_picture_is_there(page: Path) -> None:
    for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).is_file()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the page is read, first on the path of modules."""
    with (
        working_in(tmp_path_factory.mktemp("extending"), {}) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.syspath_prepend(str(folder))
        yield folder
    for module in ("rods", "npz", "dots"):
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the blocks without a title share."""
    return {}


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert {block.language for block in blocks()} == {"python", "sh", "toml"}
    assert all(block.title for block in blocks() if block.language == "toml")


@pytest.mark.parametrize(
    "block", blocks(), ids=lambda block: f"{block.page.stem} line {block.line}"
)
def test_a_block_runs(block: Block, folder: Path, names: dict[str, Any]) -> None:
    if block.title is not None:
        (folder / block.title).write_text(block.text, encoding="utf-8")
    elif block.language == "sh":
        for line in block.text.splitlines():
            command, *argv = shlex.split(line)
            assert command == "tomoatlas"
            assert main(argv) == 0, line
    else:
        exec(compile(block.text, f"{block.page.name}:{block.line}", "exec"), names)


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
