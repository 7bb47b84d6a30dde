"""The one-line error."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas.recon_core.errors import BadInput, needed
from tomoatlas.recon_core.tiltseries import SYMBOLS, atomic_numbers


def test_the_line_names_file_key_value_and_remedy() -> None:
    error = BadInput(
        "negative", source=Path("study.toml"), key="search.trials", value=-1, accepted=">= 1"
    )
    assert str(error) == "study.toml: search.trials = -1: negative; accepted: >= 1"


def test_a_path_is_quoted_as_it_was_given() -> None:
    error = BadInput("for trials", key="--page", value=Path("plan.html"))
    assert str(error) == "--page = 'plan.html': for trials"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({}, "broken"),
        ({"key": "a.b"}, "a.b: broken"),
        ({"value": "x"}, "'x': broken"),
        ({"source": "f.h5"}, "f.h5: broken"),
        ({"accepted": "more"}, "broken; accepted: more"),
        ({"key": "k", "value": 0}, "k = 0: broken"),
    ],
)
def test_parts_left_out_leave_no_trace(arguments: dict[str, object], line: str) -> None:
    assert str(BadInput("broken", **arguments)) == line


@settings(max_examples=25, deadline=None)
@given(st.text(), st.text(), st.text())
def test_it_is_one_line_whatever_it_quotes(problem: str, value: str, accepted: str) -> None:
    line = str(BadInput(problem, key="key", value=value, accepted=accepted))
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("clone", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_it_crosses_process_boundaries(clone: object) -> None:
    error = BadInput("bad", source="s", key="k", value=(1, 2), accepted="a")
    other = clone(error)
    assert isinstance(other, BadInput)
    assert (str(other), vars(other)) == (str(error), vars(error))


def test_a_copy_names_another_place_and_keeps_the_rest() -> None:
    error = BadInput("bad", source="s", key="k", value=0, accepted="a")
    other = error.at(source="file.toml", key="axes.k")
    assert vars(other) == {**vars(error), "source": "file.toml", "key": "axes.k"}
    assert str(other) == "file.toml: axes.k = 0: bad; accepted: a"
    assert vars(error.at()) == vars(error)


def test_it_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="bad"):
        raise BadInput("bad")


def test_atomic_numbers() -> None:
    assert atomic_numbers(["H", "O", "Co", "Cu", "Au", "Og"]) == (1, 8, 27, 29, 79, 118)
    assert len(SYMBOLS) == 118


@pytest.mark.parametrize("symbol", ["", "co", "Xx", "Co ", "CO"])
def test_unknown_symbols(symbol: str) -> None:
    with pytest.raises(BadInput) as caught:
        atomic_numbers(["Co", symbol])
    assert (caught.value.key, caught.value.value) == ("element", symbol)


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(BadInput) as caught, needed("nosuch", "render", "rendering"):
        import nosuch  # noqa: F401
    assert caught.value.key == "rendering"
    assert "tomoatlas[render]" in str(caught.value.accepted)
