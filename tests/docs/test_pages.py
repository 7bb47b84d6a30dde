"""Every block of the README and of docs/ is run: files, commands, Python, in the order of a page.

Grids, iterations and trials are few. What is not run is named in ``LEFT_OUT`` with its reason, so
that nothing new goes unrun.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tifffile

import tomoatlas as ta
from tomoatlas.jobs import plan as plans
from tomoatlas.jobs.cli import main
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.study import Task
from tomoatlas.sweep.study.specimens import outline
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus

from .pages import PAGES, ROOT, Block, blocks, shown, working_in

SLURM = "by tests/cluster under a real Slurm, as a stage of .ci/run"
RANKS = "by tests/sweep/test_mpi.py: a study on ranks"
LEFT_OUT = {  # by page, "" for all: how a command begins that is run elsewhere, and where
    "": {
        "cd tomoatlas": "into the clone",
        ". ": "into the environment",
        "git clone": "not at all: the address is the reader's",
        "python3 -m venv": "by .ci/run, which begins with it",
        "python -m pip install": "by .ci/run, of the wheel; here its extras are looked up",
        "pip install": "likewise",
        "python -m pytest": "by whoever runs this",
        "mpiexec": RANKS,
        "mpirun": RANKS,
        "tomoatlas serve": "by tests/jobs/test_server.py: it ends by Ctrl+C",
        "tomoatlas run STUDY --out DIR --dask": "by tests/sweep/test_executors.py",
    },
    "cluster": dict.fromkeys(("squeue", "until", "tomoatlas status", "tomoatlas report"), SLURM),
    "README": {"tomoatlas import": "on the page of real data"},
    "howto": {"tomoatlas import": "on the page of real data"},
}
# Nor are the files of the journey's real series part of the repository.
END = {"journey": "## A real series"}
TABLES = ("README", "howto")  # pages whose tables say what to do, one thing after the other

SMALL = {"64": "16", "48": "16", "32": "16"}  # voxels per edge
SMALL |= {"61": "9", "53": "9", "47": "9", "45": "9", "41": "9", "9": "5"}  # HAADF tilts, maps
SMALL |= {"STUDY": "alone.toml"}
SHIPPED = ("check", "figure", "plan", "recommend", "script")  # computes little, or with a law
QUICK = {
    "plan --specimen": {"--size": "16", "--workers": "1"},
    "reconstruct": {"--max-iterations": "10"},
    "run": {"--executor": "inline", "--no-slices": None},
}
DOUBTS = {"align", "assess"}  # so small and so short, they may well speak against the data
ALONE = """[study]
name = "alone"
[specimen]
kind = "nanocubes"
size = 16
[solver]
max_iterations = 10
[search]
trials = 1
initial = 1
methods = ["fused"]
[axes]
"acquisition.haadf_tilts" = [5, 9]
"""
TOGETHER = """[study]
name = "together"
edition = 3
[specimen]
kind = "nanocubes"
size = 16
[acquisition]
haadf_snr = 2208.67
chemical_snr = { Co = 1.92, Cu = 2.89, O = 2.69, Au = 1.96 }
[search]
trials = 1
initial = 1
chemistry_tv_trials = 1
[axes]
"acquisition.haadf_tilts" = [9]
"acquisition.chemical_tilts" = [5]
"""


def by_law(tasks: Sequence[Task]) -> list[TrialResult]:
    """Scores that more of everything improves, in place of the hundred trials of a plan."""
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
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's files: images of 16² in TIFF, since nobody but Bruker writes a .bcf."""
    folder = tmp_path_factory.mktemp("images")
    plan = ta.Acquisition(haadf_tilts=9, chemical_tilts=5)
    series = ta.simulate(ta.make_specimen("nanocubes", size=16), plan, seed=0)
    stacks = {"HAADF": (series.haadf, series.haadf_angles_deg)}
    maps = zip(series.elements, series.chemical, strict=True)
    stacks |= {name: (stack, series.chemical_angles_deg) for name, stack in maps if name != "Cu"}
    for name, (stack, angles) in stacks.items():
        for image, angle in zip(stack, angles, strict=True):
            tifffile.imwrite(folder / f"{name}_{angle:.1f}.tif", image)
    return folder


@pytest.fixture
def folder(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what a reader has: studies, a particle, images; and a scheduler."""
    particle = shown(ROOT / "docs" / "plan.md")["catalyst.toml"]
    files = {"alone.toml": ALONE, "together.toml": TOGETHER, "particle.toml": particle}
    for image in images.iterdir():
        (tmp_path / image.name).symlink_to(image)
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text("#!/bin/sh\necho 77\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(sbatch.parent), prepend=":")
    monkeypatch.setattr(plans, "_evaluator", lambda executor, on_result: by_law)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    with working_in(tmp_path, files) as here:
        yield here
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def left_out(page: Path, command: str) -> bool:
    return any(
        command.startswith(start) for key in ("", page.stem) for start in LEFT_OUT.get(key, ())
    )


def commands(block: Block) -> list[str]:
    """The commands of a block of shell or of a table that are run here."""
    lines = [line.split("  #")[0].strip() for line in block.text.splitlines()]
    parts = [part for line in lines for part in line.split(" && ")]
    return [part for part in parts if not left_out(block.page, part)]


def run_here(page: Path) -> list[Block]:
    """The blocks of a page that are to run, in its order."""
    end = END.get(page.stem)
    last = page.read_text("utf-8").partition(end)[0].count("\n") if end else None
    return [
        block
        for block in blocks(page)
        if (last is None or block.line <= last) and (block.language != "row" or page.stem in TABLES)
    ]


def shrunk(command: str) -> list[str]:
    """The words of a command of ours: a smaller grid, few iterations, weights without a search."""
    words = shlex.split(command.replace(".bcf", ".tif"))[1:]
    name = words[0]
    if name == "reconstruct" and "--weights" in words:  # 19 solves
        at = words.index("--weights")
        del words[at : at + 2]
    if name == "run":
        shipped = {"nanocubes_64": "together.toml", "quickstart": "alone.toml"}
        words = [shipped.get(word, word) for word in words]
    kept = {"STUDY": "fig4_nanocubes_64"} if name in SHIPPED else SMALL
    words = [kept.get(word, word) for word in words]
    found = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words]
    quick = QUICK.get(name) or QUICK.get(" ".join(words[:2]), {})
    more = {key: value for key, value in quick.items() if key not in words}
    options = [word for option in more.items() for word in option if word is not None]
    return [word for each in found for word in each] + options


def run_command(command: str) -> None:
    """Run a command; what it was to write is there."""
    if not command.startswith("tomoatlas "):
        subprocess.run(["bash", "-ec", command], check=True)
        return
    words = shrunk(command)
    assert main(words) in ({0, 3} if words[0] in DOUBTS else {0}), command
    for option, value in pairwise(words):
        if option in ("--out", "--figure", "--copy"):
            assert Path(value).exists(), command


def run_block(block: Block, names: dict[str, Any]) -> None:
    """Write a file that is shown, run the commands, or execute Python with what came before."""
    if block.title is not None:
        text = block.text.replace("size = 32", "size = 16").replace("\ntrials = 6", "\ntrials = 1")
        Path(block.title).write_text(text, encoding="utf-8")
    elif block.language in ("sh", "row"):
        for command in commands(block):
            run_command(command)
    elif block.language == "python":
        text = block.text.replace("size=32", "size=16").replace('"quickstart"', '"alone.toml"')
        exec(compile(text, f"{block.page.name}:{block.line}", "exec"), names)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", [p for p in PAGES if run_here(p)], ids=lambda page: page.stem)
def test_a_page_runs(page: Path) -> None:
    names: dict[str, Any] = {}
    for block in run_here(page):
        run_block(block, names)


def test_what_is_left_out_is_on_the_page() -> None:
    for stem, starts in LEFT_OUT.items():
        pages = [page for page in PAGES if stem in ("", page.stem)]
        found = [block.text for page in pages for block in blocks(page)]
        lines = [
            part for text in found for line in text.splitlines() for part in line.split(" && ")
        ]
        for start in starts:
            assert any(line.startswith(start) for line in lines), (stem, start)


KINDS = {"python", "sh", "bash", "toml", "text"}
UNMARKED = re.compile(
    r"^ {4}(tomoatlas|python3?|pip|git|mpiexec|mpirun|srun|sbatch|module|conda|docker) ", re.M
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_of_a_kind_that_is_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"^```(\w+)", text, re.M)) <= KINDS
    assert not UNMARKED.findall(text), "a command stands in a block of sh, or after a dollar sign"
    assert all(block.title for block in blocks(page) if block.language == "toml")


def test_every_extra_that_is_installed_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    asked = re.findall(r"pip install [\"'](?:\.|\./tomoatlas|tomoatlas)\[([\w,]+)\]", text)
    assert {name for found in asked for name in found.split(",")} <= set(
        project["optional-dependencies"]
    )
    assert len(asked) > 10
