import sys
from collections.abc import Iterator
from pathlib import Path

import numba
import pytest

# a benchmark is a script: it imports its neighbours
for folder in (Path(__file__).parent, Path(__file__).parents[1] / "cuda_host"):
    sys.path.append(str(folder))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)
