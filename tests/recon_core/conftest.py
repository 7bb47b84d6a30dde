import sys
from collections.abc import Iterator
from pathlib import Path

import ducc0
import pytest

# The cases, the reference method, the conformance class and the host that runs CUDA kernels are
# modules that several tests import.
for folder in (Path(__file__).parent, Path(__file__).parents[1] / "cuda_host"):
    sys.path.insert(0, str(folder))


@pytest.fixture
def wide_pool() -> Iterator[None]:
    """More threads for ducc0 than there may be cores."""
    before = ducc0.misc.thread_pool_size()
    ducc0.misc.resize_thread_pool(8)
    yield
    ducc0.misc.resize_thread_pool(before)
