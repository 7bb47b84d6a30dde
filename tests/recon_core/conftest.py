import sys
from collections.abc import Iterator
from pathlib import Path

import numba
import pytest

# The cases, the reference method, the conformance class and the host that runs CUDA kernels are
# modules that several tests import.
for folder in (Path(__file__).parent, Path(__file__).parents[1] / "cuda_host"):
    sys.path.insert(0, str(folder))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small arrays gain nothing from threads; waiting for them on a busy machine costs much."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)
