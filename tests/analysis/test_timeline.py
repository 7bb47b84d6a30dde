"""Device-hours and utilisation of journals with retries, breaks and short trials."""

from __future__ import annotations

import pandas as pd
import pytest

from tomoatlas.analysis.figures.timeline import (
    breaks,
    device_hours,
    lanes,
    timed_trials,
    timeline_figure,
    utilisation,
)
from tomoatlas.analysis.progress import progress
from tomoatlas.analysis.table import trials_table

START = pd.Timestamp("2026-01-01T00:00:00Z")


def record(number: int, start: float = 0.0, seconds: float = 1.0, **changes: object):
    return {
        "trial_id": f"id{number}",
        "number": number,
        "method": "fused",
        "status": "ok",
        "nrmse": 0.4,
        "seconds": seconds,
        "started": (START + pd.Timedelta(seconds=start)).isoformat(),
    } | changes


def timed(records):
    return timed_trials(trials_table(records))


def test_all_tell_the_same_device_hours_after_a_retry(study):
    killed = record(0, 0, 3600.0, status="crashed", nrmse=None, final=False)
    trials = trials_table([killed, record(0, 3600, 1800.0), record(1, 0, 5400.0)])
    assert progress(trials, study).device_hours == pytest.approx(3.0)
    assert device_hours(trials)["device_hours"].max() == pytest.approx(3.0)
    assert "3 device-hours" in timeline_figure(trials).get_suptitle()
    assert progress(trials, study).seconds_left == pytest.approx(88 * 5400.0)


def test_short_trials_of_parallel_workers_are_not_one_worker():
    found = timed([record(8 * i + w, 0.55 * i, 0.5) for i in range(40) for w in range(8)])
    assert len(lanes(found).names) == 8
    assert utilisation(found) == pytest.approx(0.5 / 0.55, rel=0.01)


def test_clocks_that_differ_a_little_make_no_worker():
    assert len(lanes(timed([record(i, 99.5 * i, 100.0) for i in range(5)])).names) == 1


@pytest.mark.parametrize("workers", [(None, None), ("0", "1")])
def test_a_break_before_a_run_was_resumed_is_nobodys_time(workers):
    spans = [(0, 0), (100, 0), (86_400, 0), (86_400, 1), (86_500, 0), (86_500, 1)]
    found = timed(
        [record(i, start, 100.0, worker=workers[w]) for i, (start, w) in enumerate(spans)]
    )
    assert utilisation(found) == pytest.approx(1.0)
    ((begin, end),) = breaks(found)
    assert ((begin - START).total_seconds(), (end - START).total_seconds()) == (200, 86_400)
    assert "1 break of 23 h" in timeline_figure(found).get_suptitle()


def test_an_idle_worker_of_a_run_counts():
    rows = [record(0, 0, 100.0, worker="0"), record(1, 0, 50.0, worker="1")]
    assert utilisation(timed(rows)) == pytest.approx(0.75)
