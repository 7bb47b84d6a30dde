"""Marks of tests that need a GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recon_core.backend import cupy_module
from recon_core.errors import BadInput


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
