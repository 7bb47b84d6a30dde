"""Arrays that, like a GPU's, do not mix with NumPy's unasked, and count every copy to the host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

COPIES: Counter[str] = Counter()
"""Copies since the test cleared it: ``put`` to the device, ``get`` to the host."""


class WatchedArray(np.ndarray):
    """An array of :data:`watched`."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return call(getattr(ufunc, method), inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} does not take arrays of a device")

    def __getitem__(self, index: Any) -> Any:
        COPIES["put"] += _has_list(index)
        return _watched(self.view(np.ndarray)[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        COPIES["put"] += _has_list(index)
        self.view(np.ndarray)[_plain(index)] = _plain(value)

    def __float__(self) -> float:
        return float(self.get())

    def __bool__(self) -> bool:
        return bool(self.get())

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def get(self) -> Any:
        """Copy to the host, as cupy's."""
        COPIES["get"] += 1
        return self.view(np.ndarray)


class _Module(ModuleType):
    """The functions of NumPy for watched arrays."""

    ndarray = WatchedArray

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        if isinstance(value, type) or not callable(value):
            return value
        return lambda *args, **options: call(value, args, options)

    def asarray(self, array: Any) -> WatchedArray:
        """As cupy's: copies what is on the host."""
        COPIES["put"] += not isinstance(array, WatchedArray)
        return np.array(array).view(WatchedArray)


watched = _Module("watched")


def call(function: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
    """A function of NumPy or SciPy on watched arrays, and on none of the host."""
    result = function(*_plain(args), **{k: _plain(v) for k, v in options.items()})
    out = options.get("out")
    if out is None:
        return _watched(result)
    return out[0] if isinstance(out, tuple) else out


def _plain(value: Any) -> Any:
    if isinstance(value, WatchedArray):
        return value.view(np.ndarray)
    if isinstance(value, np.ndarray):
        raise TypeError("an array of the host among those of the device")
    if isinstance(value, (tuple, list)):
        return type(value)(_plain(v) for v in value)
    return value


def _watched(result: Any) -> Any:
    if isinstance(result, (np.ndarray, np.generic)):
        return np.asarray(result).view(WatchedArray)
    return result


def _has_list(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, (list, tuple)) for part in parts)
