"""Specimens of others in a study: one file, or one entry point, with parameters to sweep."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from tomoatlas.phantoms.kinds import SPECIMENS, Parameters, SpecimenKind, make_specimen
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.evaluate import evaluate
from tomoatlas.sweep.study import Study, load_study, parse_study, recorded_study
from tomoatlas.sweep.study.specimens import build

RODS = """
from typing import Annotated

import numpy as np
from pydantic import Field

from tomoatlas.phantoms.kinds import Parameters, SpecimenKind
from tomoatlas.phantoms.paint import concentrations, paint
from tomoatlas.phantoms.shapes import Ball
from tomoatlas.phantoms.specimen import Specimen


class RodParameters(Parameters):
    length: Annotated[float, Field(gt=0, le=0.8)] = 0.5
    beads: Annotated[int, Field(ge=1, le=20)] = 5


def build(size, seed, length, beads):
    places = np.linspace(-length / 2, length / 2, beads)
    balls = [(Ball(np.array([0.0, 0.0, x]), 0.12), 0) for x in places]
    phases = paint(size, 1, balls)
    return Specimen(concentrations(phases, [{"Fe": 1.0}], ("Fe",)), ("Fe",), 100 / size, "rods")


RODS = SpecimenKind("rods", ("Fe",), build, "a rod of beads along x", RodParameters)
"""

STUDY = """
[study]
name = "rods"
[specimen]
kind = "rods.py"
size = 16
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rods.py").write_text(RODS)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def study(folder: Path, specimen: str = "", axes: str = "") -> Study:
    (folder / "study.toml").write_text(f"{STUDY}{specimen}\n{axes}")
    return load_study(folder / "study.toml")


def trial_id(study: Study, cell: int = 0) -> str:
    return study.trial(study.cells()[cell], Method.FUSED, 0, Weights()).trial_id


def test_a_parameter_of_a_file_s_specimen_is_an_axis(folder: Path) -> None:
    swept = study(folder, axes='[axes]\n"specimen.length" = [0.2, 0.6]')
    voxels = [build(swept.at(cell).specimen).volumes.sum() for cell in swept.cells()]
    assert voxels[0] < voxels[1]
    assert swept.at(swept.cells()[1]).specimen.parameters == {"length": 0.6, "beads": 5}
    assert trial_id(swept, 0) != trial_id(swept, 1)


def test_a_default_that_is_written_out_changes_no_identity(folder: Path) -> None:
    assert trial_id(study(folder, "length = 0.5")) == trial_id(study(folder))
    assert trial_id(study(folder, "length = 0.4")) != trial_id(study(folder))


def test_a_parameter_added_later_changes_no_identity_of_a_named_specimen() -> None:
    class One(Parameters):
        length: float = 0.5

    class Two(One):
        width: float = 0.1

    ids = []
    for parameters in (One, Two):
        SPECIMENS.register("growing", SpecimenKind("growing", ("Fe",), int, "grows", parameters))
        text = STUDY.replace("rods.py", "growing") + "length = 0.3"
        ids.append(trial_id(parse_study(text)))
    assert ids[0] == ids[1]


def test_an_edited_file_is_another_specimen(folder: Path) -> None:
    before = trial_id(study(folder))
    (folder / "rods.py").write_text(RODS.replace("0.12", "0.10"))
    assert trial_id(study(folder)) != before


def test_the_record_of_a_study_reads_back_equal(folder: Path, tmp_path: Path) -> None:
    swept = study(folder, "length = 0.3", '[axes]\n"specimen.beads" = [3, 5]')
    assert parse_study(swept.toml()) == swept
    assert pickle.loads(pickle.dumps(swept)) == swept
    assert trial_id(parse_study(swept.toml())) == trial_id(swept)


def test_a_trial_is_evaluated(folder: Path) -> None:
    small = study(folder, "[acquisition]\nhaadf_tilts = 5\n[solver]\nmax_iterations = 5")
    trial = small.trial(small.cells()[0], Method.FUSED, 0, Weights(haadf=0.1, tv=1.0))
    result = evaluate(small, trial)
    assert result.error is None
    assert set(result.nrmse_by_element) == {"Fe"}


@pytest.mark.parametrize(
    ("specimen", "axes", "key", "value"),
    [
        ("lenght = 0.4", "", "specimen.lenght", 0.4),
        ("length = 0.9", "", "specimen.length", 0.9),
        ("length = 'long'", "", "specimen.length", "long"),
        ("beads = 2.5", "", "specimen.beads", 2.5),
        ("lenght = 0.4\nseed = -1", "", "specimen.lenght", 0.4),
        ("", '[axes]\n"specimen.length" = [0.4, 0.9]', "axes.specimen.length", 0.9),
        ("", '[axes]\n"specimen.lenght" = [0.4]', "axes.specimen.lenght", [0.4]),
    ],
)
def test_what_a_parameter_does_not_accept_is_named(
    folder: Path, specimen: str, axes: str, key: str, value: object
) -> None:
    with pytest.raises(BadInput) as caught:
        study(folder, specimen, axes)
    assert (caught.value.key, caught.value.value) == (key, value)
    assert str(caught.value.source) == str(folder / "study.toml")


def test_a_misspelt_parameter_comes_with_the_nearest_and_all_keys(folder: Path) -> None:
    with pytest.raises(BadInput) as caught:
        study(folder, "lenght = 0.4")
    assert (caught.value.key, caught.value.value) == ("specimen.lenght", 0.4)
    assert "length" in caught.value.problem
    assert caught.value.accepted == "kind, size, seed, length, beads"


def test_of_an_unknown_specimen_the_name_is_named_and_not_an_axis_of_its_keys() -> None:
    text = STUDY.replace("rods.py", "rods") + '[axes]\n"specimen.length" = [0.3, 0.6]\n'
    with pytest.raises(BadInput) as caught:
        parse_study(text, source="mine.toml")
    assert (caught.value.source, caught.value.key) == ("mine.toml", "specimen.kind")
    assert caught.value.value == "rods"


def test_a_bound_is_named(folder: Path) -> None:
    with pytest.raises(BadInput) as caught:
        study(folder, "length = 0.9")
    assert caught.value.accepted == "number > 0 and <= 0.8"


def test_kinds_with_different_parameters_share_an_axis(folder: Path) -> None:
    mixed = study(folder, axes='[axes]\n"specimen.kind" = ["rods.py", "nanocubes"]')
    kinds = [mixed.at(cell).specimen for cell in mixed.cells()]
    assert [table.parameters for table in kinds] == [{"length": 0.5, "beads": 5}, {}]


def test_a_recorded_study_is_read_where_its_specimen_is_not(folder: Path) -> None:
    text = study(folder, "length = 0.3").toml()
    (folder / "study.toml").write_text(text)
    (folder / "rods.py").unlink()
    assert recorded_study(folder / "study.toml").specimen.parameters["length"] == 0.3
    with pytest.raises(BadInput) as caught:
        load_study(folder / "study.toml")
    assert str(folder / "rods.py") in str(caught.value)


def test_a_core_specimen_has_no_further_key(folder: Path) -> None:
    with pytest.raises(BadInput) as caught:
        parse_study(STUDY.replace("rods.py", "nanocubes") + "length = 0.4")
    assert (caught.value.key, caught.value.accepted) == ("specimen.length", "kind, size, seed")


def test_an_object_of_a_file_by_its_name(folder: Path) -> None:
    (folder / "rods.py").write_text(
        RODS + 'THIN = SpecimenKind("thin", ("Fe",), build, "", RodParameters)\n'
    )
    named = parse_study(STUDY.replace("rods.py", "rods.py:THIN"), folder=folder)
    assert named.specimen.kind == f"{folder / 'rods.py'}:THIN"
    assert json.loads(named.model_dump_json())["specimen"]["length"] == 0.5
    assert build(named.specimen).elements == ("Fe",)


def test_a_builder_that_breaks_its_word_is_named() -> None:
    def build(size: int, seed: int) -> object:
        return make_specimen("nanocubes", size, seed)

    SPECIMENS.register("liar", SpecimenKind("liar", ("Fe",), build, ""))  # type: ignore[arg-type]
    with pytest.raises(BadInput) as caught:
        make_specimen("liar", 16)
    assert caught.value.value == "liar"


@pytest.mark.parametrize("field", [{"size": (int, 3)}, {"length": (float, ...)}])
def test_parameters_need_a_default_and_a_name_of_their_own(field: dict[str, object]) -> None:
    from pydantic import create_model

    model = create_model("Wrong", __base__=Parameters, **field)  # type: ignore[call-overload]
    with pytest.raises(BadInput) as caught:
        SpecimenKind("wrong", ("Fe",), int, "", model)  # type: ignore[arg-type]
    assert caught.value.key in field


PARTICLE = """
[specimen]
kind = "build"
field_nm = 90.0
seed = 7
[specimen.bodies.particle]
shape = "sphere"
diameter_nm = 60.0
material = "Co3O4"
density = 6.11
shell = "Mn3O4"
shell_nm = 8.0
shell_density = 4.86
"""
SIZED = PARTICLE.replace("seed = 7", "seed = 7\nsize = 16")
BUILT = '[study]\nname = "built"' + SIZED


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("specimen.bodies.particle.shell_nm", [2.0, 12.0]),
        ("specimen.bodies.particle.position_nm.2", [-5.0, 5.0]),
        ("specimen.field_nm", [80.0, 100.0]),
    ],
)
def test_every_number_of_a_body_is_an_axis(path: str, values: list[float]) -> None:
    placed = BUILT.replace("shell_nm = 8.0", "shell_nm = 8.0\nposition_nm = [0, 0, 0]")
    swept = parse_study(f'{placed}\n[axes]\n"{path}" = {values}')
    one, other = (build(swept.at(cell).specimen).volumes for cell in swept.cells())
    assert not (one == other).all()
    assert trial_id(swept, 0) != trial_id(swept, 1)
    assert parse_study(swept.toml()) == swept


@pytest.mark.parametrize(
    ("line", "same"),
    [("spread_nm = 0.0", True), ("cut = false", True), ("spread_nm = 1.0", False)],
)
def test_a_body_s_default_that_is_written_out_changes_no_identity(line: str, same: bool) -> None:
    text = BUILT.replace('shape = "sphere"', f'shape = "sphere"\n{line}')
    assert (trial_id(parse_study(text)) == trial_id(parse_study(BUILT))) is same


def test_a_shipped_specimen_takes_other_numbers() -> None:
    text = '[study]\nname = "s"\n[specimen]\nkind = "au-fe3o4"\nsize = 16\n'
    usual, other = parse_study(text), parse_study(f"{text}bodies.Au.diameter_nm = 4.3")
    assert other.specimen.set_apart()["bodies"] == {"Au": {"diameter_nm": 4.3}}
    assert "bodies" not in usual.specimen.set_apart()
    assert build(other.specimen).volumes[2].sum() > 1.2 * build(usual.specimen).volumes[2].sum()
    assert trial_id(parse_study(other.toml())) == trial_id(other)


def test_a_zero_that_a_shipped_specimen_has_not_is_kept() -> None:
    text = '[study]\nname = "s"\n[specimen]\nkind = "au-fe3o4"\nbodies.Au.spread_nm = 0.0'
    even = parse_study(text)
    assert even.specimen.set_apart()["bodies"] == {"Au": {"spread_nm": 0.0}}


def test_a_file_that_describes_a_specimen(tmp_path: Path) -> None:
    (tmp_path / "particle.toml").write_text(SIZED)
    text = '[study]\nname = "s"\n[specimen]\nkind = "particle.toml"\n'
    found = parse_study(text, folder=tmp_path)
    assert (found.specimen.size, found.specimen.seed) == (16, 7)
    expected = build(parse_study(BUILT).specimen)
    assert (build(found.specimen).volumes == expected.volumes).all()
    before = trial_id(found)
    (tmp_path / "particle.toml").write_text(SIZED.replace("60.0", "61.0"))
    assert trial_id(parse_study(text, folder=tmp_path)) != before


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        (SIZED.replace("Co3O4", "Cx3"), "specimen.bodies.particle.material", "Cx3"),
        (SIZED.replace("diameter_nm", "diametre_nm"), "specimen.bodies.particle.diametre_nm", 60.0),
        (SIZED.replace('"sphere"', '"ball"'), "specimen.bodies.particle", None),
        (SIZED.replace("60.0", "600.0"), "specimen.field_nm", 90.0),
        (SIZED.replace("8.0", "38.0"), "specimen.bodies.particle.shell_nm", 38.0),
        (SIZED.replace('"build"', '"nanocubes"'), "specimen.kind", "nanocubes"),
        ("[study]\nname = 'x'", "specimen", None),
        ("[specimen", None, None),  # not TOML
    ],
)
def test_what_a_described_specimen_cannot_be(
    tmp_path: Path, text: str, key: str | None, value: object
) -> None:
    (tmp_path / "particle.toml").write_text(text)
    study_text = '[study]\nname = "s"\n[specimen]\nkind = "particle.toml"\n'
    with pytest.raises(BadInput) as caught:
        parse_study(study_text, folder=tmp_path)
    assert caught.value.key == key
    assert value is None or caught.value.value == value
    assert caught.value.accepted


def test_a_value_of_an_axis_that_does_not_fit_is_named() -> None:
    with pytest.raises(BadInput) as caught:
        parse_study(f'{BUILT}\n[axes]\n"specimen.bodies.particle.shell_nm" = [2.0, 32.0]')
    assert caught.value.key == "axes.specimen.bodies.particle.shell_nm"
    assert caught.value.value == 32.0
