"""Versions that a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_SHOWN = ("tomoatlas", "numpy", "scipy", "numba", "astra-toolbox", "scikit-optimize")


def package_version(name: str) -> str:
    """Installed version of a distribution, ``not installed`` for a bare checkout."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """Python and the packages whose version can change a number."""
    return {"python": platform.python_version()} | {name: package_version(name) for name in _SHOWN}
