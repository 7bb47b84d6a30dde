"""Where a conformance class keeps its arrays, and the mark of tests that need a GPU."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.gpu.cupy import cupy_module, to_host


def _reason() -> str | None:
    try:
        cupy_module()
    except BadInput as error:
        return str(error)
    return None


_MISSING = _reason()


def needs_gpu(test: Callable) -> Callable:
    """Mark ``gpu``, and skip where none can be used, saying why."""
    skip = pytest.mark.skipif(_MISSING is not None, reason=_MISSING or "")
    return pytest.mark.gpu(skip(test))


class OnHost:
    """Arrays stay NumPy arrays."""

    def put(self, array: np.ndarray) -> Any:
        return array

    def get(self, array: Any) -> np.ndarray:
        return array


class OnDevice:
    """Arrays are copied to the GPU and back."""

    def put(self, array: np.ndarray) -> Any:
        return cupy_module().asarray(array)

    def get(self, array: Any) -> np.ndarray:
        return to_host(array)


class ElsewhereLauncher:
    """A launcher of another array module than NumPy, which it must not be given arrays of."""

    @property
    def xp(self) -> Any:
        return SimpleNamespace(ndarray=tuple, asarray=list, __name__="elsewhere")

    def launch(self, *args: object) -> None:
        raise AssertionError("launched with arrays of another device")
