"""The volume step against plain NumPy, and the minimum that its Newton steps arrive at."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon_cases import random_volumes, two_threads, with_threads
from recon_volume_step import copied, random_fields, random_steps, reference_step
from scipy.optimize import minimize

from tomoatlas.recon_core.cpu.volume_step import Fields, Steps, volume_step

GAMMAS = (1.0, 1.4, 1.7, 2.0)
WEIGHTS = np.array([0.3, 0.1, 2.6], np.float32)
METRIC = np.array([3.0, 0.5, 7.0], np.float32)
EDGE = st.integers(1, 7)
CHANGED = ("next_volumes", "point", "dual", "multiplier", "contrast", "residual")


def check(fields: Fields, steps: Steps) -> None:
    ours = copied(fields)
    sums = volume_step(ours, steps).sum(1)
    expected, totals = reference_step(fields, steps)
    for name in Fields._fields:
        tolerance = {"rtol": 2e-4, "atol": 2e-5} if name in CHANGED else {"rtol": 0, "atol": 1e-7}
        np.testing.assert_allclose(
            getattr(ours, name), getattr(expected, name), err_msg=name, **tolerance
        )
    np.testing.assert_allclose(sums, totals, rtol=1e-3, atol=1e-3)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.tuples(EDGE, EDGE, EDGE),
    st.sampled_from(GAMMAS),
    st.sampled_from([(True, True), (True, False), (False, True), (False, False)]),
    st.integers(0, 99),
)
def test_a_step_is_that_of_the_equations(
    batch: int,
    elements: int,
    size: tuple[int, ...],
    gamma: float,
    kind: tuple[bool, bool],
    seed: int,
) -> None:
    coupled, guided = kind
    fields = random_fields((batch, elements, *size), coupled, seed, guided)
    check(fields, random_steps(batch, elements, gamma, seed))


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("size", [(9, 90, 60), (5, 3, 4200)])
def test_volumes_of_several_blocks_and_parts(size: tuple[int, ...], guided: bool) -> None:
    """More voxels than a block holds, rows longer than a block, planes for several threads."""
    check(random_fields((1, 2, *size), guided=guided), random_steps(1, 2, 2.0))


@two_threads
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("size", [(13, 8, 9), (9, 90, 60)])
def test_threads_do_not_change_a_step(gamma: float, size: tuple[int, ...], guided: bool) -> None:
    fields, steps = random_fields((2, 3, *size), guided=guided), random_steps(2, 3, gamma)

    def step() -> np.ndarray:
        ours = copied(fields)
        sums = volume_step(ours, steps)
        return np.concatenate([sums.ravel(), *(array.ravel() for array in ours)])

    np.testing.assert_array_equal(with_threads(1, step), with_threads(2, step))


@pytest.mark.parametrize(
    ("gamma", "name"),
    # a linear step does not depend on the iterate
    [*product(GAMMAS, ["slope", "point"]), *product(GAMMAS[1:], ["volumes"])],
)
def test_nan_is_not_clipped_away(gamma: float, name: str) -> None:
    fields = random_fields((1, 2, 3, 4, 5))
    getattr(fields, name)[0, 1, 1, 1, 1] = np.nan
    volume_step(fields, random_steps(1, 2, gamma))
    assert np.isnan(fields.next_volumes[0, :, 1, 1, 1]).all()
    assert np.isnan(fields.next_volumes).sum() < 60


def voxel_case(gamma: float) -> Fields:
    """Point and start (3, 2, 2, 3) and targets below, above and opposite to the contrast."""
    rng = np.random.default_rng(5)
    point = rng.uniform(-0.3, 1.0, (1, 3, 2, 2, 3)).astype(np.float32)
    start = rng.uniform(0.05, 1.0, point.shape).astype(np.float32)
    contrast = (WEIGHTS[:, None, None, None] * np.maximum(point[0], 0) ** gamma).sum(0)
    factor = np.array([0.1, 0.6, 0.95, 1.1, 1.5, 3.0, -0.5, -0.1, 0.0, 1.0, 0.8, 2.0])
    target = (contrast * factor.reshape(contrast.shape)).astype(np.float32)[None]
    zero = np.zeros_like(target)
    dual = np.zeros((1, 3, 3, 2, 2, 3), np.float32)
    following = np.empty_like(start)
    return Fields(
        start,
        following,
        point,
        np.zeros_like(start),
        dual,
        target,
        zero,
        zero,
        zero.copy(),
        np.empty((1, 0, 0, 0), np.float32),
    )


def plain_steps(rho: float, gamma: float) -> Steps:
    """Neither TV nor momentum."""
    zero = np.zeros(1, np.float32)
    bound = np.full(1, rho, np.float32)
    return Steps(METRIC[None], zero, bound, zero, np.float32(0), WEIGHTS, gamma)


def voxel_objective(x: np.ndarray, a: np.ndarray, v: float, rho: float, gamma: float) -> float:
    gap = (WEIGHTS * np.maximum(x, 0) ** gamma).sum() - v
    return float((METRIC * (x - a) ** 2).sum() / 2 + rho * gap**2 / 2)


def best_of_voxel(a: np.ndarray, v: float, rho: float, gamma: float) -> float:
    rng = np.random.default_rng(0)
    starts = [np.maximum(a, 1e-3), *rng.uniform(0, 1.5, (6, 3))]
    runs = [
        minimize(voxel_objective, s, (a, v, rho, gamma), "L-BFGS-B", bounds=[(0, None)] * 3)
        for s in starts
    ]
    return min(float(run.fun) for run in runs)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("rho", [0.1, 5.0])
def test_newton_steps_settle_at_the_minimum_of_each_voxel(gamma: float, rho: float) -> None:
    case = voxel_case(gamma)
    x = case.volumes
    for _ in range(300):
        fields = copied(case)._replace(volumes=x)
        volume_step(fields, plain_steps(rho, gamma))
        x = fields.next_volumes
    assert x.min() >= 0
    for at in np.ndindex(case.u.shape[1:]):
        a, v = case.point[(0, slice(None), *at)].astype(float), float(case.u[(0, *at)])
        reached = voxel_objective(x[(0, slice(None), *at)].astype(float), a, v, rho, gamma)
        best = best_of_voxel(a, v, rho, gamma)
        assert reached <= best * 1.001 + 1e-5, (at, a, v)


@pytest.mark.parametrize("rho", [0.1, 5.0, 1e4])
def test_one_step_is_the_minimum_of_each_voxel_where_the_contrast_is_linear(rho: float) -> None:
    """Whatever the iterate, and whichever elements the bound holds at zero."""
    case = voxel_case(1.0)
    case.volumes[...] = random_volumes(case.volumes.shape, 9)
    after = copied(case)
    volume_step(after, plain_steps(rho, 1.0))
    held = 0
    for at in np.ndindex(case.u.shape[1:]):
        x = after.next_volumes[(0, slice(None), *at)].astype(float)
        a, v = case.point[(0, slice(None), *at)].astype(float), float(case.u[(0, *at)])
        slope = METRIC * (x - a) + rho * WEIGHTS * ((WEIGHTS * x).sum() - v)
        scale = 1e-4 * (METRIC + rho * WEIGHTS).max()
        assert (np.where(x > 0, abs(slope), np.maximum(-slope, 0)) <= scale).all(), (at, x, slope)
        held += int((x == 0).sum())
    assert held > 3


def test_no_concentration_more_than_doubles_where_contrast_is_missing() -> None:
    start = random_volumes((1, 3, 2, 2, 4))
    case = random_fields(start.shape)._replace(volumes=start, point=start.copy())
    case.u[:], case.multiplier[:], case.slope[:], case.dual[:] = 1e4, 0, 0, 0
    volume_step(case, plain_steps(1e4, 2.0))
    assert (case.next_volumes > start).any()
    assert (case.next_volumes <= 2.001 * start).all()
