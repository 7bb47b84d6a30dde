from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet

from tomoatlas.analysis.figures.draw import figure_bytes
from tomoatlas.analysis.figures.landscape import landscape_figure
from tomoatlas.analysis.posterior import Posterior, posterior
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.search.propose import predict

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
    return pd.DataFrame(rows).assign(score=lambda table: table["nrmse"])


def posterior_of(told: pd.DataFrame, method: Method, points: int) -> Posterior:
    found = posterior(told, SPACE, method, points)
    assert found is not None
    return found


def test_the_posterior_passes_through_the_told_points_and_knows_it():
    told = trials()
    found = posterior_of(told, Method.FUSED, 81)
    assert found.mean.shape == found.sigma.shape == (81, 81)
    for _, row in told.iterrows():
        near = tuple(
            np.abs(np.log(found.weights[name] / row[name])).argmin() for name in ("tv", "haadf")
        )
        assert found.mean[near] == pytest.approx(row["nrmse"], abs=0.02)
        assert found.sigma[near] < 0.5 * found.sigma.max()


def test_the_expected_minimum_is_that_of_the_response():
    found = posterior_of(trials(40), Method.FUSED, 81)
    row, column = np.unravel_index(found.mean.argmin(), found.mean.shape)
    assert found.weights["tv"][row] == pytest.approx(1.0, rel=0.1)
    assert found.weights["haadf"][column] == pytest.approx(0.1, rel=0.3)


def test_the_picture_is_what_the_search_believed_whatever_the_grid_and_the_order():
    told = trials(11, failed=2)
    told.loc[len(told)] = {"method": "ml", "number": 0, "status": "ok", "score": 9.0}
    weights = [Weights(w["haadf"], w["tv"]) for _, w in told[:11].iterrows()]
    scores = [None if math.isnan(s) else float(s) for s in told["nrmse"][:11]]
    at = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    mean, sigma = predict(SPACE, list(zip(weights, scores, strict=True)), at)
    for points, frame in ((3, told), (25, told.sample(frac=1, random_state=0))):
        found = posterior_of(frame, Method.FUSED, points)
        places = (0, 0), (0, -1), (-1, 0), (points // 2, points // 2)
        assert [found.mean[place] for place in places] == pytest.approx(mean)
        assert [found.sigma[place] for place in places] == pytest.approx(sigma)


def test_a_failure_is_expected_to_be_worse_than_the_worst():
    told = trials(12)
    found = posterior_of(told, Method.FUSED, 25)
    best = np.unravel_index(found.mean.argmin(), found.mean.shape)
    told.loc[len(told)] = {
        "method": "fused",
        "number": len(told),
        "status": "crashed",
        "nrmse": math.nan,
        "score": math.nan,
        "haadf": found.weights["haadf"][best[1]],
        "tv": found.weights["tv"][best[0]],
    }
    again = posterior_of(told, Method.FUSED, 25)
    assert again.mean[best] > told["nrmse"].max()


def test_a_method_of_one_weight_has_a_curve():
    told = trials(9).assign(method="chemistry-tv", haadf=math.nan)
    told["score"] = told["nrmse"] = 0.3 + 0.1 * np.log10(told["tv"]) ** 2
    found = posterior_of(told, Method.CHEMISTRY_TV, 61)
    assert list(found.weights) == ["tv"]
    assert found.mean.shape == found.sigma.shape == (61,)
    assert found.weights["tv"][found.mean.argmin()] == pytest.approx(1.0, rel=0.1)


def test_every_trial_is_drawn_the_best_starred_and_failures_crossed():
    told = trials(10, failed=2)
    ax = landscape_figure(told, SPACE, "here").axes[0]
    drawn = {line.get_label(): line for line in ax.lines}
    assert len(drawn["trial"].get_xdata()) == 8
    assert len(drawn["failed, taken as worse"].get_xdata()) == 2
    best = told.loc[told["nrmse"].idxmin()]
    star = drawn[f"best, {best['nrmse']:.3f}"]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (best["haadf"], best["tv"])
    assert to_hex(star.get_markerfacecolor()) == "#f0e442"


def test_both_panels_are_labelled_and_can_be_saved():
    figure = landscape_figure(trials(), SPACE, "47 tilts")
    assert [ax.get_xlabel() for ax in figure.axes[:2]] == ["HAADF weight"] * 2
    assert ["uncertainty" in ax.get_title() for ax in figure.axes[:2]] == [False, True]
    assert [(bar.get_title(), bar.get_ylabel()) for bar in figure.axes[2:]] == [
        ("⟨NRMSE⟩", ""),
        ("σ", ""),
    ]
    assert "47 tilts" in figure.get_suptitle()
    assert figure_bytes(figure, "png", dpi=30)


@pytest.mark.parametrize("count", [0, 4])
def test_four_trials_are_no_landscape(count):
    empty = trials(5).iloc[:count]
    with pytest.raises(BadInput) as caught:
        landscape_figure(empty, SPACE)
    assert caught.value.value == count


@pytest.mark.parametrize("wide", ["haadf", "tv"])
def test_a_bowl_in_one_weight_leaves_the_far_edges_of_the_other_unknown(wide):
    narrow = "tv" if wide == "haadf" else "haadf"
    low, high = SPACE[wide]
    centre = math.sqrt(SPACE[narrow][0] * SPACE[narrow][1])
    places = np.linspace(0.05, 0.95, 6)
    told = pd.DataFrame({"method": "fused", "number": range(6), "status": "ok", "nrmse": 0.5})
    told[wide] = low * (high / low) ** places
    told[narrow] = centre * np.array([0.9, 1.1, 1.0, 0.95, 1.05, 1.15])
    told["score"] = told["nrmse"] = (
        0.3 + 0.5 * (places - 0.5) ** 2 + 1e-3 * np.log(told[narrow] / centre) ** 2
    )
    found = posterior(told, SPACE, Method.FUSED, 21)
    sigma, guessed = found.sigma, found.guessed()
    if wide == "tv":
        sigma, guessed = sigma.T, guessed.T
    spread = float(told["score"].std())
    assert sigma[[0, -1]].min() > 0.75 * spread
    assert sigma[10].max() < 0.25 * spread
    assert guessed[[0, -1]].mean() > 0.9
    assert not guessed[10].any()


def test_guesses_are_hatched():
    told = trials()
    ax = landscape_figure(told, SPACE).axes[0]
    area = next(c for c in ax.collections if isinstance(c, ContourSet) and c.filled)
    assert area.hatches == ["//"]
    inside = area.get_paths()[0].contains_points
    found = posterior(told, SPACE, Method.FUSED, 81)
    assert not inside(told[["haadf", "tv"]].to_numpy()).any()
    row, column = np.unravel_index(found.sigma.argmax(), found.sigma.shape)
    row, column = min(max(row, 1), 79), min(max(column, 1), 79)
    assert inside([[found.weights["haadf"][column], found.weights["tv"][row]]]).all()
    assert "hatched: a guess" in ax.get_title()


def test_trials_at_another_exponent_are_not_drawn_as_equal() -> None:
    """The surface is that of the best trial's exponent; where others scored is no part of it."""
    told, space = trials(12), SPACE | {"gamma": (1.0, 2.0)}
    told["gamma"] = [1.3] * 8 + [1.8] * 4
    told.loc[told["gamma"] > 1.5, ["nrmse", "score"]] += 0.2
    for ax in landscape_figure(told, space).axes[:2]:
        drawn = {line.get_label(): line.get_xdata() for line in ax.lines}
        assert list(drawn["trial"]) == list(told["haadf"][:8])
        assert list(drawn["trial at another γ"]) == list(told["haadf"][8:])
    for ax in landscape_figure(trials(12), SPACE).axes[:2]:
        assert not any("γ" in str(line.get_label()) for line in ax.lines)
