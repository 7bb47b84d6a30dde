from __future__ import annotations

import pytest

from tomoatlas.jobs import load_study
from tomoatlas.jobs.batch import for_trials
from tomoatlas.jobs.batch.capacity import capacity_warnings, feeding_lines, need_text
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.estimate import estimate, trial_seconds
from tomoatlas.sweep.price import price_on
from tomoatlas.sweep.study import Study

MINUTE = 60.0


@pytest.fixture(scope="module")
def fig4() -> Study:
    """64 cells of 256³ with long searches: 896 trials at once at first, 128 later."""
    return load_study("fig4_nanocubes")


def test_one_worker_needs_the_sum_of_all_trials(fig4: Study) -> None:
    assert estimate(fig4).seconds_on(1) == pytest.approx(estimate(fig4).seconds)


@pytest.mark.parametrize("workers", [1, 7, 64, 128, 300, 896, 5000])
def test_workers_are_no_faster_than_their_number_and_than_the_longest_search(
    fig4: Study, workers: int
) -> None:
    seconds = max(trial_seconds(fig4.at(cell), Method.FUSED) for cell in fig4.cells())
    longest = (1 + fig4.search.trials - fig4.search.initial) * seconds
    assert estimate(fig4).seconds_on(workers) >= estimate(fig4).seconds / workers - 1e-6
    assert estimate(fig4).seconds_on(workers) >= longest
    assert estimate(fig4).seconds_on(workers) <= estimate(fig4).seconds_on(max(1, workers // 2))


def test_searches_that_feed_few_workers_count_as_few(fig4: Study) -> None:
    no_searches = fig4.model_copy(
        update={"search": fig4.search.model_copy(update={"trials": 6, "chemistry_tv_trials": 6})}
    )
    searches = estimate(fig4).seconds - estimate(no_searches).seconds
    steady, most = estimate(fig4).steady, estimate(fig4).most
    assert (steady, most) == (128, 896)
    assert estimate(fig4).seconds_on(most) >= searches / steady
    lagged = fig4.model_copy(update={"search": fig4.search.model_copy(update={"lag": 7})})
    assert estimate(lagged).seconds_on(most) < estimate(fig4).seconds_on(most) / 2


def test_a_walltime_below_the_longest_search_is_warned_of(fig4: Study) -> None:
    (few, long) = capacity_warnings(fig4, estimate(fig4), 896, 20 * MINUTE)
    assert few.startswith("896 workers, but only about 128 trials at once")
    assert long.endswith("is more than one job of 20 min 0 s: about 9 jobs in a chain")
    assert capacity_warnings(fig4, estimate(fig4), 128, 300 * MINUTE) == []


@pytest.mark.parametrize("name", [None, "A100-40GB"])
@pytest.mark.parametrize("minutes", [8, 20, 60, 600, 60000])
def test_enough_workers_are_the_fewest_that_end_a_study_in_time(
    name: str | None, minutes: int, fig4: Study
) -> None:
    price, walltime = price_on(name), minutes * MINUTE
    work = estimate(fig4, price.seconds)
    enough = work.workers_for(for_trials(walltime))
    if enough is None:
        assert work.seconds_on(10**6) > for_trials(walltime)
        assert need_text(work, walltime, price, 4).startswith("no number of ")
        return
    assert work.seconds_on(enough) <= for_trials(walltime)
    assert enough == 1 or work.seconds_on(enough - 1) > for_trials(walltime)
    assert need_text(work, walltime, price, 4).startswith(f"{enough} ")


def test_warnings_are_of_the_device_that_is_priced(fig4: Study) -> None:
    assert len(capacity_warnings(fig4, estimate(fig4), 8, 120 * MINUTE)) == 1
    gpu = price_on("A100-40GB")
    cost = estimate(fig4, gpu.seconds)
    assert capacity_warnings(fig4, cost, 8, 120 * MINUTE, gpu) == []
    (second,) = capacity_warnings(fig4, cost, 8, 1.0, gpu)
    assert "on one A100-40GB" in second


def test_searches_say_how_many_workers_they_keep_busy_and_what_more_would_cost() -> None:
    lines = feeding_lines(estimate(load_study("nanocubes_64")))
    assert lines[-1] == (
        "fused in 56 cells: keeps 8 workers busy at first and 7 later (search.lag = 7); "
        "search.lag = 28 would keep 28 busy, but costs trials: measured on a map of 56 cells, "
        "2.5 per cell instead of 1.5"
    )


def test_a_search_that_begins_with_an_atlas_keeps_as_many_busy_as_its_lag() -> None:
    lines = feeding_lines(estimate(load_study("composite_256")))
    assert lines[-1] == "chemistry-tv in 3 cells: keeps 1 worker busy (search.lag = 1)"
