"""The front door: what ``import tomoatlas`` offers, and a whole session through it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import tomoatlas as ta

FACADE = Path(__file__).parents[1] / "jobs" / "tomoatlas" / "__init__.py"
SUBPACKAGES = {"recon_core", "phantoms", "sweep", "analysis", "jobs"}
SMALL = """
[study]
name = "small"
[specimen]
kind = "nanocubes"
size = 8
[search]
trials = 2
methods = ["fused", "ml"]
[axes]
"acquisition.chemical_tilts" = [5, 9]
"""


def test_the_type_checker_sees_the_names_that_are_there() -> None:
    blocks = [node for node in ast.parse(FACADE.read_text()).body if isinstance(node, ast.If)]
    imports = [node for node in blocks[0].body if isinstance(node, ast.ImportFrom)]
    typed = {alias.name: node.module for node in imports for alias in node.names}
    real = {name: getattr(ta, name) for name in ta.__all__ if name != "__version__"}
    assert typed.keys() == real.keys()
    for name, module in typed.items():
        assert real[name] is getattr(sys.modules[f"tomoatlas.{module}"], name)


def test_every_name_is_listed_and_none_hides_a_subpackage() -> None:
    assert set(ta.__all__) <= set(dir(ta))
    assert not SUBPACKAGES & set(ta.__all__)
    assert 20 <= len(ta.__all__) <= 31
    assert ta.__version__[0].isdigit()


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="reconstructs"):
        _ = ta.reconstructs
    assert not hasattr(ta, "__wrapped__")


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'numba', 'scipy', 'pandas', 'matplotlib', 'h5py', 'pydantic', 'mpi4py'}"
    code = f"import sys, tomoatlas; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


@pytest.fixture(scope="module")
def specimen() -> ta.Specimen:
    return ta.make_specimen("nanocubes", size=16)


def test_from_a_specimen_to_scores(specimen: ta.Specimen, tmp_path: Path) -> None:
    ta.save_specimen(tmp_path / "cubes.h5", specimen)
    series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=15, chemical_tilts=5), seed=1)
    ta.save_tilt_series(tmp_path / "tilts.h5", series)
    again = ta.load_tilt_series(tmp_path / "tilts.h5")
    result = ta.reconstruct(again, settings=ta.SolverSettings(max_iterations=60))
    ta.save_reconstruction(tmp_path / "volumes.h5", result)
    volumes, elements, _ = ta.load_volumes(tmp_path / "volumes.h5")
    scores = ta.evaluate(volumes, ta.load_specimen(tmp_path / "cubes.h5"), elements)
    assert scores == ta.evaluate(result, specimen)
    assert scores["nrmse"] < ta.evaluate(ta.reconstruct(series, "ml"), specimen)["nrmse"]
    drawn = ta.figure("slices", tmp_path / "cubes.h5", tmp_path / "volumes.h5")
    assert isinstance(drawn, Figure)


def test_elements_are_matched_by_name(specimen: ta.Specimen) -> None:
    backwards = ta.evaluate(specimen.volumes[::-1], specimen, specimen.elements[::-1])
    assert backwards["nrmse"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda v: (v[:2], ("Co", "Cu")), "elements"),
        (lambda v: (v[:, 1:], None), "volumes"),
        (lambda v: (v[:3], None), "volumes"),
        (lambda v: (v, ("Co", "Cu", "O", "Ni")), "elements"),
    ],
)
def test_other_volumes_are_refused(specimen: ta.Specimen, change, key: str) -> None:
    volumes, elements = change(specimen.volumes)
    with pytest.raises(ta.BadInput) as refused:
        ta.evaluate(np.ascontiguousarray(volumes), specimen, elements)
    assert refused.value.key == key


def test_from_a_study_to_a_figure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study, seen = ta.parse_study(SMALL), []
    first = ta.run(study, tmp_path / "out", workers=1, device="cpu")
    (tmp_path / "small.toml").write_text(SMALL)
    again = ta.run(
        tmp_path / "small.toml",
        tmp_path / "out",
        workers=1,
        device="cpu",
        on_result=lambda *given: seen.append(given),
    )
    assert capfd.readouterr() == ("", "")
    assert (first.done, first.failed, again.resumed, seen) == (6, 0, 6, [])
    assert (tmp_path / "out" / "report" / "index.html").is_file()
    assert set(ta.load_trials(tmp_path / "out")["method"]) == {"fused", "ml"}
    advice = ta.recommend(ta.load_atlas(tmp_path / "out"), 47, 7)
    assert advice == ta.recommend(tmp_path / "out", 47, 7)
    assert isinstance(ta.figure("curves", tmp_path / "out"), Figure)
    cell = {"chemical_tilts": 9}
    assert isinstance(ta.figure("convergence", tmp_path / "out", cell=cell), Figure)


def test_a_run_on_ranks_is_the_command_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(ta.BadInput) as refused:
        ta.run("quickstart", tmp_path / "out")
    assert "mpiexec" in (refused.value.accepted or "")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_is_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ta.run(ta.parse_study(SMALL), tmp_path, workers=1, device="cpu", on_result=interrupt)
    assert len(ta.load_trials(tmp_path)) == 1
