"""The CUDA kernels against the compiled loops, run by the host or by a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from host_launcher import HostLauncher, needs_compiler
from hypothesis import given
from hypothesis import strategies as st
from recon_conformance import SHORT
from recon_devices import ElsewhereLauncher, OnDevice, OnHost, needs_gpu

from recon_core import kernels
from recon_core.backend import CupyLauncher
from recon_core.cuda_kernels import MAX_ELEMENTS, CudaKernels
from recon_core.errors import BadInput
from recon_core.launch import Launcher

SHAPES = st.tuples(*(st.integers(1, n) for n in (5, 5, 6, 70)))
GAMMAS = st.sampled_from([2.0, 1.7, 1.4])
SEEDS = st.integers(0, 99)


class Case:
    """Arrays of one seed: values of both signs, zeros among them."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.shape, self.random = shape, np.random.default_rng(seed)

    def signed(self, *lead: int) -> np.ndarray:
        return self.random.standard_normal((*lead, *self.shape)).astype(np.float32)

    def positive(self) -> np.ndarray:
        values = self.random.uniform(0.0, 3.0, self.shape) * (self.random.random(self.shape) < 0.9)
        return values.astype(np.float32)

    def per_element(self) -> np.ndarray:
        return self.random.uniform(0.3, 3.0, self.shape[0]).astype(np.float32)

    def flat(self) -> Case:
        flat = Case((self.shape[0], self.shape[1] * self.shape[2], self.shape[3]), 0)
        flat.random = self.random
        return flat


class KernelConformance:
    """What each compiled loop does to its arguments and returns, the CUDA kernel does too."""

    launcher: Callable[[], Launcher]

    def agree(self, name: str, *args: Any, atol: float = 2e-6) -> None:
        ours = [self.put(a.copy()) if isinstance(a, np.ndarray) else a for a in args]
        sums = getattr(CudaKernels(self.launcher()), name)(*ours)
        expected = getattr(kernels, name)(*args)
        for ours_, theirs in zip(ours, args, strict=True):
            if isinstance(theirs, np.ndarray):
                np.testing.assert_allclose(self.get(ours_), theirs, rtol=2e-5, atol=atol)
        if expected is None:
            assert sums is None
        else:
            assert self.get(sums).dtype == np.float64
            np.testing.assert_allclose(self.get(sums), expected, rtol=1e-4, atol=1e-4)

    @SHORT
    @given(SHAPES, SEEDS, GAMMAS)
    def test_power_sum(self, shape: tuple[int, ...], seed: int, gamma: float) -> None:
        case = Case(shape, seed).flat()
        out = np.full(case.shape[1:], np.nan, np.float32)
        self.agree("power_sum", case.positive(), case.per_element(), gamma, out)

    @SHORT
    @given(SHAPES, SEEDS)
    def test_poisson_deviance(self, shape: tuple[int, ...], seed: int) -> None:
        case = Case(shape, seed).flat()
        signal, counts = case.positive(), np.floor(case.positive())
        out = np.full(case.shape, np.nan, np.float32)
        self.agree("poisson_deviance", signal, counts, case.per_element(), out)

    @SHORT
    @given(SHAPES, SEEDS)
    def test_weighted_squares(self, shape: tuple[int, ...], seed: int) -> None:
        case = Case(shape, seed).flat()
        out = np.full(case.shape, np.nan, np.float32)
        per_element = case.per_element(), case.per_element()
        self.agree("weighted_squares", case.signed(), case.positive(), *per_element, out)

    @SHORT
    @given(SHAPES, SEEDS)
    def test_dot(self, shape: tuple[int, ...], seed: int) -> None:
        case = Case(shape, seed).flat()
        self.agree("dot", case.signed()[0], case.signed()[0])

    @SHORT
    @given(SHAPES, SEEDS, st.floats(0, 0.9))
    def test_extrapolate(self, shape: tuple[int, ...], seed: int, beta: float) -> None:
        case = Case(shape, seed).flat()
        old, new, point = case.positive(), case.positive(), case.positive()
        self.agree("extrapolate", old, new, np.float32(beta), case.per_element(), point)

    @SHORT
    @given(SHAPES, SEEDS)
    def test_total_variation(self, shape: tuple[int, ...], seed: int) -> None:
        self.agree("total_variation", Case(shape, seed).positive())

    @SHORT
    @given(SHAPES, SEEDS, st.sampled_from([0.01, 0.5, 100.0]))
    def test_dual_step(self, shape: tuple[int, ...], seed: int, bound: float) -> None:
        case = Case(shape, seed)
        x, dual = case.positive(), case.signed(3)
        self.agree("dual_step", x, case.per_element(), np.float32(bound), dual)

    @SHORT
    @given(SHAPES, SEEDS)
    def test_positive_prox(self, shape: tuple[int, ...], seed: int) -> None:
        case = Case(shape, seed)
        out = np.full(shape, np.nan, np.float32)
        self.agree("positive_prox", case.signed(), case.signed(3), case.per_element(), out)

    @SHORT
    @given(SHAPES, SEEDS, GAMMAS, st.sampled_from([0.0, 0.1, 5.0]))
    def test_coupled_prox(
        self, shape: tuple[int, ...], seed: int, gamma: float, rho: float
    ) -> None:
        case = Case(shape, seed)
        arrays = case.signed(), case.signed(3), case.positive(), case.signed()[0]
        per_element, out = (case.per_element(), case.per_element()), np.zeros(shape, np.float32)
        out[...] = np.nan
        self.agree("coupled_prox", *arrays, *per_element, np.float32(rho), gamma, out, atol=1e-5)

    @pytest.mark.parametrize("elements", range(1, MAX_ELEMENTS + 1))
    def test_coupled_prox_in_place_for_every_number_of_elements(self, elements: int) -> None:
        case = Case((elements, 2, 3, 5), elements)
        point, dual, start = case.signed(), case.signed(3), case.positive()
        rest = case.signed()[0], case.per_element(), case.per_element(), np.float32(0.7), 2.0
        self.agree("coupled_prox", point, dual, start, *rest, np.zeros_like(start), atol=1e-5)
        there, (target, weights, metric, *numbers) = self.put(start.copy()), rest
        arrays = (self.put(a) for a in (point, dual))
        per_voxel = (self.put(a) for a in (target, weights, metric))
        ours = CudaKernels(self.launcher())
        ours.coupled_prox(*arrays, there, *per_voxel, *numbers, there)
        kernels.coupled_prox(point, dual, start, *rest, start)
        np.testing.assert_allclose(self.get(there), start, rtol=2e-5, atol=1e-5)

    def test_poisson_deviance_in_place(self) -> None:
        case = Case((2, 3, 4, 9), 0).flat()
        signal, counts, background = case.positive(), case.positive(), case.per_element()
        ours, out = self.put(signal.copy()), np.empty_like(signal)
        rest = self.put(counts), self.put(background)
        CudaKernels(self.launcher()).poisson_deviance(ours, *rest, ours)
        kernels.poisson_deviance(signal, counts, background, out)
        np.testing.assert_allclose(self.get(ours), out, rtol=1e-5, atol=1e-6)

    def test_nan_is_not_clipped_away(self) -> None:
        case = Case((1, 2, 2, 3), 0)
        point, out = case.positive(), self.put(np.zeros(case.shape, np.float32))
        point[0, 1, 1, 1] = np.nan
        ours = CudaKernels(self.launcher())
        per_element = self.put(case.per_element())
        ours.positive_prox(self.put(point), self.put(case.signed(3)), per_element, out)
        assert np.isnan(self.get(out)).sum() == 1
        flat = self.put(point.reshape(1, 4, 3))
        sums = ours.poisson_deviance(flat, flat, per_element, self.put(np.zeros((1, 4, 3), "f4")))
        assert np.isnan(self.get(sums)).sum() == 1

    def test_the_same_sums_every_time(self) -> None:
        case = Case((2, 9, 5, 65), 0)
        ours, x = CudaKernels(self.launcher()), self.put(case.positive())
        first = self.get(ours.total_variation(x))
        np.testing.assert_array_equal(self.get(ours.total_variation(x)), first)

    @pytest.mark.parametrize("spoil", [lambda a: a[:, ::2], lambda a: a.astype(np.float64)])
    def test_arrays_that_a_kernel_would_misread(self, spoil: Callable[[Any], Any]) -> None:
        array = self.put(np.ones((4, 6), np.float32))
        with pytest.raises(ValueError, match="dot needs contiguous float32 arrays"):
            CudaKernels(self.launcher()).dot(array, spoil(array))

    def test_more_elements_than_a_thread_holds(self) -> None:
        volumes = self.put(np.zeros((MAX_ELEMENTS + 1, 1, 1, 1), np.float32))
        args = [volumes] * 6
        with pytest.raises(BadInput, match=r"^elements = 9: too many.*accepted: 1 to 8$"):
            CudaKernels(self.launcher()).coupled_prox(*args, np.float32(1), 2.0, volumes)


def test_arrays_of_another_device_are_not_launched() -> None:
    array = np.ones((4, 6), np.float32)
    with pytest.raises(TypeError, match="dot needs arrays of elsewhere"):
        CudaKernels(ElsewhereLauncher()).dot(array, array)


@needs_compiler
class TestKernelsOnTheHost(OnHost, KernelConformance):
    launcher = HostLauncher


@needs_gpu
class TestKernelsOnTheDevice(OnDevice, KernelConformance):
    launcher = CupyLauncher
