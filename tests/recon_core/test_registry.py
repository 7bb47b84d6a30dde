"""Registries: lazy, of one type, and plain about what fails to load or collides."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.registry import Registry

GROUP = "tomoatlas.test_things"
Install = Callable[..., None]


def registry(**builtin: str) -> Registry[Weights]:
    return Registry("thing", GROUP, Weights, builtin, key="thing.kind")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a distribution that declares things; its modules are written beside it."""

    def installed(name: str, folder: str = "site", code: str = "", **points: str) -> None:
        info = tmp_path / folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{key} = {value}" for key, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
        (tmp_path / folder / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path / folder))

    return installed


CODE = "from tomoatlas.recon_core.methods import Weights\nTHING = Weights(tv=3.0)\nOTHER = 7\n"


def test_an_entry_point_is_a_name(install: Install) -> None:
    install("ours_a", code=CODE, own="ours_a:THING")
    assert registry().names() == ("own",)
    assert registry().get("own") == Weights(tv=3.0)
    assert registry().origin("own") == "ours_a"
    assert "own" in registry()
    assert "none" not in registry()


def test_what_ships_is_found_without_a_look_at_the_environment(install: Install) -> None:
    install("ours_b", code="raise OSError", broken="ours_b:THING", shipped="ours_b:THING")
    things = registry(shipped="tomoatlas.recon_core.methods:DEFAULT_WEIGHTS")
    assert things.origin("shipped") == "tomoatlas"
    assert things.get("shipped").tv == 1.0


def test_an_unknown_name_comes_with_the_nearest(install: Install) -> None:
    install("ours_c", code=CODE, rods="ours_c:THING")
    with pytest.raises(BadInput) as caught:
        registry().get("rod")
    assert (caught.value.key, caught.value.value) == ("thing.kind", "rod")
    assert caught.value.accepted == "rods"


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("ours_d:ABSENT", AttributeError),
        ("ours_absent:THING", ModuleNotFoundError),
        ("ours_d:OTHER", None),
    ],
)
def test_a_plugin_that_does_not_load_is_named(
    install: Install, value: str, cause: type[Exception] | None
) -> None:
    install("ours_d", code=CODE, own=value)
    with pytest.raises(BadInput) as caught:
        registry().get("own")
    assert cause is None or isinstance(caught.value.__cause__, cause)
    assert caught.value.source == "ours_d"
    assert caught.value.key == f"{GROUP}.own"
    assert caught.value.value == value


def test_two_distributions_of_one_name_are_both_named(install: Install) -> None:
    install("ours_e", code=CODE, own="ours_e:THING")
    install("ours_f", code=CODE, own="ours_f:THING")
    for ask in (registry().names, lambda: registry().get("own")):
        with pytest.raises(BadInput) as caught:
            ask()
        assert caught.value.key == f"{GROUP}.own"
        assert {"ours_e", "ours_f"} <= set(re.findall(r"\w+", str(caught.value)))


def test_a_plugin_of_a_shipped_name_is_refused_in_a_listing(install: Install) -> None:
    install("ours_g", code=CODE, shipped="ours_g:THING")
    with pytest.raises(BadInput) as caught:
        registry(shipped="tomoatlas.recon_core.methods:DEFAULT_WEIGHTS").names()
    assert caught.value.key == f"{GROUP}.shipped"
    assert "ours_g" in str(caught.value.source)


def test_one_distribution_in_two_folders_counts_once(install: Install) -> None:
    for folder in ("site", "editable"):
        install("ours_h", folder, CODE, own="ours_h:THING")
    assert registry().names() == ("own",)


def test_entries_of_this_process(install: Install) -> None:
    things = registry(shipped="tomoatlas.recon_core.methods:DEFAULT_WEIGHTS")
    things.register("mine", Weights(tv=2.0))
    assert things.get("mine").tv == 2.0
    assert things.names() == ("shipped", "mine")
    with pytest.raises(BadInput):
        things.register("shipped", Weights())
    with pytest.raises(BadInput):
        things.register("other", 7)  # type: ignore[arg-type]


def test_what_was_installed_meanwhile_is_found_after_a_refresh(install: Install) -> None:
    things = registry()
    assert things.names() == ()
    install("ours_i", code=CODE, own="ours_i:THING")
    things.refresh()
    assert things.names() == ("own",)


class TestFiles:
    def test_the_only_entry_of_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.py"
        path.write_text(CODE)
        things = registry()
        assert things.get(str(path)) is things.get(str(path)) is things.get(f"{path}:THING")
        assert things.origin(str(path)) == str(path)

    def test_an_edited_file_is_read_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.py"
        for tv in (3.0, 4.0):
            path.write_text(CODE.replace("3.0", str(tv)))
            assert registry().get(str(path)).tv == tv

    @pytest.mark.parametrize(
        ("code", "name", "cause"),
        [
            ("1 / 0", "", ZeroDivisionError),
            ("", "", None),
            (CODE + "MORE = Weights()\n", "", None),
            (CODE, ":ABSENT", None),
            (None, "", FileNotFoundError),
        ],
    )
    def test_a_file_that_cannot_be_used(
        self, tmp_path: Path, code: str | None, name: str, cause: type[Exception] | None
    ) -> None:
        path = tmp_path / "mine.py"
        if code is not None:
            path.write_text(code)
        with pytest.raises(BadInput) as caught:
            registry().get(f"{path}{name}")
        assert cause is None or isinstance(caught.value.__cause__, cause)
        assert str(caught.value.source) == str(path)


def test_a_shipped_specimen_reads_no_entry_point() -> None:
    code = (
        "from tomoatlas.recon_core import registry\nregistry.entry_points = None\n"
        "from tomoatlas.phantoms.kinds import SPECIMENS\n"
        "assert SPECIMENS.get('composite').elements == ('Co', 'Ni', 'O')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
