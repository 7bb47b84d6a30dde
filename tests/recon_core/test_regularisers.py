"""Regularisers: the prox of total variation by brute force, and the seam for another one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recon_cases import problem_of, random_volumes, start_of, tilt_series
from recon_reference import differences, negative_divergence, total_variation
from recon_volume_step import along_guide
from scipy.optimize import minimize

from tomoatlas.recon_core.cpu import STEEPEST
from tomoatlas.recon_core.cpu.volume_step import Fields, Steps
from tomoatlas.recon_core.device import CPU, Device
from tomoatlas.recon_core.solver.admm import init, solve
from tomoatlas.recon_core.solver.regularisers import (
    TOTAL_VARIATION,
    GuidedVariation,
    Regulariser,
    guided_by,
    prox,
)

ROUNDING = 1e-4


class Sparsity:
    """The sum of all voxels, which are not negative; linear, so the compiled step serves."""

    components = 3
    coarser = 8.0

    def value(self, device: Device, volumes: np.ndarray) -> np.ndarray:
        return volumes.sum(axis=(1, 2, 3, 4), dtype=np.float64)

    def of(self, _: object, /) -> Sparsity:
        return self

    def restrict(self, dual: np.ndarray) -> None:
        assert not dual.any()

    def step(self, device: Device, fields: Fields, steps: Steps) -> np.ndarray:
        weight = steps.tv[:, None, None, None, None]
        fields = fields._replace(slope=fields.slope + weight)
        return device.kernels.volume_step(fields, steps._replace(tv=0 * steps.tv))


@pytest.mark.parametrize("weight", [0.05, 0.5])
def test_the_prox_of_total_variation_by_brute_force(weight: float) -> None:
    volumes = random_volumes((2, 3, 4, 3)) - np.float32(0.2)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = flat.reshape(volumes.shape)
        value, slope = total_variation(x, ROUNDING)
        apart = x - volumes
        return 0.5 * (apart**2).sum() + weight * value, (apart + weight * slope).ravel()

    start, above_zero = np.abs(volumes).astype(float).ravel(), [(0, None)] * volumes.size
    found = minimize(objective, start, jac=True, bounds=above_zero, options={"maxiter": 5000})
    expected = found.x.reshape(volumes.shape)
    np.testing.assert_allclose(prox(TOTAL_VARIATION, volumes, weight, 3000), expected, atol=3e-3)


def random_guide(shape: tuple[int, ...]) -> GuidedVariation:
    """Of one trial; its gradients are 0 to about 8."""
    return GuidedVariation(8 * random_volumes(shape, 3)[None])


@pytest.mark.parametrize("weight", [0.05, 0.5])
def test_the_prox_along_a_guide_by_brute_force(weight: float) -> None:
    volumes = random_volumes((2, 3, 4, 3)) - np.float32(0.2)
    guided = random_guide(volumes.shape[1:])
    along = along_guide(guided.guide[0].astype(float), volumes.shape[1:])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = flat.reshape(volumes.shape)
        d = along.weighted(differences(x))
        length = np.sqrt((d**2).sum(0) + ROUNDING**2)
        apart, slope = x - volumes, negative_divergence(along.weighted(d / length))
        value = 0.5 * (apart**2).sum() + weight * (length - ROUNDING).sum()
        return value, (apart + weight * slope).ravel()

    start, above_zero = np.abs(volumes).astype(float).ravel(), [(0, None)] * volumes.size
    found = minimize(objective, start, jac=True, bounds=above_zero, options={"maxiter": 5000})
    expected = found.x.reshape(volumes.shape)
    np.testing.assert_allclose(prox(guided, volumes, weight, 3000), expected, atol=3e-3)


def test_the_variation_along_a_guide_is_that_of_the_equation() -> None:
    volumes = random_volumes((1, 2, 4, 5, 6))
    guided = random_guide(volumes.shape[2:])
    along = along_guide(guided.guide[0].astype(float), volumes.shape[2:])
    expected = np.sqrt((along.weighted(differences(volumes[0])) ** 2).sum(0)).sum()
    assert guided.value(CPU, volumes)[0] == pytest.approx(expected, rel=1e-5)


def slab(thickness: int, depth: int = 12) -> np.ndarray:
    """Concentration 1 in the first planes, 0.2 elsewhere; (1, z, y, x)."""
    volumes = np.full((1, depth, 4, 4), 0.2, np.float32)
    volumes[:, :thickness] = 1
    return volumes


def test_a_guide_with_the_same_edge_restores_the_level_that_tv_takes() -> None:
    """In closed form: TV lowers n planes by weight / n, and raises the others by as much."""
    weight, n, given = 0.6, 4, slab(4)
    for regulariser, share in (
        (TOTAL_VARIATION, 1.0),
        (GuidedVariation(100 * given), 1 / (1 + float(STEEPEST))),
    ):
        found = prox(regulariser, given, weight, 4000)[0, :, 1, 1]
        np.testing.assert_allclose(found[:n], 1 - share * weight / n, atol=2e-3)
        np.testing.assert_allclose(found[n:], 0.2 + share * weight / (12 - n), atol=2e-3)


def test_a_guide_without_edges_there_changes_nothing() -> None:
    volumes = random_volumes((2, 5, 6, 7))
    flat = GuidedVariation(np.ones((1, 5, 6, 7), np.float32))
    plain = prox(TOTAL_VARIATION, volumes, 0.3, 50)
    np.testing.assert_allclose(prox(flat, volumes, 0.3, 50), plain, atol=1e-6)


def test_edges_of_a_guide_depend_on_neither_its_unit_nor_the_vacuum_in_view() -> None:
    particle = 3 * random_volumes((1, 6, 6, 6))
    wide = np.pad(particle, ((0, 0), (4, 4), (4, 4), (4, 4)))
    plain = guided_by(CPU, particle.copy()).guide
    np.testing.assert_allclose(guided_by(CPU, 7 * particle).guide, plain, rtol=1e-6)
    inside = guided_by(CPU, wide).guide[:, 4:-4, 4:-4, 4:-4]
    np.testing.assert_allclose(inside, plain, rtol=0.05)


def test_an_empty_guide_has_no_edges() -> None:
    assert not guided_by(CPU, np.zeros((1, 3, 3, 3), np.float32)).guide.any()


def test_trials_that_stay_keep_their_guides() -> None:
    guided = GuidedVariation(random_volumes((3, 2, 2, 2)))
    np.testing.assert_array_equal(guided.of([0, 2]).guide, guided.guide[[0, 2]])


def test_the_prox_leaves_what_it_is_given() -> None:
    volumes = random_volumes((1, 3, 4, 3))
    before = volumes.copy()
    prox(TOTAL_VARIATION, volumes, 0.3, 5)
    np.testing.assert_array_equal(volumes, before)


def test_a_dual_is_restricted_to_differences_inside() -> None:
    dual = np.ones((1, 2, 3, 4, 5, 6), np.float32)
    TOTAL_VARIATION.restrict(dual)
    z, y, x = dual[0, 0]
    assert (z.sum(), y.sum(), x.sum()) == (3 * 5 * 6, 4 * 4 * 6, 4 * 5 * 5)


def test_a_weight_means_the_same_on_a_coarser_grid() -> None:
    fine = np.zeros((1, 1, 16, 16, 16), np.float32)
    fine[..., 4:12, 4:12, 4:12] = 1
    coarse = fine[..., ::2, ::2, ::2].copy()
    for regulariser in (TOTAL_VARIATION, Sparsity()):
        ratio = regulariser.value(CPU, fine)[0] / regulariser.value(CPU, coarse)[0]
        assert ratio == pytest.approx(regulariser.coarser, rel=0.05)


def test_the_prox_of_another_regulariser() -> None:
    volumes = random_volumes((2, 3, 4, 5))
    expected = np.maximum(volumes - np.float32(0.3), 0)
    np.testing.assert_allclose(prox(Sparsity(), volumes, 0.3, 1), expected, atol=1e-6)


@pytest.mark.parametrize("haadf", [0.0, 0.3])
def test_a_solve_takes_another_regulariser(haadf: float) -> None:
    def mass(regulariser: Regulariser, weight: float) -> float:
        problem = replace(problem_of(tilt_series(8), haadf, weight), regulariser=regulariser)
        (result,) = solve(problem, init(problem, start_of(problem)), 1e-4, 60)
        return float(result.volumes.sum())

    assert mass(Sparsity(), 0.0) == pytest.approx(mass(TOTAL_VARIATION, 0.0), rel=1e-3)
    assert mass(Sparsity(), 20.0) < 0.95 * mass(Sparsity(), 0.0)
