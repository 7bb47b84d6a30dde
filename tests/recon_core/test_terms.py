"""Data terms: values against plain NumPy, gradients against finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recon_cases import problem_of, random_volumes, start_of, tilt_series
from recon_reference import Reference

from tomoatlas.recon_core.solver.likelihood import Poisson
from tomoatlas.recon_core.solver.problem import FusedProblem
from tomoatlas.recon_core.solver.terms import ChemicalTerm

LIKELIHOODS = ("poisson", "least-squares")
SIZE = 8


def problem(
    likelihood: str = "poisson", gamma: float = 2.0, contrast: str = "power"
) -> FusedProblem:
    series = tilt_series(SIZE, gamma=gamma, contrast=contrast)
    return problem_of(series, 0.3, 0.5, chemistry=likelihood, gamma=gamma, contrast=contrast)


def gradient(chosen: FusedProblem, volumes: np.ndarray) -> np.ndarray:
    """Of the chemical term, (element, z, y, x)."""
    rays = np.empty((1, *chosen.chemistry.counts.shape), np.float32)
    out = np.empty(chosen.shape, np.float32)
    chosen.chemistry.gradient(volumes.astype(np.float32).reshape(chosen.shape), rays, out=out)
    return out[0]


def direction(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_chemical_value_and_gradient_are_those_of_the_equation(likelihood: str) -> None:
    chosen = problem(likelihood)
    x = random_volumes(chosen.shape)
    value, slope = Reference(chosen).chemistry(x[0].astype(np.float64))
    assert chosen.chemistry.value(x) == pytest.approx(value, rel=1e-6)
    assert np.linalg.norm(gradient(chosen, x) - slope) <= 1e-5 * np.linalg.norm(slope)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("seed", range(3))
def test_chemical_gradient_against_finite_differences(likelihood: str, seed: int) -> None:
    chosen = problem(likelihood)
    shape = chosen.shape[1:]
    x, along = random_volumes(shape, seed).astype(np.float64), direction(shape, seed)
    value, step = Reference(chosen).chemistry, 1e-5
    numeric = (value(x + step * along)[0] - value(x - step * along)[0]) / (2 * step)
    slope = gradient(chosen, x)
    assert float((slope * along).sum()) == pytest.approx(numeric, rel=1e-4)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("element", range(4))
def test_chemical_gradient_of_single_voxels(likelihood: str, element: int) -> None:
    chosen, at, step = problem(likelihood), (element, 4, 3, 2), 1e-5
    x, along = random_volumes(chosen.shape[1:]).astype(np.float64), np.zeros(chosen.shape[1:])
    along[at] = step
    value = Reference(chosen).chemistry
    numeric = (value(x + along)[0] - value(x - along)[0]) / (2 * step)
    slope = gradient(chosen, x)
    scale = float(np.abs(slope[element]).mean())
    assert slope[at] == pytest.approx(numeric, rel=1e-4, abs=1e-4 * scale)


LAWS = [("power", 1.4), ("power", 1.7), ("power", 2.0), ("linear", 1.0), ("linear", 2.0)]


@pytest.mark.parametrize(("contrast", "gamma"), LAWS)
def test_corrected_haadf_gradient_against_finite_differences(contrast: str, gamma: float) -> None:
    """gamma Z^gamma x^(gamma-1) A^T r with a plus: what the optimality tests rely on."""
    reference = Reference(problem(gamma=gamma, contrast=contrast))
    x, along, step = random_volumes((4, 8, 8, 8)).astype(float), direction((4, 8, 8, 8), 1), 1e-5
    ahead, behind = reference.haadf(x + step * along)[0], reference.haadf(x - step * along)[0]
    numeric = (ahead - behind) / (2 * step)
    assert float((reference.haadf(x)[1] * along).sum()) == pytest.approx(numeric, rel=1e-6)


@pytest.mark.parametrize(("contrast", "gamma"), LAWS)
def test_haadf_value_is_that_of_the_equation(contrast: str, gamma: float) -> None:
    chosen = problem(gamma=gamma, contrast=contrast)
    x = random_volumes(chosen.shape)
    expected = Reference(chosen).haadf(x[0].astype(np.float64))[0]
    assert chosen.haadf.value(chosen.contrast(x)) == pytest.approx(expected, rel=1e-5)


def curvature(term: ChemicalTerm, volumes: np.ndarray, steps: int) -> np.ndarray:
    rays = np.empty((*volumes.shape[:-4], *term.counts.shape), np.float32)
    return term.curvature(volumes, steps, np.empty_like(volumes), rays, np.empty_like(rays))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_curvature_is_the_largest_eigenvalue(likelihood: str) -> None:
    term = problem(likelihood).chemistry
    volumes = random_volumes((4, SIZE, SIZE, SIZE))
    columns = np.eye(SIZE * SIZE, dtype=np.float32).reshape(-1, SIZE, SIZE).transpose(1, 2, 0)
    matrix = term.projector.forward(np.ascontiguousarray(columns)).reshape(-1, SIZE * SIZE)
    expected = term.expected(volumes).astype(float)
    mean = term.counts.mean(axis=(1, 2, 3), dtype=float)[:, None, None, None]
    bend = term.counts / expected**2 if likelihood == "poisson" else np.ones_like(expected) / mean
    for e in range(4):
        eigenvalues = [
            np.linalg.eigvalsh(matrix.T @ (bend[e, ..., x].reshape(-1, 1) * matrix))[-1]
            for x in range(SIZE)
        ]
        largest = max(eigenvalues) * float(term.scale[e]) ** 2
        assert curvature(term, volumes, 200)[e] == pytest.approx(largest, rel=0.01)
        assert 0.6 * largest < curvature(term, volumes, 3)[e] < 1.001 * largest


def test_ratio_is_counts_over_expected_counts() -> None:
    term = problem().chemistry
    volumes = random_volumes((4, SIZE, SIZE, SIZE))
    np.testing.assert_allclose(term.ratio(volumes) * term.expected(volumes), term.counts, rtol=1e-5)


def test_expected_counts_never_vanish() -> None:
    term = replace(problem().chemistry, background=np.zeros(4, np.float32))
    volumes = np.zeros((4, SIZE, SIZE, SIZE), np.float32)
    assert term.expected(volumes).min() > 0
    assert np.isfinite(term.value(volumes))
    assert np.isfinite(curvature(term, start_of(problem()), 3)).all()


def test_terms_leave_their_input_alone() -> None:
    chosen = problem()
    volumes, counts = random_volumes(chosen.shape), chosen.chemistry.counts.copy()
    before = volumes.copy()
    chosen.terms(volumes)
    gradient(chosen, volumes)
    np.testing.assert_array_equal(volumes, before)
    np.testing.assert_array_equal(chosen.chemistry.counts, counts)


def test_the_knee_counts_where_the_background_bounds_nothing() -> None:
    """A tenth of a typical count, however much of the field is vacuum."""
    series = tilt_series(SIZE)
    bare = replace(series, chemical_background=(0.0,) * 4)
    beside = ((4, 4), (0, 0))
    chemical = np.pad(bare.chemical, ((0, 0), (0, 0), *beside))
    wide = replace(bare, chemical=chemical, haadf=np.pad(bare.haadf, ((0, 0), *beside)))
    knees = [Poisson(problem_of(each).chemistry.data).knee for each in (series, bare, wide)]
    assert (knees[0] < np.array(series.chemical_background)).all()
    typical = [np.median(counts[counts > 0]) for counts in series.chemical]
    np.testing.assert_allclose(knees[1], 0.1 * np.array(typical), rtol=1e-6)
    np.testing.assert_array_equal(knees[2], knees[1])


def test_the_curvature_is_bounded_where_no_count_is_expected() -> None:
    chosen = problem_of(replace(tilt_series(SIZE), chemical_background=(0.0,) * 4)).chemistry
    empty = np.full((1, 4, SIZE, SIZE, SIZE), 1e-9, np.float32)
    shape = (1, *chosen.counts.shape)
    work = np.empty_like(empty), np.empty(shape, np.float32), np.empty(shape, np.float32)
    bend = chosen.curvature(empty, 3, *work)[0] / chosen.scale.astype(float) ** 2
    counted = chosen.counts.max(axis=(1, 2, 3)) / Poisson(chosen.data).knee ** 2
    ones = chosen.projector.adjoint(chosen.projector.forward(np.ones_like(empty)))
    assert (bend <= counted * ones.max()).all()
