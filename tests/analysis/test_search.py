"""Figures of the search and of the workers, from journals with known content."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from tomoatlas.analysis.figures.draw import figure_bytes
from tomoatlas.analysis.figures.landscape import importance_figure, shares_of_variance
from tomoatlas.analysis.figures.search import (
    FEW,
    best_so_far,
    mean_best,
    parallel_figure,
    search_figure,
)
from tomoatlas.analysis.figures.timeline import (
    device_hours,
    lanes,
    timed_trials,
    timeline_figure,
    utilisation,
)
from tomoatlas.analysis.journal import load_trials
from tomoatlas.analysis.posterior import WEIGHTS
from tomoatlas.analysis.table import trials_table
from tomoatlas.recon_core.errors import BadInput

SPACE = {"haadf": (1e-3, 10.0), "tv": (0.1, 6.0)}
START = "2024-01-01T00:{:02d}:{:02d}.000+00:00"


def record(number: int, **changes: object) -> dict[str, object]:
    seconds = number * 60
    return {
        "trial_id": f"id{number}",
        "cell": {"x": number % 2},
        "method": "fused",
        "number": number // 2,
        "weights": {"haadf": 0.1 * (number + 1), "tv": 1.0 + number},
        "status": "ok",
        "nrmse": 0.5 - 0.01 * number,
        "nrmse_by_element": {"Co": 0.4},
        "seconds": 60.0,
        "started": START.format(seconds // 60, seconds % 60),
    } | changes


def test_best_so_far_never_rises_and_keeps_through_failures():
    records = [record(i) for i in range(6)]
    records[2] |= {"status": "timeout", "nrmse": None}
    best = best_so_far(trials_table(records), ["x"])
    assert best.columns.tolist() == [1, 2, 3]
    assert best.to_numpy() == pytest.approx(np.array([[0.5, 0.5, 0.46], [0.49, 0.47, 0.45]]))


def test_best_so_far_is_unknown_before_the_first_and_after_the_last_trial():
    records = [record(0, nrmse=None, status="failed"), record(1), record(2), record(4)]
    best = best_so_far(trials_table(records), ["x"]).to_numpy()
    assert np.isnan(best).tolist() == [[True, False, False], [False, True, True]]


def test_the_search_figure_shows_the_excess_and_the_hours():
    figure = search_figure(trials_table([record(i) for i in range(6)]), ["x"])
    left, right = figure.axes[:2]
    median = next(line for line in left.lines if line.get_label() == "median")
    excess = [np.mean([0.5 / 0.46, 0.49 / 0.45]), np.mean([0.48 / 0.46, 0.47 / 0.45]), 1.0]
    assert median.get_ydata() == pytest.approx(100 * (np.array(excess) - 1))
    assert right.lines[0].get_xdata()[-1] == pytest.approx(6 / 60)
    assert right.lines[0].get_ydata()[-1] == pytest.approx((0.46 + 0.45) / 2)
    assert figure.axes[2].lines[0].get_ydata()[-1] == 2


def test_the_mean_best_is_of_all_cells_and_never_rises():
    told = trials_table(
        [record(i) for i in (0, 2, 4)] + [record(7, nrmse=0.9), record(8), record(9)]
    )
    found = mean_best(told, ["x"])
    assert found["cells"].tolist() == [1, 1, 1, 2, 2, 2]
    assert found["mean"].isna().tolist() == [True] * 3 + [False] * 3
    assert found["mean"].tolist()[3:] == pytest.approx([(0.46 + 0.9) / 2, 0.66, (0.42 + 0.41) / 2])
    assert found["device_hours"].iloc[-1] == pytest.approx(6 / 60)


def test_a_failed_trial_is_no_result_of_a_cell():
    told = trials_table([record(0, status="timeout", nrmse=0.3), record(1), record(2)])
    assert mean_best(told, ["x"])["cells"].tolist() == [0, 1, 2]


def test_what_is_known_in_steps_is_drawn_in_steps():
    left, right, count = search_figure(trials_table([record(i) for i in range(6)]), ["x"]).axes
    lines = [*left.lines, *right.lines, *count.lines]
    assert [line.get_drawstyle() for line in lines] == ["steps-post"] * 3
    assert "by definition" in left.get_title()


def test_shares_of_variance_of_known_surfaces():
    tv, haadf = np.meshgrid(np.linspace(-1, 1, 33), np.linspace(-1, 1, 33), indexing="ij")
    assert shares_of_variance(2 * haadf, WEIGHTS) == pytest.approx(
        {"haadf": 1, "tv": 0, "together": 0}
    )
    both = shares_of_variance(haadf + tv, WEIGHTS)
    assert both == pytest.approx({"haadf": 0.5, "tv": 0.5, "together": 0}, abs=1e-9)
    assert shares_of_variance(haadf * tv, WEIGHTS)["together"] == pytest.approx(1)
    assert np.isnan(list(shares_of_variance(np.ones((3, 3)), WEIGHTS).values())).all()


def test_importance_finds_the_weight_that_matters():
    rng = np.random.default_rng(0)
    records = []
    for number in range(40):
        haadf, tv = 10 ** rng.uniform(-3, 1), 10 ** rng.uniform(-1, 0.75)
        score = 0.3 + 0.2 * np.log10(tv) ** 2
        records.append(record(number, weights={"haadf": haadf, "tv": tv}, nrmse=float(score)))
    figure = importance_figure(trials_table(records), SPACE, ["x"])
    haadf_share, tv_share, _ = (bar.get_height() for bar in figure.axes[0].patches)
    assert tv_share > 90
    assert haadf_share < 5
    curve = next(line for line in figure.axes[2].lines if "geometric" in line.get_label())
    assert curve.get_xdata()[curve.get_ydata().argmin()] == pytest.approx(1, rel=0.3)
    with pytest.raises(BadInput) as caught:
        importance_figure(trials_table(records[:5]), SPACE, ["x"])
    assert caught.value.value == 5


def test_importance_says_how_much_of_the_range_no_trial_is_near():
    rng = np.random.default_rng(0)
    records = []
    for number in range(20):
        haadf, tv = 10 ** rng.uniform(-1.2, -0.8), 10 ** rng.uniform(-0.2, 0.2)
        score = 0.3 + 0.2 * np.log10(tv) ** 2 + 0.2 * (np.log10(haadf) + 1) ** 2
        records.append(record(number, weights={"haadf": haadf, "tv": tv}, nrmse=float(score)))
    title = importance_figure(trials_table(records), SPACE, ["x"]).get_suptitle()
    share = title.partition("; ")[2].partition("%")[0]
    assert 40 < int(share) <= 100
    wide = [
        record(i, weights={"haadf": h, "tv": t}, nrmse=float(0.3 + 0.1 * np.log10(t) ** 2))
        for i, (h, t) in enumerate(
            itertools.product(np.geomspace(1e-3, 10, 5), np.geomspace(0.1, 6, 5))
        )
    ]
    assert "far" not in importance_figure(trials_table(wide), SPACE, ["x"]).get_suptitle()


def test_a_band_spans_the_other_weight_and_no_trial_is_cut():
    records = [
        record(i, weights={"haadf": h, "tv": t}, nrmse=0.3 * t)
        for i, (h, t) in enumerate(itertools.product((1e-3, 0.1, 10.0), (0.1, 0.5, 1.0, 6.0)))
    ]
    _, haadf, tv = importance_figure(trials_table(records), SPACE, []).axes
    widths = [np.ptp(ax.collections[0].get_paths()[0].vertices[:, 1]) for ax in (haadf, tv)]
    assert widths[0] > 100
    for ax in (haadf, tv):
        low, high = ax.get_ylim()
        assert all(low < y < high for y in ax.lines[0].get_ydata())


def test_parallel_coordinates_hold_every_good_trial():
    records = [record(i) for i in range(6)] + [record(7, status="crashed", nrmse=None)]
    ax = parallel_figure(trials_table(records), ["x"]).axes[0]
    lines = next(c for c in ax.collections if isinstance(c, LineCollection)).get_segments()
    assert len(lines) == 6
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        "x",
        "HAADF weight",
        "TV weight",
        "⟨NRMSE⟩",
    ]
    best = lines[-1]
    assert best[-1].tolist() == [3, 0]
    assert best[1].tolist() == [1, 1]


def test_of_hundreds_of_lines_the_best_of_each_cell_are_coloured():
    records = [record(i, nrmse=0.3 + 0.001 * i, started=None) for i in range(FEW + 20)]
    trials = trials_table(records)
    grey, coloured = parallel_figure(trials, ["x"]).axes[0].collections
    assert (len(grey.get_segments()), len(coloured.get_segments())) == (FEW + 8, 12)


def timed(*spans: tuple[int, int], workers: Sequence[str | None] = ()) -> pd.DataFrame:
    records = [
        record(i, started=START.format(begin // 60, begin % 60), seconds=float(end - begin))
        for i, (begin, end) in enumerate(spans)
    ]
    for told, worker in zip(records, workers, strict=False):
        told["worker"] = worker
    return timed_trials(trials_table(records))


def test_lanes_are_as_few_as_run_at_once_and_never_overlap():
    found = timed((0, 100), (0, 50), (50, 150), (100, 160), (10, 40))
    places = lanes(found).of
    assert lanes(found).names == ("1", "2", "3")
    for lane in set(places):
        mine = found[places == lane].sort_values("begin")
        assert (mine["begin"].iloc[1:].to_numpy() >= mine["end"].iloc[:-1].to_numpy()).all()


def test_a_lane_is_the_worker_that_the_journal_names():
    spans = [(0, 100), (100, 200), (0, 50), (60, 90)]
    found = timed(*spans, workers=["10", "9", "9", "node/2"])
    assert lanes(found).names == ("9", "10", "node/2")
    assert found["trial_id"].tolist() == ["id0", "id2", "id3", "id1"]
    assert lanes(found).of.tolist() == [1, 0, 2, 0]
    assert utilisation(found) == pytest.approx(280 / (3 * 200))
    assert utilisation(timed(*spans)) == pytest.approx(280 / (2 * 200)), "two could have done it"


def test_lanes_are_inferred_only_where_the_journal_names_no_worker():
    found = timed((0, 100), (0, 100), (0, 100), (100, 200), workers=[None, "0", None, "1"])
    assert lanes(found).names == ("0", "1", "unnamed 1", "unnamed 2")
    assert sorted(lanes(found).of.tolist()) == [0, 1, 2, 3]


def test_the_chart_labels_its_lanes_with_the_names_of_workers():
    records = [record(i, worker=f"rank{i}", host="node") for i in range(40)]
    gantt = timeline_figure(trials_table(records)).axes[0]
    assert [t.get_text() for t in gantt.get_yticklabels()] == [f"rank{i}" for i in range(0, 40, 2)]
    bars = {round(bar.get_y() + bar.get_height() / 2) for bar in gantt.patches}
    assert bars == set(range(40))


def test_utilisation_is_busy_time_over_worker_time():
    assert utilisation(timed((0, 100), (0, 50))) == pytest.approx(0.75)
    assert utilisation(timed((0, 100), (100, 200))) == 1


def test_device_hours_add_up_in_the_order_of_ends():
    ended = device_hours(trials_table([record(0, seconds=7200.0), record(1, seconds=3600.0)]))
    assert ended["trial_id"].tolist() == ["id1", "id0"]
    assert ended["device_hours"].tolist() == [1.0, 3.0]


def test_the_timeline_has_a_bar_per_trial_and_the_failures_by_class():
    records = [record(i) for i in range(5)]
    records.append(record(5, status="crashed", nrmse=None, error="SIGKILL: worker"))
    figure = timeline_figure(trials_table(records))
    gantt, busy, failed = figure.axes
    assert len(gantt.patches) == 6
    assert [t.get_text() for t in gantt.get_legend().get_texts()] == ["Fused", "failed"]
    assert [p.get_width() for p in gantt.patches] == pytest.approx([1.0] * 6)  # minutes
    assert "time since 2024-01-01 00:00 UTC / min" in busy.get_xlabel()
    assert [t.get_text() for t in failed.get_yticklabels()] == ["crashed: SIGKILL"]
    assert failed.texts[0].get_text().strip() == "1 (16.7%)"
    assert "6 trials, 0.1 device-hours; workers busy 100.0%" in figure.get_suptitle()


def test_no_failure_is_said():
    figure = timeline_figure(trials_table([record(0)]))
    assert figure.axes[2].texts[0].get_text() == "no trial failed"


@pytest.mark.parametrize("draw", [lambda t: search_figure(t, []), lambda t: parallel_figure(t, [])])
def test_a_study_without_a_result_is_refused_in_a_line(draw):
    with pytest.raises(BadInput):
        draw(trials_table([]))
    with pytest.raises(BadInput):
        timeline_figure(trials_table([]))


def test_each_can_be_saved_of_a_real_journal(folder, study):
    trials, axes = load_trials(folder), list(study.axes)
    figures = [search_figure(trials, axes), parallel_figure(trials, axes), timeline_figure(trials)]
    figures.append(importance_figure(trials, SPACE, axes))
    assert all(figure_bytes(figure, "png", dpi=20) for figure in figures)
