"""The commands of the page on a microscope's files, in its order, on images of 16² in TIFF."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import tifffile

import tomoatlas as ta

from .test_blocks import ROOT, working_in
from .test_walks import run_quickly

TEXT = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
TYPED = [line.strip() for line in TEXT.splitlines() if line.startswith("    tomoatlas ")]
ELEMENTS = ("Co", "O", "Au")


def expanded(command: str) -> list[str]:
    """The words of a command; nobody but Bruker writes a .bcf, and TIFF stands for it."""
    words = shlex.split(command.replace(".bcf", ".tif"))[1:]
    found = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words]
    return [word for each in found for word in each]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    plan = ta.Acquisition(haadf_tilts=9, chemical_tilts=5)
    series = ta.simulate(ta.make_specimen("nanocubes", size=16), plan, seed=0)
    images = {"HAADF": (series.haadf, series.haadf_angles_deg)}
    for element, maps in zip(series.elements, series.chemical, strict=True):
        if element in ELEMENTS:
            images[element] = maps, series.chemical_angles_deg
    with working_in(tmp_path_factory.mktemp("measured"), {}) as folder:
        for name, (stack, angles) in images.items():
            for image, angle in zip(stack, angles, strict=True):
                tifffile.imwrite(folder / f"{name}_{angle:.1f}.tif", image)
        yield folder


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", TYPED)
def test_a_command_of_the_page_runs(command: str) -> None:
    run_quickly(expanded(command))


def test_the_page_leads_from_files_to_a_verdict(folder: Path) -> None:
    names = [command.split()[1] for command in TYPED]
    assert names == ["import", "inspect", "align", "reconstruct", "assess"]
    assert ta.load_tilt_series(folder / "tilts.h5").elements == tuple(sorted(ELEMENTS))
    assert (folder / "volumes.html").is_file()
