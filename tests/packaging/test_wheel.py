"""The wheel: what it holds, and that it works in an environment and a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("recon_core", "phantoms", "sweep", "analysis", "jobs")
TOOLS = {"setuptools": 77, "setuptools-scm": 8}  # as [build-system] has them
STUDY = """
[study]
name = "small"
[specimen]
kind = "nanocubes"
size = 8
[search]
methods = ["ml"]
"""
SESSION = """
import tomoatlas as ta
specimen = ta.make_specimen("nanocubes", size=8)
series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=9, chemical_tilts=5))
result = ta.reconstruct(series, "ml", settings=ta.SolverSettings(max_iterations=5))
print(ta.evaluate(result, specimen)["nrmse"], ta.__file__)
"""


def ran(command: list[str | Path], folder: Path, **variables: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def installed(name: str) -> int:
    """The first number of a distribution's version; 0 of one that is not there."""
    try:
        return int(version(name).split(".")[0])
    except PackageNotFoundError:
        return 0


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources: a build leaves modules behind where it works."""
    lacking = [f"{name} >= {least}" for name, least in TOOLS.items() if installed(name) < least]
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)} to build without a network")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.png")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    (source / "docs" / "release").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "docs/release/description.py"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", out]
    built = ran([*command, "."], source)
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("tomoatlas-*.whl")
    return path


@pytest.fixture(scope="session")
def listing(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_it_holds_one_import_name(listing: list[str]) -> None:
    tops = {name.split("/")[0] for name in listing}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tomoatlas"}
    assert not [name for name in listing if "test" in name or "benchmarks" in name]


def test_without_git_it_has_the_version_of_the_settings(wheel: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools_scm"]
    assert wheel.name.split("-")[1] == settings["fallback_version"]


def test_its_description_needs_no_file_beside_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
        text = archive.read(name).decode()
    assert "# tomoatlas" in text
    assert "](docs/" not in text
    assert "![" not in text


def test_every_module_and_data_file_is_in_it(listing: list[str]) -> None:
    kinds = {".py", ".typed", ".cu", ".cuh", ".toml", ".jsonl", ".csv", ".h5", ".sh", ".ipynb"}
    kinds |= {".js", ".css", ".html"}
    missing = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            place = path.relative_to(ROOT).as_posix().removeprefix("jobs/tomoatlas/")
            if path.suffix in kinds and f"tomoatlas/{place}" not in listing:
                missing.append(place)
    assert missing == []
    assert not [name for name in listing if name.endswith(".png")]


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with this wheel; the other packages are those of these tests."""
    home = tmp_path_factory.mktemp("environment") / "venv"
    made = ran([sys.executable, "-m", "venv", "--without-pip", home], home.parent)
    assert made.returncode == 0, made.stderr
    (site,) = home.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("-packages")]
    (site / "others.pth").write_text("\n".join(others), encoding="utf-8")
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    done = ran([*pip, "--force-reinstall", wheel], home.parent)
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    """A person's folder whose modules have the names of our packages."""
    for name in PACKAGES[:3]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('{name} of a person')\n")
    for name in PACKAGES[3:]:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} of a person')\n")
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


ADVICE = ["recommend", "fig4_nanocubes_64", "--haadf-tilts", "41", "--chemical-tilts", "9"]


def test_the_wheel_answers_outside_the_clone(python: Path, poisoned: Path) -> None:
    advice = ran([python.with_name("tomoatlas"), *ADVICE, "--json"], poisoned, PYTHONPATH=".")
    assert advice.returncode == 0, advice.stderr
    assert 0.2 < json.loads(advice.stdout)["nrmse"] < 0.5


def test_a_session_with_the_wheel(python: Path, poisoned: Path) -> None:
    session = ran([python, "-c", SESSION], poisoned)
    assert session.returncode == 0, session.stderr
    nrmse, place = session.stdout.split()
    assert float(nrmse) > 0
    assert Path(place).is_relative_to(python.parents[1])


@pytest.mark.parametrize("start", [["bin"], ["-m"]])
def test_a_study_runs_with_the_wheel(start: list[str], python: Path, poisoned: Path) -> None:
    command = [python.with_name("tomoatlas")] if start == ["bin"] else [python, "-m", "tomoatlas"]
    options = ["--out", "out", "--workers", "1", "--device", "cpu", "--no-slices", "-q"]
    run = ran([*command, "run", "study.toml", *options], poisoned, PYTHONPATH=".")
    assert run.returncode == 0, run.stderr
    (line,) = (poisoned / "out" / "trials.jsonl").read_text().splitlines()
    assert json.loads(line)["status"] == "ok"


def test_this_installation_is_not_shadowed_either(poisoned: Path) -> None:
    command = [sys.executable, "-m", "tomoatlas", *ADVICE, "-q"]
    advice = ran(command, poisoned, PYTHONPATH=os.pathsep.join([".", *sys.path]))
    assert advice.returncode == 0, advice.stderr


@pytest.mark.parametrize("module", ["sweep.study", "analysis.atlas", "jobs.cli", "phantoms.kinds"])
def test_a_module_does_not_exist_a_second_time(module: str) -> None:
    twice = ran([sys.executable, "-c", f"import {module}"], ROOT)
    assert twice.returncode != 0
    assert "beyond top-level package" in twice.stderr
