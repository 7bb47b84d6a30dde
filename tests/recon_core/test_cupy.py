"""What is asked of cupy, on a stand-in that computes with NumPy, SciPy and the compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import cupy_stand_in
import numpy as np
import pytest
from host_launcher import needs_compiler
from recon_cases import tilt_series
from watched import COPIES, WatchedArray

from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.geometry import TiltGeometry, spaced_tilts
from tomoatlas.recon_core.gpu import cuda, device_named
from tomoatlas.recon_core.gpu import cupy as backend
from tomoatlas.recon_core.gpu.kernels import DEFINES, cuda_source
from tomoatlas.recon_core.gpu.projector import CupySparseProjector
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.projection import SparseProjector
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.admm import step
from tomoatlas.recon_core.solver.multiresolution import initial_state

GEOMETRY = TiltGeometry(spaced_tilts(5, (-70, 70)), (6, 7))
WEIGHTS = Weights(0.03, 0.5)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield cupy_stand_in.installed(monkeypatch)
    cupy_stand_in.forget()


def test_what_the_device_is(cupy: ModuleType) -> None:
    assert backend.cupy_module() is cupy
    assert backend.device_name() == cuda().name == "Stand-in"
    free = cupy_stand_in.FREE + cupy_stand_in.UNUSED
    assert backend.device_memory() == (free, cupy_stand_in.TOTAL)
    assert cuda().free_bytes() == free
    assert device_named("auto").name == "Stand-in"


@needs_compiler
@pytest.mark.usefixtures("cupy")
def test_a_trial_on_cupy_is_that_of_the_cpu() -> None:
    args = tilt_series(), Method.FUSED, WEIGHTS, SolverSettings(max_iterations=12, tolerance=1e-9)
    ours, theirs = reconstruct(*args, device=cuda()), reconstruct(*args)
    np.testing.assert_allclose(ours.volumes, theirs.volumes, atol=5e-3)
    (module,) = cupy_stand_in.RawModule.made
    assert module.code == cuda_source()
    assert module.options == ("--std=c++17", *DEFINES)
    assert len(module.asked) == len(set(module.asked))


@needs_compiler
@pytest.mark.usefixtures("cupy")
def test_nothing_is_copied_inside_an_iteration_its_transforms_included() -> None:
    problem, state = initial_state(tilt_series(), [WEIGHTS], SolverSettings(), cuda())
    COPIES.clear()
    for _ in range(6):
        state = step(problem, state)
    assert isinstance(state.volumes, WatchedArray)
    assert COPIES.total() == 0


def test_the_sparse_reference(cupy: ModuleType) -> None:
    ours, theirs = CupySparseProjector(GEOMETRY), SparseProjector(GEOMETRY)
    assert COPIES["put"] >= 2
    random = np.random.default_rng(0)
    volumes = random.random((2, 3, 6, 7, 4), dtype=np.float32)
    series = random.random((2, 3, 5, 7, 4), dtype=np.float32)
    for name, array in (("forward", volumes), ("adjoint", series)):
        there = getattr(ours, name)(cupy.asarray(array))
        np.testing.assert_allclose(there.get(), getattr(theirs, name)(array), rtol=1e-5)
        with pytest.raises(TypeError, match="cupy"):
            getattr(ours, name)(array)


@pytest.mark.usefixtures("cupy")
def test_the_filter_is_that_of_the_cpu() -> None:
    random, device = np.random.default_rng(0), cuda()
    volume = random.standard_normal((2, 6, 5, 4)).astype(np.float32)
    response = random.uniform(0.1, 1, (6, 3, 1)).astype(np.float32)
    found, expected = device.put(np.zeros_like(volume)), np.empty_like(volume)
    device.filter(device.put(response))(device.put(volume), found)
    CPU.filter(response)(volume, expected)
    np.testing.assert_allclose(device.get(found), expected, atol=1e-5)
