from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from tomoatlas.analysis.progress import throughput
from tomoatlas.analysis.table import trials_table

START = datetime(2026, 1, 1, tzinfo=UTC)


def trials(*times):
    """Trials as (start, duration) in seconds after :data:`START`."""
    return pd.DataFrame(
        {
            "started": [(START + timedelta(seconds=s)).isoformat() for s, _ in times],
            "seconds": [float(d) for _, d in times],
        }
    )


def test_two_workers_halve_the_time_left():
    found = throughput(trials((0, 10), (0, 10), (10, 10), (10, 10)), START + timedelta(seconds=21))
    assert found.at_a_time == pytest.approx(2.0)
    assert not found.quiet
    assert found.idle_seconds == pytest.approx(1.0)
    assert found.wall_seconds(100.0) == pytest.approx(50.0)
    assert found.wall_seconds(None) is None


def test_only_the_run_since_the_last_break_counts():
    earlier = [(i * 10, 10) for i in range(5)]
    now = [(90_000, 10), (90_000, 10), (90_010, 10), (90_010, 10)]
    found = throughput(trials(*earlier, *now), START + timedelta(seconds=90_020))
    assert found.at_a_time == pytest.approx(2.0)


@pytest.mark.parametrize(("idle", "quiet"), [(59, False), (61, True)])
def test_a_run_that_says_nothing_for_long_is_quiet(idle, quiet):
    found = throughput(trials((0, 10), (10, 10)), START + timedelta(seconds=20 + idle))
    assert found.quiet is quiet
    assert (found.wall_seconds(10.0) is None) is quiet


def test_long_trials_are_given_their_time():
    assert not throughput(trials((0, 1000)), START + timedelta(seconds=5000)).quiet


def test_records_without_usable_times_are_no_pace():
    assert throughput(trials_table([]), START) is None
    odd = pd.DataFrame({"started": ["yesterday", None], "seconds": [1.0, 2.0]})
    assert throughput(odd, START) is None
