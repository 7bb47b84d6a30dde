"""No traceback, no hang, no silent acceptance, whatever is in a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from fuzzing import TARGETS, fed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("TOMOATLAS_FUZZ", "100"))
"""Inputs of each kind; the same ones every time, unless there are more."""


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_is_in_a_file_is_taken_or_refused_in_one_line(name: str) -> None:
    target = TARGETS[name]
    few = EXAMPLES <= 100

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=few,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            fed(target, data.draw(target.inputs), Path(folder))

    tried()
