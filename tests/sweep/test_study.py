from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_fakes import SMALL

from tomoatlas.phantoms.formats import save_specimen, save_volumes
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.toml import toml_text
from tomoatlas.sweep.search import Search
from tomoatlas.sweep.study import Study, load_study, parse_study
from tomoatlas.sweep.study.axes import put
from tomoatlas.sweep.study.trial import weights_named

BASE = """
[study]
name = "t"
[specimen]
kind = "nanocubes"
size = 16
"""


def with_axes(*axes: str, base: str = BASE) -> Study:
    return parse_study(base + "[axes]\n" + "\n".join(axes))


HAADF = '"acquisition.haadf_tilts" = [9, 5, 71]'
CHEMICAL = '"acquisition.chemical_tilts" = [3, 7]'


def test_defaults_make_a_whole_study() -> None:
    study = parse_study(BASE)
    assert study.search.trials == 20
    assert study.search.methods == tuple(Method)
    assert [c.values for c in study.cells()] == [()]


def test_cells_are_the_product_of_the_axes_in_their_order() -> None:
    cells = with_axes(HAADF, CHEMICAL).cells()
    assert [c.index for c in cells] == list(range(6))
    assert [tuple(dict(c.values).values()) for c in cells] == [
        (9, 3), (9, 7), (5, 3), (5, 7), (71, 3), (71, 7),
    ]  # fmt: skip


def test_a_cell_puts_its_values_in() -> None:
    study = with_axes(HAADF, '"solver.gamma" = [1.6, 2]', '"acquisition.chemical_snr" = [3]')
    at = study.at(study.cells()[-1])
    assert at.acquisition.haadf_tilts == 71
    assert at.solver.gamma == 2.0
    assert at.acquisition.chemical_snr == 3.0
    assert at.axes == {}


def test_an_axis_may_run_over_one_element() -> None:
    base = BASE + "[acquisition]\nchemical_snr = { Co = 2, Cu = 2, O = 2, Au = 2 }\n"
    study = with_axes('"acquisition.chemical_snr.Au" = [1.5, 4]', base=base)
    snr = study.at(study.cells()[1]).acquisition.chemical_snr
    assert snr == {"Co": 2.0, "Cu": 2.0, "O": 2.0, "Au": 4.0}


NUMBERED = {
    '"acquisition.haadf_tilts"': st.sampled_from([5, 9, 71]),
    '"acquisition.chemical_snr"': st.sampled_from([3, 2.5, 1e3]),
    '"acquisition.chemical_subset"': st.just("false"),
    '"specimen.size"': st.sampled_from([16, 24]),
    '"specimen.kind"': st.sampled_from(['"nanocubes"', '"composite"']),
    '"solver.gamma"': st.sampled_from([1.6, 2, 1.7]),
    '"study.seed"': st.sampled_from([1, 2**40]),
    '"acquisition.tilt_range_deg.1"': st.sampled_from([60, 65.5]),
}


@given(
    st.fixed_dictionaries(
        {},
        optional={k: st.lists(v, min_size=1, max_size=3, unique=True) for k, v in NUMBERED.items()},
    )
)
def test_every_cell_is_the_study_of_a_file_with_its_values(axes: dict[str, list[object]]) -> None:
    study = with_axes(
        *(f"{path} = [{', '.join(map(str, values))}]" for path, values in axes.items())
    )
    for cell, at in study.conditions():
        tables = study.tables() | {"axes": {}}
        if "specimen.kind" in study.axes:
            tables["specimen"] = study.specimen.set_apart()
        for path, value in cell.values:
            put(tables, path, value)
        assert at == study.at(cell) == parse_study(toml_text(tables))


def test_axes_may_be_written_without_quotes() -> None:
    assert with_axes("acquisition.haadf_tilts = [9, 5, 71]") == with_axes(HAADF)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("[acquisition]\nhaadf_tlits = 3", "acquisition.haadf_tlits = 3"),
        ("[acquisition]\nhaadf_tilts = -3", "acquisition.haadf_tilts = -3"),
        ('[acquisition]\nhaadf_tilts = "3"', "acquisition.haadf_tilts = '3'"),
        ("[acquisition]\nhaadf_tilts = 3.5", "acquisition.haadf_tilts = 3.5"),
        ("[acquisition]\nhaadf_tilts = true", "acquisition.haadf_tilts = True"),
        ("[acquisition]\ntilt_range_deg = [-100, 70]", "acquisition.tilt_range_deg = [-100, 70]"),
        ("[acquisition]\ntilt_range_deg = [70, -70]", "acquisition.tilt_range_deg = [70, -70]"),
        ("[acquisition]\ntilt_range_deg = [-70]", "acquisition.tilt_range_deg = [-70]"),
        ("[acquisition]\ntilt_range_deg = 70", "acquisition.tilt_range_deg = 70"),
        ("[acquisition]\nhaadf_snr = nan", "acquisition.haadf_snr = nan"),
        ("[acquisition]\nhaadf_snr = 1999-01-01", "acquisition.haadf_snr = "),
        ("[acquisition]\nchemical_snr = -1", "acquisition.chemical_snr = -1"),
        ("[acquisition]\nchemical_snr = { Co = 'x' }", "acquisition.chemical_snr.Co = 'x'"),
        ("[acquisition]\nchemical_snr = { Co = 2, Cu = 2, O = 2 }", "acquisition.chemical_snr = {"),
        ("[acquisition]\nbackground = 1", "acquisition.background = 1"),
        ("[acquisition]\noversample = 100", "acquisition.oversample = 100"),
        ("[solver]\ngamma = 3", "solver.gamma = 3"),
        ('[solver]\ncontrast = "linear"\ngamma = 0.9', "solver.gamma = 0.9"),
        ('[solver]\ncontrast = "log"', "solver.contrast = 'log'"),
        (
            '[solver]\ngamma = 1.2\n[axes]\n"solver.contrast" = ["linear", "power"]',
            "solver.gamma = 1.2",
        ),
        ('[solver]\nchemistry = "gauss"', "solver.chemistry = 'gauss'"),
        ("[serach]\ntrials = 3", "serach = {'trials': 3}"),
        ("[search]\ntrials = 0", "search.trials = 0"),
        ("[search]\nspace = { haadf = [1, 0.1] }", "search.space.haadf = [1, 0.1]"),
        ("[search]\nspace = { tv = [0, 1] }", "search.space.tv = [0, 1]"),
        ("[search]\nspace = { tv = [0.1, 1e20] }", "search.space.tv = [0.1, 1e+20]"),
        ("[search]\nspace = { hadf = [0.1, 1] }", "search.space.hadf = [0.1, 1]"),
        ("[search]\nspace = { tv = [0.1, 1, 2] }", "tv = [0.1, 1, 2]"),
        ("[search]\nspace = { gamma = [1, 2] }", "gamma = [1.0, 2.0]"),
        ("[search]\nspace = { gamma = [2, 1.5] }", "search.space.gamma = [2.0, 1.5]"),
        ("[search]\nspace = { gamma = 1.5 }", "search.space.gamma = 1.5"),
        (
            '[search]\nspace = { gamma = [1, 2] }\n[axes]\n"solver.contrast" = ["linear", "power"]',
            "search.space.gamma = [1.0, 2.0]",
        ),
        (
            '[search]\nspace = { gamma = [1.5, 2] }\n[axes]\n"solver.gamma" = [1.5, 2]',
            "axes.solver.gamma = [1.5, 2]",
        ),
        ('[search]\nscore = "ssim"', "search.score = 'ssim'"),
        ("[search]\nmethods = []", "search.methods = []"),
        ('[search]\nmethods = ["fuse"]', "search.methods.0 = 'fuse'"),
        ("[axes]\n'acquisition.haadf_tilt' = [1]", "axes.acquisition.haadf_tilt = [1]"),
        ("[axes]\n'acquisition.haadf_tilts' = []", "axes.acquisition.haadf_tilts = []"),
        ("[axes]\n'acquisition.haadf_tilts' = 3", "axes.acquisition.haadf_tilts = 3"),
        ("[axes]\n'acquisition.haadf_tilts' = [3, 3]", "axes.acquisition.haadf_tilts = [3, 3]"),
        ("[axes]\n'acquisition.haadf_tilts' = [3, -1]", "axes.acquisition.haadf_tilts = -1"),
        ("[axes]\n'acquisition.tilt_range_deg' = [3]", "axes.acquisition.tilt_range_deg"),
        ("[axes]\n'search.trials' = [3]", "axes.search.trials = [3]"),
        ("[axes]\n'study.edition' = [3]", "axes.study.edition = [3]"),
        ("[axes]\n'specimen.kind' = ['nanocube']", "axes.specimen.kind = 'nanocube'"),
        ("[axes]\n'specimen.kind' = ['none.h5']", "axes.specimen.kind = "),
        ("[axes]\n'specimen.size' = [512]\n'acquisition.oversample' = [4]", "oversample = 4"),
        ("[axes]\n'acquisition.haadf_tilts' = [5]\nacquisition = 3", "axes.acquisition = 3"),
        ("axes", None),
    ],
)
def test_a_study_that_makes_no_sense_is_refused_in_one_line(lines: str, named: str | None) -> None:
    """By key and value; a file that is no TOML has neither."""
    with pytest.raises(BadInput) as refused:
        parse_study(BASE + lines, "my.toml")
    error = refused.value
    assert str(error.source) == "my.toml" or "none.h5" in str(error.source)
    assert error.accepted
    assert (error.key is None) == (named is None)
    assert (named or "") in f"{error.key} = {error.value!r}"
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("", "study", None),
        ("[study]\nseed = 3\n[specimen]\nkind = 'nanocubes'", "study.name", None),
        ("study = 3", "study", 3),
        ("axes = [3]\n" + BASE, "axes", [3]),
        ('[study]\nname = "t"\n[specimen]\nsize = 16', "specimen.kind", None),
        (BASE.replace("16", "4"), "specimen.size", 4),
        (BASE.replace("nanocubes", "cubes"), "specimen.kind", "cubes"),
        (BASE.replace('"t"', '""'), "study.name", ""),
        (BASE.replace("kind", "knd"), "specimen.knd", "nanocubes"),
        (BASE.replace('"t"', '"t"\nseed = -1'), "study.seed", -1),
    ],
)
def test_what_must_be_there_is_named(text: str, key: str, value: object) -> None:
    with pytest.raises(BadInput) as refused:
        parse_study(text, "s.toml")
    assert (refused.value.source, refused.value.key, refused.value.value) == ("s.toml", key, value)
    assert refused.value.accepted


def test_axes_below_each_other_are_refused() -> None:
    base = BASE + "[acquisition]\nchemical_snr = { Co = 2, Cu = 2, O = 2, Au = 2 }\n"
    axes = ('"acquisition.chemical_snr" = [3]', '"acquisition.chemical_snr.Au" = [3]')
    with pytest.raises(BadInput) as refused:
        with_axes(*axes, base=base)
    assert refused.value.key == "axes.acquisition.chemical_snr.Au"


def test_too_many_cells_are_refused_before_they_are_made() -> None:
    many = list(range(1, 1001))
    axes = [f'"acquisition.{key}" = {many}' for key in ("haadf_tilts", "chemical_tilts")]
    with pytest.raises(BadInput) as refused:
        with_axes(*axes)
    assert (refused.value.key, refused.value.value) == ("axes", 1000**2)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_unreadable_study_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "study.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        load_study(path)
    assert refused.value.source == path


def test_a_volume_is_found_beside_the_study(tmp_path: Path) -> None:
    save_specimen(tmp_path / "mine.h5", make_specimen("nanocubes", 8, 0))
    (tmp_path / "study.toml").write_text('[study]\nname = "t"\n[specimen]\nkind = "mine.h5"\n')
    study = load_study(tmp_path / "study.toml")
    assert study.specimen.kind == str(tmp_path / "mine.h5")
    assert parse_study(study.toml()) == study


def test_a_volume_is_known_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_specimen(tmp_path / f"{name}.h5", make_specimen("nanocubes", 8, seed))
    conditions = [
        parse_study(BASE.replace("nanocubes", str(tmp_path / f"{name}.h5"))).condition()
        for name in "abc"
    ]
    (tmp_path / "copy.h5").write_bytes((tmp_path / "a.h5").read_bytes())
    copy = parse_study(BASE.replace("nanocubes", str(tmp_path / "copy.h5"))).condition()
    assert copy == conditions[0]
    assert conditions[0] != conditions[2]


def test_an_axis_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    save_specimen(tmp_path / "mine.h5", make_specimen("nanocubes", 8, 0))
    base = BASE.replace("nanocubes", str(tmp_path / "mine.h5"))
    with pytest.raises(BadInput) as refused:
        with_axes('"specimen.size" = [16, 32]', base=base)
    assert (refused.value.key, refused.value.value) == ("axes", {"specimen.size": 32})


def test_noise_belongs_to_the_condition_alone() -> None:
    def seeds(study: Study) -> dict[frozenset[object], int]:
        return {frozenset(c.values): study.at(c).noise_seed() for c in study.cells()}

    forward, backward = seeds(with_axes(HAADF, CHEMICAL)), seeds(with_axes(CHEMICAL, HAADF))
    assert forward == backward
    assert len(set(forward.values())) == 6
    gamma = with_axes('"solver.gamma" = [1.5, 2.0]')
    assert len(set(seeds(gamma).values())) == 1
    assert all(0 <= seed < 2**63 for seed in forward.values())


def test_laws_share_noise_but_no_search_and_no_trial() -> None:
    study = with_axes('"solver.contrast" = ["power", "linear"]')
    assert len({study.at(cell).noise_seed() for cell in study.cells()}) == 1
    identities, proposals = set(), set()
    for cell in study.cells():
        identities.add(study.trial(cell, Method.FUSED, 0, Weights(0.02, 1.0)).trial_id)
        search = Search(study.at(cell), cell, Method.FUSED)
        search.next_trial()  # the default weights, whatever the seed
        proposals.add(search.next_trial().weights)
    assert len(identities) == len(proposals) == 2
    simulated = with_axes('"acquisition.contrast" = ["power", "linear"]')
    assert len({simulated.at(cell).noise_seed() for cell in simulated.cells()}) == 2


def test_an_exponent_is_searched_where_haadf_is() -> None:
    study = parse_study(BASE + "[search]\nspace = { gamma = [1.5, 2.0] }")
    assert parse_study(study.toml()) == study
    space = study.search.space
    assert list(space.of(Method.FUSED)) == ["haadf", "tv", "gamma"]
    assert list(space.of(Method.CHEMISTRY_TV)) == ["tv"]
    cell = study.cells()[0]
    weights = weights_named({"haadf": 0.1, "tv": 1.0, "gamma": 1.7})
    fused, other = (study.trial(cell, m, 0, weights) for m in (Method.FUSED, Method.CHEMISTRY_TV))
    assert (study.solver_of(fused).gamma, study.solver_of(other).gamma) == (1.7, 2.0)
    assert fused.weights_record() == {"haadf": 0.1, "tv": 1.0, "gamma": 1.7}
    assert other.weights_record() == {"tv": 1.0}
    plain = study.trial(cell, Method.FUSED, 0, Weights(0.1, 1.0))
    assert plain.trial_id != fused.trial_id
    assert plain.trial_id == parse_study(BASE).trial(cell, Method.FUSED, 0, plain.weights).trial_id


def test_a_score_that_the_specimen_cannot_have_is_refused(tmp_path: Path) -> None:
    save_volumes(tmp_path / "gold.h5", np.ones((1, 4, 4, 4), np.float32), ("Au",), 1.0)
    text = '[study]\nname = "t"\n[specimen]\nkind = "gold.h5"\n[search]\nscore = "stoichiometry"\n'
    with pytest.raises(BadInput) as refused:
        parse_study(text, "my.toml", tmp_path)
    assert (refused.value.key, refused.value.value) == ("search.score", "stoichiometry")
    assert "totals" in str(refused.value.accepted)


def test_a_trial_is_what_decides_its_result_and_not_its_number() -> None:
    study = with_axes(HAADF)
    first, second = study.cells()[:2]
    weights = Weights(0.02, 1.0)
    known = study.trial(first, Method.FUSED, 0, weights).trial_id
    assert study.trial(first, Method.FUSED, 5, weights).trial_id == known
    others = [
        study.trial(second, Method.FUSED, 0, weights),
        study.trial(first, Method.CHEMISTRY_TV, 0, weights),
        study.trial(first, Method.FUSED, 0, Weights(0.02, 1.1)),
        with_axes(HAADF, base=BASE + "[solver]\ngamma = 1.7\n").trial(
            first, Method.FUSED, 0, weights
        ),
    ]
    assert len({known, *(trial.trial_id for trial in others)}) == 5
    unused = [study.trial(first, Method.CHEMISTRY_TV, 0, Weights(h, 1.0)) for h in (0.0, 0.5)]
    assert unused[0].trial_id == unused[1].trial_id


def test_a_study_survives_being_written_and_read() -> None:
    base = BASE + "[acquisition]\nchemical_snr = { Co = 2, Cu = 2, O = 2.5, Au = 1.96 }\n"
    study = with_axes(HAADF, '"solver.tolerance" = [1e-5, 0.1]', base=base)
    again = parse_study(study.toml())
    assert again == study
    assert again.study_hash() == study.study_hash()
    assert [c.values for c in again.cells()] == [c.values for c in study.cells()]


scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
names = st.text(st.characters(exclude_categories=["Cs"]))
values = st.one_of(scalars, st.lists(scalars), st.dictionaries(names, scalars))


@given(st.dictionaries(names, st.dictionaries(names, values)))
def test_whatever_is_written_as_toml_reads_back_equal(tables: dict[str, dict[str, object]]) -> None:
    assert tomllib.loads(toml_text(tables)) == tables


def test_a_study_whose_dose_is_swept_reads_back_equal() -> None:
    study = parse_study(
        """[study]\nname = "doses"\n[specimen]\nkind = "nanocubes"\n[acquisition]\n"""
        """counts_per_electron = { HAADF = 0.1, Co = 1e-4, Cu = 1e-4, O = 1e-4, Au = 1e-4 }\n"""
        """[axes]\n"acquisition.dose_e_per_A2" = [100.0, 1000.0]\n"""
    )
    assert parse_study(study.toml()) == study


def test_toml_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        toml_text({"a": {"b": None}})


def test_budgets_follow_the_methods() -> None:
    search = parse_study(SMALL).search
    assert {m: search.budget(m) for m in Method} == {
        Method.FUSED: 6, Method.CHEMISTRY_TV: 4, Method.ML: 1, Method.ML_STOPPED: 1,
    }  # fmt: skip
    assert search.space.of(Method.ML) == {}
    assert list(search.space.of(Method.CHEMISTRY_TV)) == ["tv"]


def test_faults_and_tilt_schemes_are_axes_of_the_condition() -> None:
    study = with_axes(
        '"disturbances.film" = [0, 0.1]',
        '"acquisition.tilt_scheme" = ["equal-angle", "saxton"]',
        '"acquisition.tilt_range_deg.1" = [50.0, 70.0]',
    )
    ats = [study.at(cell) for cell in study.cells()]
    assert [at.disturbances.film for at in ats] == [0.0] * 4 + [0.1] * 4
    assert ats[-1].acquisition.tilt_range_deg == (-70.0, 70.0)
    assert ats[0].acquisition.tilt_range_deg == (-70.0, 50.0)
    assert len({at.noise_seed() for at in ats}) == 8
    assert parse_study(study.toml()) == study


def test_what_is_off_is_no_part_of_a_condition() -> None:
    off = '[acquisition]\ntilt_scheme = "equal-angle"\n[disturbances]\nfilm = 0.0\nhot_level = 10'
    assert parse_study(BASE + off).condition() == parse_study(BASE).condition()
    on = parse_study(f"{BASE}[disturbances]\nfilm = 0.1")
    assert on.condition()["disturbances"] == {"film": 0.1}
    assert on.study_hash() != parse_study(BASE).study_hash()


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        ("[disturbances]\nfilms = 0.1", "disturbances.films", 0.1),
        ("[disturbances]\nfilm = -0.1", "disturbances.film", -0.1),
        ("[disturbances]\ndamping = 1.0", "disturbances.damping", 1.0),
        ("[disturbances]\ndamaged = 'Pt'", "disturbances.damaged", "Pt"),
        ("[axes]\n'disturbances.damage' = [0, 2]", "axes.disturbances.damage", 2),
        ("[acquisition]\ntilt_scheme = 'dual-axis'", "acquisition.tilt_scheme", "dual-axis"),
        (
            "[acquisition]\nchemical_subset = true\nhaadf_tilts = 5",
            "acquisition.chemical_subset",
            True,
        ),
        (
            "[axes]\n'acquisition.tilt_range_deg.2' = [50]",
            "axes.acquisition.tilt_range_deg.2",
            [50],
        ),
        ("[axes]\n'acquisition.tilt_range_deg.1' = [99]", "acquisition.tilt_range_deg", None),
    ],
)
def test_faults_and_schemes_that_cannot_be_are_named(lines: str, key: str, value: object) -> None:
    with pytest.raises(BadInput) as caught:
        parse_study(BASE + lines)
    assert caught.value.key == key
    assert value is None or caught.value.value == value
    assert caught.value.accepted


def test_a_byte_order_mark_and_line_ends_of_another_system_change_nothing(tmp_path: Path) -> None:
    text = '[study]\nname = "Größe"\n[specimen]\nkind = "nanocubes"\nsize = 16\n'
    plain, marked = tmp_path / "plain.toml", tmp_path / "marked.toml"
    plain.write_text(text, encoding="utf-8")
    marked.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert load_study(marked) == load_study(plain)


ROD = """[study]
name = "rod"
[specimen]
kind = "build"
field_nm = 80.0
[specimen.bodies.rod]
shape = "rod"
material = "Pd"
length_nm = 60.0
"""


@pytest.mark.parametrize(
    ("more", "meant", "accepted"),
    [
        ("radius_nm = 10.0", "diameter_nm", "diameter_nm"),
        ("diameter_nm = 9.0\n[acquisition.microscope]\nvoltage = 300", "voltage_kV", "signal"),
        (
            'diameter_nm = 9.0\n[axes]\n"acquisition.hadf_tilts" = [9]',
            "acquisition.haadf_tilts",
            "acquisition.tilt_scheme",
        ),
    ],
)
def test_a_mistaken_key_is_led_to_the_one_that_is_meant(
    more: str, meant: str, accepted: str
) -> None:
    with pytest.raises(BadInput) as refused:
        parse_study(ROD + more)
    assert f"did you mean {meant}?" in refused.value.problem
    names = str(refused.value.accepted).split(", ")
    assert accepted in names
    assert len(names) <= 40
