"""The TV dual at half precision: what is stored, the step around it, and what a solve loses."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from host_launcher import HostLauncher, needs_compiler
from hypothesis import given
from hypothesis import strategies as st
from recon_cases import specimen, tilt_series
from recon_conformance import SHORT
from recon_devices import OnDevice, OnHost, needs_gpu
from recon_volume_step import copied, random_fields, random_steps, reference_step, uncoupled

from tomoatlas.recon_core.cpu.volume_step import Fields, Steps
from tomoatlas.recon_core.gpu import CudaDevice, cuda
from tomoatlas.recon_core.gpu.cupy import CupyLauncher
from tomoatlas.recon_core.gpu.kernels import CudaKernels, Launcher
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import nrmse_by_element
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.multiresolution import initial_state

EDGE = st.integers(1, 7)
HALVES = np.arange(0x3C01, dtype=np.uint16).view(np.float16)  # every one from 0 to 1
UNCHANGED = ("volumes", "slope", "u")
SETTINGS = SolverSettings()
WEIGHTS = [Weights(0.01, 0.1), Weights(0.1, 1.0), Weights(1.0, 3.0)]
SIZE = 16


def halved(fields: Fields) -> Fields:
    return fields._replace(dual=fields.dual.astype(np.float16))


def alone(start: np.ndarray, slope: float, dual: np.ndarray) -> tuple[Fields, Steps]:
    """One row, one element, no HAADF; the dual moves by the difference of neighbours."""
    row = start.reshape(1, 1, 1, -1)
    components = np.zeros((1, 3, *row.shape[1:]))
    components[0, 2, 0, 0] = dual
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    steps = Steps(12 * one[None], one, zero, zero, np.float32(0), one, 2.0)
    return halved(uncoupled(row, np.full_like(row, slope), components)), steps


class HalfConformance:
    """What a volume step does with a dual of float16."""

    launcher: Callable[[], Launcher]
    put: Callable[[np.ndarray], Any]
    get: Callable[[Any], np.ndarray]

    def stepped(self, f: Fields, s: Steps) -> tuple[Fields, np.ndarray]:
        there = Fields(*map(self.put, copied(f)))
        numbers = Steps(*(self.put(a) if isinstance(a, np.ndarray) else a for a in s))
        sums = CudaKernels(self.launcher()).volume_step(there, numbers)
        return Fields(*map(self.get, there)), self.get(sums).sum(1)

    @SHORT
    @given(
        st.tuples(st.integers(1, 3), st.integers(1, 4), EDGE, EDGE, EDGE),
        st.booleans(),
        st.integers(0, 99),
    )
    def test_a_step_is_that_of_the_equations_rounded(
        self, shape: tuple[int, ...], coupled: bool, seed: int
    ) -> None:
        f, s = halved(random_fields(shape, coupled, seed)), random_steps(*shape[:2], 1.7, seed)
        ours, sums = self.stepped(f, s)
        exact = reference_step(f, s)[0].dual.astype(np.float16)
        assert ours.dual.dtype == np.float16
        np.testing.assert_allclose(ours.dual.astype(float), exact, rtol=2**-10, atol=1e-6)
        expected, totals = reference_step(f, s, ours.dual)
        for name in set(Fields._fields) - {"dual"}:
            close = {"rtol": 0, "atol": 1e-7} if name in UNCHANGED else {"rtol": 2e-4, "atol": 2e-5}
            np.testing.assert_allclose(
                getattr(ours, name), getattr(expected, name), err_msg=name, **close
            )
        np.testing.assert_allclose(sums, totals, rtol=1e-3, atol=1e-3)

    def test_what_is_stored_is_the_nearest_and_of_two_the_even(self) -> None:
        exact = HALVES.astype(np.float32)
        ties = (exact[1:] + exact[:-1]) / 2
        below, above = np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1))
        x = np.zeros(2 * (exact.size + 3 * ties.size), np.float32)
        x[1::2] = np.concatenate([exact, ties, below, above])
        ours, _ = self.stepped(*alone(x, 0.0, np.zeros_like(x)))
        np.testing.assert_array_equal(ours.dual[0, 0, 2, 0, 0, :-1], np.diff(x).astype(np.float16))

    def test_what_is_stored_stays(self) -> None:
        dual = np.concatenate([HALVES, -HALVES, [0]])
        f, s = alone(np.zeros(dual.size, np.float32), 1e6, dual)
        ours, _ = self.stepped(f, s)
        np.testing.assert_array_equal(ours.dual, f.dual)

    def test_nan_is_stored(self) -> None:
        f, s = alone(np.ones(5, np.float32), 0.0, np.zeros(5))
        f.slope[..., 2] = np.nan
        assert np.isnan(self.stepped(f, s)[0].dual[0, 0, 2, 0, 0]).tolist() == [0, 1, 1, 0, 0]

    def test_nothing_else_is_read_at_half_precision(self) -> None:
        f, s = halved(random_fields((1, 2, 3, 4, 5))), random_steps(1, 2, 2.0)
        for name in ("volumes", "multiplier"):
            spoilt = f._replace(**{name: getattr(f, name).astype(np.float16)})
            with pytest.raises(ValueError, match=r"\bprimal_half_2\b.*float32"):
                self.stepped(spoilt, s)


@needs_compiler
class TestHalfOnTheHost(OnHost, HalfConformance):
    launcher = HostLauncher


@needs_gpu
class TestHalfOnTheDevice(OnDevice, HalfConformance):
    launcher = CupyLauncher


@cache
def host(half: bool) -> CudaDevice:
    return CudaDevice(HostLauncher(), "host", half)


def solved(weights: Weights, device: CudaDevice) -> tuple[Reconstruction, float]:
    """A whole solve, and its mean NRMSE."""
    found = reconstruct(tilt_series(SIZE), Method.FUSED, weights, SETTINGS, device=device)
    return found, float(np.mean(nrmse_by_element(found.volumes, specimen(SIZE).volumes)))


class PrecisionConformance:
    """What a trial loses by a dual of half precision: less than 0.5 % of its mean NRMSE."""

    device: Callable[[bool], CudaDevice]

    @pytest.mark.parametrize("weights", WEIGHTS)
    def test_the_error_of_a_trial_changes_by_less_than_half_a_percent(
        self, weights: Weights
    ) -> None:
        (full, error), (half, other) = (solved(weights, self.device(h)) for h in (False, True))
        assert half.status is full.status
        assert other == pytest.approx(error, rel=5e-3)
        assert half.history.objective[-1] == pytest.approx(full.history.objective[-1], rel=1e-3)
        assert not np.array_equal(half.volumes, full.volumes)

    def test_a_solve_stores_its_dual_so(self) -> None:
        for half, stored in ((False, np.float32), (True, np.float16)):
            state = initial_state(
                tilt_series(), WEIGHTS[:1], SETTINGS, self.device(half), smallest=6
            )[1]
            assert state.dual.dtype == stored
            assert float(abs(state.dual).max()) > 0.5
            assert state.volumes.dtype == np.float32


@needs_compiler
class TestPrecisionOnTheHost(PrecisionConformance):
    device = staticmethod(host)


@needs_gpu
class TestPrecisionOnTheDevice(PrecisionConformance):
    device = staticmethod(cache(cuda))
