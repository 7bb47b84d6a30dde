"""The estimate of device memory against what a solve holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from recon_cases import problem_of, start_of, tilt_series
from recon_conformance import SHORT

from recon_core.memory import SolveSize, fused_bytes
from recon_core.solve import init, step

EDGES = st.tuples(*[st.integers(1, 300)] * 4)
TILTS = st.integers(1, 100)


def arrays(holder: object) -> Iterator[np.ndarray]:
    """Every array that an object and what it is made of hold."""
    if isinstance(holder, np.ndarray):
        yield holder
    elif is_dataclass(holder):
        for field in fields(holder):
            yield from arrays(getattr(holder, field.name))


def test_the_estimate_covers_what_a_solve_holds() -> None:
    """With room for the temporary arrays of one step, which is not twice what stays."""
    problem = problem_of(tilt_series())
    state = step(problem, init(problem, start_of(problem)))
    counts = problem.chemistry.counts, problem.haadf.signal
    held = {id(a): a.nbytes for a in (*arrays(state), *counts)}
    size = SolveSize(problem.shape[1:], len(counts[1]), counts[0].shape[1])
    assert sum(held.values()) < fused_bytes(size) < 2 * sum(held.values())


def test_the_papers_map_is_far_below_a_device() -> None:
    size = SolveSize((4, 256, 256, 256), 47, 9)
    assert fused_bytes(size) / size.specimen_bytes < 24
    assert fused_bytes(size) < 3 * 2**30


@SHORT
@given(EDGES, TILTS, TILTS, st.integers(1, 32))
def test_trials_share_the_data(
    shape: tuple[int, int, int, int], haadf: int, chemical: int, batch: int
) -> None:
    one, many = (fused_bytes(SolveSize(shape, haadf, chemical, n)) for n in (1, batch))
    assert one <= many <= batch * one


@SHORT
@given(EDGES, TILTS, TILTS)
def test_larger_things_take_more(
    shape: tuple[int, int, int, int], haadf: int, chemical: int
) -> None:
    less = fused_bytes(SolveSize(shape, haadf, chemical))
    assert fused_bytes(SolveSize(shape, haadf + 1, chemical)) > less
    assert fused_bytes(SolveSize((shape[0] + 1, *shape[1:]), haadf, chemical)) > less
