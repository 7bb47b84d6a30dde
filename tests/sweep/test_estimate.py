from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from sweep_fakes import SMALL, small_study

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.formats import save_specimen
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.estimate import data_bytes, estimate, trial_bytes, trial_seconds
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.specimens import build


def at(text: str) -> Study:
    study = parse_study(text)
    return study.at(study.cells()[0])


def test_an_estimate_counts_cells_and_trials() -> None:
    whole = estimate(small_study())
    assert whole.cells == 2
    assert whole.trials == {
        Method.FUSED: 12, Method.CHEMISTRY_TV: 8, Method.ML: 2, Method.ML_STOPPED: 2,
    }  # fmt: skip
    assert whole.trials_in_all == 24
    assert whole.device_hours == pytest.approx(whole.seconds / 3600)


def test_methods_that_are_not_run_cost_nothing() -> None:
    assert estimate(small_study(methods='["ml"]')).trials == {Method.ML: 2}


def test_memory_and_time_follow_the_voxels() -> None:
    small, large = at(SMALL), at(SMALL.replace("16", "32"))
    assert 6.5 < trial_bytes(large) / trial_bytes(small) <= 8
    ratio = trial_seconds(large, Method.FUSED) / trial_seconds(small, Method.FUSED)
    assert ratio == pytest.approx(8)


def test_memory_covers_twelve_specimens() -> None:
    specimen = make_specimen("nanocubes", 16, 0)
    assert trial_bytes(at(SMALL)) > 12 * specimen.volumes.nbytes


MEASURED = """
[study]
name = "measured"
[specimen]
kind = "nanocubes"
size = 64
[acquisition]
haadf_tilts = 47
chemical_tilts = 9
"""


@pytest.mark.parametrize(
    ("method", "milliseconds", "iterations"),
    [
        (Method.FUSED, 23.0, 180),
        (Method.CHEMISTRY_TV, 12.9, 130),
        (Method.ML, 9.7, 190),
        (Method.ML_STOPPED, 8.6, 25),
    ],
)
def test_the_time_is_that_measured(method: Method, milliseconds: float, iterations: int) -> None:
    expected = 1e-3 * milliseconds * iterations
    assert trial_seconds(at(MEASURED), method) == pytest.approx(expected, rel=0.1)
    few = at(MEASURED + "[solver]\nmax_iterations = 10\n")
    assert trial_seconds(few, method) == pytest.approx(1e-2 * milliseconds, rel=0.1)


def test_haadf_tilts_cost_only_the_method_that_sees_them() -> None:
    few, many = at(SMALL), at(SMALL.replace("[5, 9]", "[180]"))
    assert trial_seconds(many, Method.FUSED) > 1.5 * trial_seconds(few, Method.FUSED)
    assert trial_seconds(many, Method.ML) == trial_seconds(few, Method.ML)


def test_a_volume_counts_by_its_own_shape(tmp_path: Path) -> None:
    save_specimen(tmp_path / "mine.h5", make_specimen("nanocubes", 16, 0))
    path = str(tmp_path / "mine.h5")
    mine = at(SMALL.replace("nanocubes", path).replace("size = 16", "size = 512"))
    assert trial_bytes(mine) == trial_bytes(at(SMALL))


@pytest.mark.parametrize("kind", ["nanocubes", "composite"])
def test_memory_covers_data_made_on_a_finer_grid(kind: str) -> None:
    text = MEASURED.replace("nanocubes", kind).replace("size = 64", "size = 48")
    study = at(text + "oversample = 2\n")
    simulate(build(study.specimen, 2), study.acquisition)  # compiled, and small things cached
    tracemalloc.start()
    try:
        simulate(build(study.specimen, 2), study.acquisition)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < data_bytes(study)
