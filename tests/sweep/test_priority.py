from __future__ import annotations

import pytest

from tomoatlas.recon_core.methods import Weights
from tomoatlas.sweep.run.scheduler import LAST_ROUNDS, PriorityOrder
from tomoatlas.sweep.search import Search, searches
from tomoatlas.sweep.study import parse_study

STUDY = """
[study]
name = "order"
[specimen]
kind = "nanocubes"
size = 16
[search]
methods = ["fused"]
trials = 6
initial = 6
[axes]
"acquisition.chemical_tilts" = [5, 9, 18]
"""


@pytest.fixture
def three() -> list[Search]:
    return searches(parse_study(STUDY))


def seconds(search: Search) -> float:
    return float(search.study.acquisition.chemical_tilts)


def taken(order: PriorityOrder, count: int) -> list[int]:
    """Chemical tilts of the searches in their order, each of which starts a trial."""
    tilts = []
    for _ in range(count):
        search = order.take()
        assert search is not None
        tilts.append(search.study.acquisition.chemical_tilts)
        search.next_trial()
        order.add(search)
    return tilts


def test_the_map_fills_portion_by_portion_and_cell_by_cell(three: list[Search]) -> None:
    tilts = taken(PriorityOrder(three, seconds), 18)
    assert tilts[:9] == [5, 5, 9, 9, 18, 18, 5, 9, 18]
    assert tilts[9:] == [5, 5, 9, 9, 18, 18, 5, 9, 18]


def test_the_last_rounds_go_to_the_search_with_most_work_left(three: list[Search]) -> None:
    order = PriorityOrder(three, seconds)
    order.update(left=18, slots=17 // LAST_ROUNDS)
    assert taken(order, 7) == [5, 5, 9, 9, 18, 18, 5], "not the last rounds yet"
    order.update(left=11, slots=4)
    # Work left: 72, 36, 15, less 18, 9, 5 for every trial; 36 and 36 go in the order of cells.
    assert taken(order, 5) == [18, 18, 9, 18, 9]


def test_a_search_is_in_line_once_and_leaves_when_it_has_no_trial(three: list[Search]) -> None:
    order = PriorityOrder(three[:1], seconds)
    order.add(three[0])
    assert order.take() is three[0]
    assert order.take() is None
    for number in range(6):
        three[0].take_in(three[0].trial(number, Weights(0.1, 1.0)), 0.5)
    order.add(three[0])
    assert order.take() is None


def test_workers_that_join_bring_the_last_rounds_forward(three: list[Search]) -> None:
    order = PriorityOrder(three, seconds)
    order.update(left=18, slots=1)
    assert taken(order, 2) == [5, 5]
    order.update(left=16, slots=16)
    assert taken(order, 3) == [18, 18, 18]
