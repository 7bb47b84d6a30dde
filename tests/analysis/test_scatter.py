"""Repeated conditions: noise and specimens apart, one pixel for all seeds, and error bars."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tomoatlas.analysis.atlas import Atlas, load_atlas, write_atlas
from tomoatlas.analysis.figures import draw_figure
from tomoatlas.analysis.figures.source import Source
from tomoatlas.analysis.maps import pages
from tomoatlas.analysis.recommend import recommend
from tomoatlas.analysis.report.data import map_columns
from tomoatlas.analysis.scatter import NOISE, SPECIMENS, over_seeds, with_scatter
from tomoatlas.jobs.terminal.advice import recommendation_text
from tomoatlas.sweep.study import parse_study

TILTS, SPECIMEN, SEED = "acquisition.chemical_tilts", "specimen.seed", "study.seed"


def repeated(noise: float, specimens: float, seeds: tuple[int, int] = (40, 25)) -> pd.DataFrame:
    """Two conditions, each with so many specimens and repetitions of each."""
    rng, rows = np.random.default_rng(1), []
    for tilts in (5, 9):
        for specimen in range(seeds[0]):
            own = specimens * rng.standard_normal()
            for seed in range(seeds[1]):
                nrmse = 1.0 / tilts + own + noise * rng.standard_normal()
                rows.append({TILTS: tilts, SPECIMEN: specimen, SEED: seed, "nrmse": nrmse})
    return pd.DataFrame(rows).assign(haadf=0.1, tv=1.0, trials=2, failed=0)


@pytest.mark.parametrize(("noise", "specimens"), [(0.002, 0.008), (0.004, 0.0)])
def test_noise_and_specimens_are_told_apart(noise: float, specimens: float) -> None:
    found = with_scatter(repeated(noise, specimens), (TILTS, SPECIMEN, SEED))
    assert found.groupby(TILTS)[[NOISE, SPECIMENS]].nunique().max(axis=None) == 1
    assert found[NOISE].to_numpy() == pytest.approx(noise, rel=0.1)
    assert found[SPECIMENS].to_numpy() == pytest.approx(specimens, rel=0.3, abs=5e-4)


@pytest.mark.parametrize(("axis", "column"), [(SPECIMEN, SPECIMENS), (SEED, NOISE)])
def test_one_kind_of_seed_tells_one_scatter(axis: str, column: str) -> None:
    table = repeated(0.01, 0.0, (1, 60)).rename(columns={SEED: axis, axis: "other"})
    found = with_scatter(table.drop(columns=["other"], errors="ignore"), (TILTS, axis))
    assert found[column].to_numpy() == pytest.approx(0.01, rel=0.25)
    assert {NOISE, SPECIMENS} & set(found) == {column}


def test_without_seeds_a_table_stays_as_it_is() -> None:
    table = repeated(0.01, 0.0, (1, 1))
    assert with_scatter(table, (TILTS,)) is table
    assert over_seeds(table, (TILTS,)) is table


def test_a_condition_is_the_mean_of_its_results_and_needs_two_for_a_scatter() -> None:
    table = repeated(0.01, 0.0, (1, 3))
    table.loc[table[TILTS] == 5, "nrmse"] = [0.2, 0.3, np.nan]
    table.loc[table[TILTS] == 9, "nrmse"] = [0.1, np.nan, np.nan]
    axes = (TILTS, SEED)
    found = over_seeds(with_scatter(table, axes), axes).set_index(TILTS)
    assert found["nrmse"].to_dict() == pytest.approx({5: 0.25, 9: 0.1})
    assert found.loc[5, NOISE] == pytest.approx(0.1 / 2**0.5)
    assert np.isnan(found.loc[9, NOISE])
    assert found["trials"].tolist() == [6, 6]
    assert SEED not in found


STUDY = """
[study]
name = "repeated"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = 1
initial = 1
methods = ["fused"]
[axes]
"acquisition.haadf_tilts" = [9, 35]
"acquisition.chemical_tilts" = [5, 9]
"specimen.seed" = [0, 1]
"study.seed" = [0, 1, 2]
"""


def test_every_seed_is_a_condition_of_its_own() -> None:
    study = parse_study(STUDY)
    seeds = {study.at(cell).noise_seed() for cell in study.cells()}
    assert len(seeds) == len(study.cells()) == 24
    alone = parse_study(STUDY.replace('"study.seed" = [0, 1, 2]\n', ""))
    assert {alone.at(cell).noise_seed() for cell in alone.cells()} < seeds


def test_atlas_map_report_and_advice_carry_the_error_bars(folder_of, response) -> None:
    def noisy(study, trial, device="cpu"):
        result, values = response(study, trial), dict(trial.cell.values)
        factor = 1 + 0.04 * values[SPECIMEN] + 0.01 * values[SEED]
        object.__setattr__(result, "nrmse", result.nrmse * factor)
        return result

    folder: Path = folder_of(parse_study(STUDY), noisy)
    written = write_atlas(folder)
    for name in ("atlas.h5", "atlas.csv"):
        atlas = load_atlas(folder / name)
        assert atlas.notes == ()
        assert atlas.table[NOISE].to_numpy() == pytest.approx(written.table[NOISE].to_numpy())
    (page,) = pages(written)
    assert page.atlas.axes == ("acquisition.haadf_tilts", "acquisition.chemical_tilts")
    assert page.map("nrmse").values.shape == (2, 2)
    texts = {text.get_text() for text in draw_figure("nrmse", Source((folder,))).axes[0].texts}
    assert all("±" in text for text in texts)
    assert {NOISE, SPECIMENS} < {column.key for column in map_columns(written)}
    found = recommend(folder, 20, 7)
    assert found.conditions["noise_scatter"] == pytest.approx(0.01, rel=0.1)
    assert found.conditions["specimen_scatter"] == pytest.approx(0.028, rel=0.2)
    assert "scatter noise 1.0%" in recommendation_text(found)
    assert found.nrmse_high / found.nrmse_low > 1.05


def test_advice_without_seeds_names_no_scatter(folder: Path) -> None:
    assert "noise_scatter" not in recommend(folder, 20, 7).conditions
    assert isinstance(load_atlas(folder), Atlas)


def test_pages_over_seeds_alone_have_one_pixel() -> None:
    atlas = Atlas(repeated(0.01, 0.0, (2, 2)).query(f"`{TILTS}` == 5"), (SPECIMEN, SEED))
    (page,) = pages(atlas)
    assert (page.axes, len(page.atlas.table)) == (0, 1)


def test_seeds_of_both_kinds_in_any_order_give_the_same() -> None:
    table = repeated(0.002, 0.008, (4, 3))
    orders = itertools.permutations((TILTS, SPECIMEN, SEED))
    found = [with_scatter(table, axes)[SPECIMENS].tolist() for axes in orders]
    assert all(each == found[0] for each in found)
