"""The CUDA kernels against the compiled loops, run by the host or by a GPU."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from host_launcher import HostLauncher, needs_compiler
from hypothesis import given
from hypothesis import strategies as st
from recon_conformance import SHORT
from recon_devices import ElsewhereLauncher, OnDevice, OnHost, needs_gpu

from tomoatlas.recon_core.cpu.volume_step import Fields, Steps
from tomoatlas.recon_core.device import CpuKernels
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.gpu.cupy import CupyLauncher
from tomoatlas.recon_core.gpu.kernels import MAX_ELEMENTS, CudaKernels, Launcher, Size, check_shape

SHAPES = st.tuples(*(st.integers(1, n) for n in (3, 4, 5, 6, 19)))
GAMMAS = st.sampled_from([2.0, 1.7, 1.4, 1.0])
SEEDS = st.integers(0, 99)


class Case:
    """Arrays of one seed: values of both signs, zeros among them."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.shape, self.random = shape, np.random.default_rng(seed)

    def signed(self) -> np.ndarray:
        return self.random.standard_normal(self.shape).astype(np.float32)

    def positive(self) -> np.ndarray:
        values = self.random.uniform(0.0, 3.0, self.shape) * (self.random.random(self.shape) < 0.9)
        return values.astype(np.float32)

    def numbers(self, *shape: int) -> np.ndarray:
        return self.random.uniform(0.3, 3.0, shape).astype(np.float32)

    def of(self, *shape: int) -> Case:
        case = Case(shape, 0)
        case.random = self.random
        return case

    def rays(self) -> Case:
        """(trial, element, ray, x)."""
        batch, elements, depth, height, width = self.shape
        return self.of(batch, elements, depth * height, width)

    def rows(self) -> Case:
        """(trial, row, x)."""
        batch, _, depth, height, width = self.shape
        return self.of(batch, depth * height, width)

    def fields(self, coupled: bool, guided: bool = False) -> Fields:
        """Arrays in the midst of a solve."""
        batch, elements, *size = self.shape
        dual = self.of(batch, elements, 3, *size).signed()
        dual[:, :, 0, -1], dual[:, :, 1, :, -1], dual[:, :, 2, :, :, -1] = 0, 0, 0
        one = self.of(batch, *size) if coupled else self.of(batch, 0, 0, 0)
        following = np.full(self.shape, np.nan, np.float32)
        four = self.positive(), following, self.positive(), self.signed()
        coupling = one.positive(), one.signed(), one.positive(), one.signed()
        guide = self.of(batch, *size).signed() if guided else np.empty((batch, 0, 0, 0), np.float32)
        return Fields(*four, dual, *coupling, 4 * guide)

    def steps(self, gamma: float) -> Steps:
        """Numbers of a solve, tv and rho of the first trial 0 where there are several."""
        batch, elements = self.shape[:2]
        metric, tv, rho = self.numbers(batch, elements), self.numbers(batch), self.numbers(batch)
        tv[: batch // 2], rho[: batch // 3] = 0, 0
        beta, ridge = self.numbers(batch) / 4, np.float32(0.3)
        return Steps(metric, tv, rho, beta, ridge, self.numbers(elements), gamma)


def one_trial(case: tuple[Fields, Steps], trial: int) -> tuple[Fields, Steps]:
    f, s = case
    each = {k: getattr(s, k)[trial : trial + 1] for k in ("metric", "tv", "rho", "beta")}
    return Fields(*(a[trial : trial + 1].copy() for a in f)), s._replace(**each)


class KernelConformance:
    """What each compiled loop does to its arguments and returns, the CUDA kernel does too."""

    launcher: Callable[[], Launcher]
    put: Callable[[np.ndarray], Any]
    get: Callable[[Any], np.ndarray]

    @property
    def ours(self) -> CudaKernels:
        return CudaKernels(self.launcher())

    def put_copy(self, array: object) -> Any:
        return self.put(array.copy()) if isinstance(array, np.ndarray) else array

    def agree(self, name: str, *args: Any, atol: float = 2e-6) -> None:
        ours = [self.put_copy(a) for a in args]
        sums = getattr(self.ours, name)(*ours)
        expected = getattr(CpuKernels, name)(*args)
        self.same_arrays(ours, args, atol)
        if expected is None:
            assert sums is None
        else:
            self.same_sums(sums, expected)

    def same_arrays(self, ours: Any, theirs: Any, atol: float) -> None:
        for one, other in zip(ours, theirs, strict=True):
            if isinstance(other, np.ndarray):
                np.testing.assert_allclose(self.get(one), other, rtol=2e-5, atol=atol)

    def same_sums(self, ours: Any, theirs: np.ndarray) -> None:
        total = self.get(ours.sum(axis=1))
        assert total.dtype == np.float64
        np.testing.assert_allclose(total, theirs.sum(axis=1), rtol=1e-4, atol=1e-4)

    @SHORT
    @given(SHAPES, SEEDS, GAMMAS)
    def test_power_sum(self, shape: tuple[int, ...], seed: int, gamma: float) -> None:
        case = Case(shape, seed)
        out = np.full(case.rows().shape, np.nan, np.float32)
        self.agree("power_sum", case.rays().positive(), case.numbers(shape[1]), gamma, out)

    @SHORT
    @given(SHAPES, SEEDS, st.booleans())
    def test_poisson(self, shape: tuple[int, ...], seed: int, slope: bool) -> None:
        case = Case(shape, seed).rays()
        rays, counts = case.positive(), np.floor(case.positive()[0])
        each = tuple(case.numbers(shape[1]) for _ in range(3))
        if slope:
            self.agree("poisson_slope", rays, counts, *each, np.full_like(rays, np.nan))
        else:
            self.agree("poisson_deviance", rays, counts, *each)

    @SHORT
    @given(SHAPES, SEEDS, st.booleans())
    def test_squares(self, shape: tuple[int, ...], seed: int, slope: bool) -> None:
        case = Case(shape, seed).rays()
        rays, counts = case.signed(), case.positive()[0]
        each = [case.numbers(shape[1]) for _ in range(3)]
        if slope:
            self.agree("squares_slope", rays, counts, *each, np.full_like(rays, np.nan), atol=1e-5)
        else:
            self.agree("weighted_squares", rays, counts, *each)

    @SHORT
    @given(SHAPES, SEEDS)
    def test_total_variation(self, shape: tuple[int, ...], seed: int) -> None:
        self.agree("total_variation", Case(shape, seed).positive())

    @SHORT
    @given(SHAPES, SEEDS)
    def test_guided_variation(self, shape: tuple[int, ...], seed: int) -> None:
        case, (batch, _, *size) = Case(shape, seed), shape
        self.agree("guided_variation", case.positive(), 4 * case.of(batch, *size).signed())

    @SHORT
    @given(SHAPES, SEEDS)
    def test_distance(self, shape: tuple[int, ...], seed: int) -> None:
        case = Case(shape, seed).rows()
        self.agree("distance", case.signed(), case.signed()[0])

    @SHORT
    @given(SHAPES, SEEDS)
    def test_descent(self, shape: tuple[int, ...], seed: int) -> None:
        case, ridge = Case(shape, seed).rows(), np.float32(0.3)
        r, d, a, solution = (case.signed() for _ in range(4))
        self.agree("descent_products", r, d, a, ridge)
        last, last_image = case.signed(), case.signed()
        self.agree("plane_products", r, d, a, last, last_image, ridge)
        lengths = np.stack([case.numbers(shape[0]), case.numbers(shape[0])], axis=1)
        self.agree("descend", lengths, d, a, last, last_image, ridge, solution, r, atol=1e-5)

    def step_agrees(self, f: Fields, s: Steps) -> None:
        ours = Fields(*map(self.put_copy, f))
        sums = self.ours.volume_step(ours, Steps(*map(self.put_copy, s)))
        expected = CpuKernels.volume_step(f, s)
        self.same_arrays(ours, f, 3e-5)
        self.same_sums(sums, expected)

    @SHORT
    @given(SHAPES, SEEDS, GAMMAS, st.booleans(), st.booleans())
    def test_volume_step(
        self, shape: tuple[int, ...], seed: int, gamma: float, coupled: bool, guided: bool
    ) -> None:
        case = Case(shape, seed)
        self.step_agrees(case.fields(coupled, guided), case.steps(gamma))

    @pytest.mark.parametrize("elements", range(1, MAX_ELEMENTS + 1))
    def test_volume_step_for_every_number_of_elements(self, elements: int) -> None:
        case = Case((1, elements, 2, 3, 5), elements)
        self.step_agrees(case.fields(coupled=True), case.steps(2.0))

    @pytest.mark.parametrize("coupled", [True, False])
    def test_a_trial_does_not_depend_on_its_batch(self, coupled: bool) -> None:
        whole = Case((3, 2, 5, 7, 11), 0)
        case = whole.fields(coupled), whole.steps(1.7)
        batch = [Fields(*map(self.put_copy, case[0])), Steps(*map(self.put_copy, case[1]))]
        sums = self.get(self.ours.volume_step(*batch))
        for trial in range(3):
            f, s = one_trial(case, trial)
            alone = Fields(*map(self.put_copy, f))
            sum_alone = self.ours.volume_step(alone, Steps(*map(self.put_copy, s)))
            np.testing.assert_array_equal(self.get(sum_alone)[0], sums[trial])
            for one, many in zip(alone, batch[0], strict=True):
                np.testing.assert_array_equal(self.get(one)[0], self.get(many)[trial])

    def test_a_gradient_in_place_as_the_solver_calls_it(self) -> None:
        case = Case((2, 2, 3, 4, 5), 0).rays()
        rays, counts, each = case.positive(), case.positive()[0], case.numbers(2)
        ours, out, rest = self.put(rays.copy()), np.empty_like(rays), (counts, each, each, each)
        self.ours.poisson_slope(ours, *map(self.put_copy, rest), ours)
        CpuKernels.poisson_slope(rays, *rest, out)
        np.testing.assert_allclose(self.get(ours), out, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("coupled", [True, False])
    def test_nan_is_not_clipped_away(self, coupled: bool) -> None:
        case = Case((1, 1, 3, 3, 3), 0)
        f, s = case.fields(coupled), case.steps(2.0)
        f.slope[0, 0, 1, 1, 1] = np.nan
        ours = Fields(*map(self.put_copy, f))
        sums = self.ours.volume_step(ours, Steps(*map(self.put_copy, s)))
        assert np.isnan(self.get(ours.next_volumes)[0, 0, 1, 1, 1])
        assert np.isnan(self.get(sums)[0, 0, :2]).all()

    def test_a_sum_over_many_blocks(self) -> None:
        """More blocks than the last sum has threads."""
        case = Case((2, 270, 257), 3)
        self.agree("distance", case.signed(), case.signed()[0])

    @pytest.mark.parametrize("spoil", [lambda a: a[:, ::2], lambda a: a.astype(np.float64)])
    def test_arrays_that_a_kernel_would_misread(self, spoil: Callable[[Any], Any]) -> None:
        array = self.put(np.ones((1, 4, 6), np.float32))
        with pytest.raises(ValueError, match=r"\bdistance\b.*float32"):
            self.ours.distance(array, spoil(array)[0])

    def test_more_elements_than_a_thread_holds(self) -> None:
        case = Case((1, MAX_ELEMENTS + 1, 1, 1, 1), 0)
        with pytest.raises(BadInput) as caught:
            self.ours.volume_step(case.fields(coupled=True), case.steps(2.0))
        assert (caught.value.key, caught.value.value) == ("elements", MAX_ELEMENTS + 1)


@pytest.mark.parametrize(
    ("shape", "images"),
    [((1, 1290, 1290, 1290), 9), ((4, 512, 512, 512), 8193), ((5, 46341, 1, 46341), 1)],
)
def test_more_than_a_launch_counts_is_refused(shape: tuple[int, ...], images: int) -> None:
    check_shape((8, 1288, 1288, 1288), 47)
    with pytest.raises(BadInput) as caught:
        check_shape(shape, images)
    assert "x".join(map(str, shape[1:])) in caught.value.problem


def test_what_is_accepted_is_counted_in_ints() -> None:
    """Volumes as large as are accepted, all elements together far more than 2^31 voxels."""

    class Counting:
        xp = np

        def launch(self, name: str, grid: Size, block: Size, args: tuple[Any, ...]) -> None:
            assert args[0].nbytes < 2**30
            assert grid[0] * block[0] < 2**31
            assert grid[1] < 2**16

    size = (1, MAX_ELEMENTS, 1288, 1288, 1288)
    check_shape(size[1:], 47)
    volumes = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), size, (0,) * 5)
    kernels = CudaKernels(Counting())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tomoatlas.recon_core.gpu.kernels.is_readable", lambda *_: True)
        assert kernels.total_variation(volumes).shape == (1, MAX_ELEMENTS)


def test_the_kernels_are_those_of_the_cpu() -> None:
    """The same names, and the same arguments in the same order."""
    ours, theirs = (
        {name: f for name, f in vars(cls).items() if not name.startswith("_") and callable(f)}
        for cls in (CudaKernels, CpuKernels)
    )
    assert ours.keys() == theirs.keys()
    for name, kernel in theirs.items():
        plain = getattr(kernel.__func__, "py_func", kernel.__func__)
        expected = list(inspect.signature(plain).parameters)
        assert list(inspect.signature(ours[name]).parameters)[1:] == expected


def test_arrays_of_another_device_are_not_launched() -> None:
    array = np.ones((1, 4, 6), np.float32)
    with pytest.raises(TypeError, match="elsewhere"):
        CudaKernels(ElsewhereLauncher()).distance(array, array[0])


@needs_compiler
class TestKernelsOnTheHost(OnHost, KernelConformance):
    launcher = HostLauncher


@needs_gpu
class TestKernelsOnTheDevice(OnDevice, KernelConformance):
    launcher = CupyLauncher
