from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.landscape import landscape_figure, posterior
from analysis.save import figure_bytes
from recon_core.errors import BadInput

SPACE = {"haadf": (1e-3, 10.0), "tv": (0.1, 6.0)}


def trials(count: int = 12, failed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        haadf, tv = 10 ** rng.uniform(-3, 1), 10 ** rng.uniform(-1, math.log10(6))
        score = 0.3 + 0.1 * math.log10(tv) ** 2 + 0.01 * (math.log10(haadf) + 1) ** 2
        status = "crashed" if number >= count - failed else "ok"
        rows.append(
            {"method": "fused", "number": number, "status": status, "haadf": haadf, "tv": tv}
            | {"nrmse": score if status == "ok" else math.nan}
        )
    return pd.DataFrame(rows)


def test_the_posterior_passes_through_the_told_points_and_knows_it():
    told = trials()
    found = posterior(told, SPACE)
    assert found.mean.shape == found.sigma.shape == (len(found.tv), len(found.haadf))
    for _, row in told.iterrows():
        near = (
            np.abs(np.log(found.tv / row["tv"])).argmin(),
            np.abs(np.log(found.haadf / row["haadf"])).argmin(),
        )
        assert found.mean[near] == pytest.approx(row["nrmse"], abs=0.02)
        assert found.sigma[near] < 0.5 * found.sigma.max()


def test_the_expected_minimum_is_that_of_the_response():
    found = posterior(trials(40), SPACE)
    row, _ = np.unravel_index(found.mean.argmin(), found.mean.shape)
    assert found.tv[row] == pytest.approx(1.0, rel=0.3)


def test_every_trial_is_drawn_the_best_starred_and_failures_crossed():
    told = trials(10, failed=2)
    ax = landscape_figure(told, SPACE, "here").axes[0]
    drawn = {line.get_label(): line for line in ax.lines}
    assert len(drawn["trial"].get_xdata()) == 8
    assert len(drawn["failed"].get_xdata()) == 2
    best = told.loc[told["nrmse"].idxmin()]
    star = drawn[f"best, {best['nrmse']:.3f}"]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (best["haadf"], best["tv"])
    assert to_hex(star.get_markerfacecolor()) == "#f0e442"


def test_both_panels_are_labelled_and_can_be_saved():
    figure = landscape_figure(trials(), SPACE, "47 tilts")
    assert [ax.get_xlabel() for ax in figure.axes[:2]] == ["HAADF weight"] * 2
    assert "uncertainty" in figure.axes[3].get_ylabel()
    assert "47 tilts" in figure.get_suptitle()
    assert figure_bytes(figure, "png", dpi=30)


@pytest.mark.parametrize("count", [0, 2])
def test_two_trials_are_no_landscape(count):
    empty = trials(3).iloc[:count]
    with pytest.raises(BadInput, match="too few good fused trials"):
        landscape_figure(empty, SPACE)
