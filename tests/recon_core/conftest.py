import sys
from collections.abc import Iterator
from pathlib import Path

import numba
import pytest

# The cases, the reference method and the conformance class are modules that several tests import.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small arrays gain nothing from threads; waiting for them on a busy machine costs much."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)
