import sys
from collections.abc import Iterator
from pathlib import Path

import numba
import pytest

sys.path.append(str(Path(__file__).parent))  # a benchmark is a script: it imports its neighbours


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)
