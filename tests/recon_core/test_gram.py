"""The linear half of the splitting."""

from __future__ import annotations

import numpy as np
import pytest
from recon_cases import gram_times
from scipy.sparse.linalg import LinearOperator, cg

from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.geometry import TiltGeometry, spaced_tilts
from tomoatlas.recon_core.projection.rays import projection_matrix
from tomoatlas.recon_core.solver.gram import Gram, Line, gram_of

SHAPES = [(8, 8), (7, 9), (6, 5)]
RIDGE = 0.02


def gram(shape: tuple[int, int] = (8, 8), tilts: int = 9) -> Gram:
    geometry = TiltGeometry(spaced_tilts(tilts, (-70, 70)), shape)
    return gram_of(CPU, CPU.projector(geometry), RIDGE)


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def descend(
    operator: Gram, solution: np.ndarray, residual: np.ndarray, last: Line | None = None
) -> None:
    """A step from an older one; without one along the preconditioned residual."""
    rays = operator.projector.forward(solution)
    along = Line(np.empty_like(solution), np.empty_like(solution))
    none = last is None
    last = nothing(solution) if last is None else last
    operator.descend(solution, residual, rays, along, last, restart=none)


def nothing(solution: np.ndarray) -> Line:
    return Line(np.zeros_like(solution), np.zeros_like(solution))


def inner(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a.astype(float), b.astype(float)))


@pytest.mark.parametrize("shape", SHAPES)
def test_preconditioner_is_symmetric_and_positive(shape: tuple[int, int]) -> None:
    operator = gram(shape)

    def act(volume: np.ndarray) -> np.ndarray:
        out = np.empty_like(volume)
        operator.precondition(volume, out)
        return out

    for seed in range(5):
        a, b = normal((1, *shape, 3), 2 * seed), normal((1, *shape, 3), 2 * seed + 1)
        size = np.linalg.norm(act(a)) * np.linalg.norm(b)
        assert abs(inner(act(a), b) - inner(a, act(b))) < 1e-5 * size
        assert inner(act(a), a) > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_ridge_is_a_part_of_the_squared_norm(shape: tuple[int, int]) -> None:
    operator = gram(shape)
    matrix = projection_matrix(operator.projector.geometry).toarray().astype(float)
    square = np.linalg.norm(matrix, 2) ** 2
    assert operator.ridge == pytest.approx(RIDGE * square, rel=0.02)


def energy(operator: Gram, solution: np.ndarray, force: np.ndarray) -> float:
    return 0.5 * inner(solution, gram_times(operator, solution)) - inner(force, solution)


@pytest.mark.parametrize("shape", SHAPES)
def test_descent_lowers_the_energy_and_keeps_the_residual_true(shape: tuple[int, int]) -> None:
    operator, force = gram(shape), normal((1, *shape, 4), 0)
    solution, residual = np.zeros_like(force), force.copy()
    energies = [0.0]
    for _ in range(12):
        descend(operator, solution, residual)
        energies.append(energy(operator, solution, force))
        true = force - gram_times(operator, solution)
        assert np.linalg.norm(residual - true) < 1e-4 * np.linalg.norm(force)
    falls = -np.diff(energies)
    assert (falls > -1e-5 * abs(energies[-1])).all()
    assert falls[0] > 0.3 * abs(energies[-1])


@pytest.mark.parametrize("shape", SHAPES)
def test_descent_arrives_where_conjugate_gradients_do(shape: tuple[int, int]) -> None:
    operator, force = gram(shape), normal((1, *shape, 2), 0)
    size = force.size
    linear = LinearOperator(
        (size, size),
        lambda v: gram_times(operator, v.reshape(force.shape).astype(np.float32)).ravel(),
        dtype=np.float64,
    )
    expected, _ = cg(linear, force.ravel().astype(float), rtol=1e-5, maxiter=500)

    def distance(last: Line | None, steps: int) -> float:
        solution, residual = np.zeros_like(force), force.copy()
        for _ in range(steps):
            descend(operator, solution, residual, last)
        return float(np.linalg.norm(solution.ravel() - expected) / np.linalg.norm(expected))

    assert distance(None, 80) < 2e-3
    # with the last step it takes a fraction of the steps
    assert distance(nothing(force), 20) < 2e-3


def test_the_last_step_is_what_was_added_and_its_image() -> None:
    operator, force = gram(), normal((2, 8, 8, 3), 0)
    solution, residual, last = np.zeros_like(force), force.copy(), nothing(force)
    for _ in range(4):
        before = solution.copy()
        descend(operator, solution, residual, last)
        np.testing.assert_allclose(last.direction, solution - before, atol=1e-5)
        image = gram_times(operator, last.direction) - operator.ridge * last.direction
        assert np.linalg.norm(last.image - image) < 1e-4 * np.linalg.norm(image)


def test_a_vanished_residual_moves_nothing() -> None:
    operator = gram()
    solution, residual = normal((1, 8, 8, 2), 0), np.zeros((1, 8, 8, 2), np.float32)
    before = solution.copy()
    descend(operator, solution, residual)
    descend(operator, solution, residual, nothing(solution))
    np.testing.assert_array_equal(solution, before)


@pytest.mark.parametrize("shape", SHAPES)
def test_trials_descend_as_if_alone(shape: tuple[int, int]) -> None:
    operator, force = gram(shape), normal((3, *shape, 4), 0)
    force[1] = 0
    together, rest = np.zeros_like(force), force.copy()
    descend(operator, together, rest)
    for trial in range(3):
        solution, residual = np.zeros_like(force[:1]), force[trial : trial + 1].copy()
        descend(operator, solution, residual)
        np.testing.assert_array_equal(together[trial], solution[0])
        np.testing.assert_array_equal(rest[trial], residual[0])
