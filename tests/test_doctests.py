"""Every example of a docstring runs, on the installed package."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import tomoatlas as ta

NOT_IMPORTED = ("__main__", "tomoatlas.sweep.executors.mpi", "tomoatlas.sweep.executors.dask")
"""A program; packages that start MPI, or belong to an extra."""


def modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(ta.__path__, "tomoatlas."):
        if not module.name.endswith(NOT_IMPORTED[0]) and not module.name.startswith(NOT_IMPORTED):
            yield module.name


def examples_of(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return [test for test in found if test.examples]


@pytest.mark.parametrize("module", list(modules()))
def test_examples(module: str) -> None:
    for test in examples_of(module):
        runner = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST)
        assert runner.run(test).failed == 0, test.name


@pytest.mark.parametrize("name", sorted(set(ta.__all__) - {"__version__"}))
def test_every_name_of_the_front_door_has_an_example(name: str) -> None:
    documented = getattr(ta, name).__doc__
    assert "Examples\n" in documented
    assert ">>> " in documented
