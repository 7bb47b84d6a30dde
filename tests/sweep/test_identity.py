"""What was run once stays what it was: identities, seeds and folders outlast new keys."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import BaseModel, create_model
from sweep_fakes import SMALL, read_records

from tomoatlas.jobs import load_study, shipped_names
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.disturbances import Disturbances
from tomoatlas.phantoms.formats import save_specimen
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.record import StudyFolder
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.run.scheduler import Scheduler
from tomoatlas.sweep.search import Search, start
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.identity import (
    EDITIONS,
    LATER,
    UNHASHED,
    digest,
    identifying,
    newest_defaults,
)
from tomoatlas.sweep.study.tables import SearchSettings, SearchSpace, SpecimenTable, StudyTable
from tomoatlas.sweep.study.trial import Trial, TrialResult, is_final

ATLASES = sorted((Path(__file__).parents[2] / "analysis" / "atlases").glob("*/trials.jsonl"))

_KEYS = {
    "study": "name seed",
    "specimen": "kind size seed",
    "acquisition": "tilt_range_deg haadf_tilts chemical_tilts haadf_snr chemical_snr background "
    "gamma oversample",
    "solver": "gamma tolerance max_iterations chemistry",
    "search": "trials initial chemistry_tv_trials lag methods surrogate space.haadf space.tv",
}
RELEASE = {f"{table}.{key}" for table, keys in _KEYS.items() for key in keys.split()} | {"axes"}
"""The hashed keys of the release of 2026-11-22. Nothing is ever added here."""


class Golden(NamedTuple):
    """What a study of the release identifies: all of it, its trials, its noise, its proposals."""

    study: str
    trials: str
    noise: str
    first_noise: int
    proposal: tuple[float, float]


GOLDEN = {
    "nanocubes_64_seeds": Golden(
        "64fb915f6a765b32",
        "a7fd7e7189c2fde5",
        "3076fc445e5953e5",
        2483773201247270699,
        (2.63219, 1.10201),
    ),
    "composite_64_seeds": Golden(
        "b68b4762478ea633",
        "686103b08ba965bb",
        "3cb285ca2901da13",
        3918671840963721504,
        (0.0292924, 3.02045),
    ),
    "snr_64_seeds": Golden(
        "7f2ea88a751d5dcf",
        "1cbfcbcc0095a221",
        "96eacd3146f80614",
        626683393905633401,
        (0.121999, 1.88033),
    ),
    "nanocubes_128": Golden(
        "d9e5594e8555f92f",
        "731f2cdc03632c08",
        "5f273098b53191ed",
        1479217986033090977,
        (0.806879, 0.635644),
    ),
    "composite_128": Golden(
        "48e8290f2d5c681b",
        "5fad381318d9fef4",
        "62ff27f3fd792fca",
        1205526042317882655,
        (1.81375, 0.493023),
    ),
    "nanocubes_256": Golden(
        "d7c10329d1004aad",
        "e0f94d15b0dd17a3",
        "067503fbbb5d927b",
        296710812420688990,
        (0.0191725, 2.86196),
    ),
    "composite_256": Golden(
        "55a5fccc52c11b07",
        "8bdb58a4eca37f2d",
        "480091a70adaf6b8",
        7275668069818129171,
        (0.0166395, 2.28728),
    ),
    "composite_64": Golden(
        "f1f2b2e991486a18",
        "52ca0d68d15d7d54",
        "5d62dffb72ac67ce",
        7641213883491195489,
        (0.444629, 1.41193),
    ),
    "fig4_nanocubes": Golden(
        "e2406d0b70ca1168",
        "33090c245ba9bd6a",
        "bae2320b0b0865ca",
        8145906661746737890,
        (0.00790759, 3.29967),
    ),
    "fig4_nanocubes_128": Golden(
        "1ed8d3d5468dd213",
        "7ea60b45c760ca03",
        "eaa5f878a4b23e90",
        2000768181773690059,
        (0.0130509, 1.81246),
    ),
    "fig4_nanocubes_64": Golden(
        "766a0f84a6c51ee1",
        "ea04d624edbde6fe",
        "c79b84fec064c5ee",
        960068339916224743,
        (0.00114864, 0.156937),
    ),
    "figs10_composite": Golden(
        "f20ba756140ac4c9",
        "bf195714fb0528ea",
        "c8117f88dc4794e1",
        3146289245276462549,
        (0.00357202, 0.532174),
    ),
    "figs21_snr": Golden(
        "d43d06e3d4f4b1c2",
        "d6a4193412deb4a2",
        "ae7799dcf4c7bbff",
        950926084455807221,
        (0.0214846, 0.804433),
    ),
    "nanocubes_64": Golden(
        "a49a87a458c0011d",
        "9f6260aff1637b93",
        "c79b84fec064c5ee",
        960068339916224743,
        (1.99051, 0.31917),
    ),
    "quickstart": Golden(
        "21b20dc7e18a0e82",
        "e3f47200e8f268eb",
        "4290462a56d5fd9c",
        9097929122237708749,
        (0.108719, 0.15812),
    ),
    "snr_64": Golden(
        "e28a0d6fb86890a9",
        "3a47c693049283ee",
        "ff9045f6872947d8",
        638530352758954153,
        (0.0256947, 1.33223),
    ),
    "fixed_dose": Golden(
        "75da89580b68c3ea",
        "915d772435e32d3b",
        "dae97058f05d0bfd",
        2018177247502442110,
        (0.941782, 3.93438),
    ),
    "fixed_dose_64": Golden(
        "098d9bdfedd1ece0",
        "2a693ed9366f956b",
        "ae11ce3d8c4b4572",
        6349877229024142070,
        (8.64734, 0.442312),
    ),
}


def identified(study: Study) -> Golden:
    """What ``study`` identifies, at one pair of weights in every cell."""
    cells, weights = study.cells(), Weights(0.02, 1.0)
    noise = [study.at(cell).noise_seed() for cell in cells]
    trials = [study.trial(c, m, 0, weights).trial_id for c in cells for m in Method]
    search = Search(study.at(cells[0]), cells[0], Method.FUSED)
    search.next_trial()  # the default weights, whatever the seed
    second = search.next_trial().weights
    return Golden(
        study.study_hash()[:16],
        digest(trials)[:16],
        digest(noise)[:16],
        noise[0],
        (second.haadf, second.tv),
    )


def fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, object]]:
    """Dotted key and default, as JSON has it, of every value of a table and those below it."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{above}{name}.")
        else:
            yield f"{above}{name}", info.get_default(call_default_factory=True)


@pytest.fixture
def one_more_key(monkeypatch: pytest.MonkeyPatch) -> type[Study]:
    """A later version: a key in every table and a table of its own, neutral at 1.5."""
    sections = {
        "solver": SolverSettings,
        "acquisition": Acquisition,
        "disturbances": Disturbances,
        "search": SearchSettings,
    }
    space = create_model("Space", __base__=SearchSpace, later=(float, 1.5))
    extra = {"search": {"space": (space, space())}}
    tables = {
        name: create_model(name, __base__=base, later=(float, 1.5), **extra.get(name, {}))
        for name, base in sections.items()
    }
    tables["beside"] = create_model("beside", later=(float, 1.5))
    needed = {
        name: create_model(name, __base__=base, later=(float, 1.5))
        for name, base in {"study": StudyTable, "specimen": SpecimenTable}.items()
    }
    given = {name: (table, table()) for name, table in tables.items()}
    given |= {name: (table, ...) for name, table in needed.items()}
    later = create_model("LaterStudy", __base__=Study, **given)
    for name in (*tables, *needed, "search.space"):
        monkeypatch.setitem(LATER, f"{name}.later", 1.5)
    monkeypatch.setattr("tomoatlas.sweep.study.Study", later)
    # An atlas that a search begins with is kept as it was read: by the version of today.
    monkeypatch.setattr(start, "_trials", start._trials.__wrapped__)
    return later


def test_every_key_is_of_the_release_or_has_a_neutral_value() -> None:
    now = {key: default for key, default in fields(Study) if not key.startswith("limits.")}
    new = now.keys() - RELEASE - UNHASHED - LATER.keys()
    remedy = (
        "add to LATER, in sweep/study/identity.py, the value that leaves old results as they are"
    )
    assert not new, f"{sorted(new)}: {remedy}"
    assert now.keys() >= RELEASE, "an identity needs every key of the release"


def test_a_later_key_is_neutral_by_default() -> None:
    defaults = dict(fields(Study))
    wrong = {key: LATER[key] for key in LATER if key in defaults and defaults[key] != LATER[key]}
    assert not wrong, "a better default belongs in EDITIONS, in sweep/study/identity.py"
    assert not LATER.keys() & RELEASE


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_studies_keep_their_identities_and_seeds(name: str) -> None:
    assert identified(load_study(name)) == GOLDEN[name]


@pytest.mark.parametrize("name", shipped_names())
@pytest.mark.usefixtures("one_more_key")
def test_they_keep_them_when_every_table_gets_a_key(name: str) -> None:
    study = load_study(name)
    assert "later" in study.tables()["acquisition"]
    assert identified(study) == GOLDEN[name]


def never(study: Study, trial: Trial) -> TrialResult:
    """An evaluation that must not be."""
    raise AssertionError(trial)


@pytest.mark.parametrize("journal", ATLASES, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("more", [False, True], ids=["today", "one more key"])
def test_a_committed_atlas_resumes_with_nothing_to_do(
    journal: Path, more: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if more:
        request.getfixturevalue("one_more_key")
    committed = StudyFolder(journal.parent)
    study, records = committed.study(), read_records(journal)
    cells = {cell.values: cell for cell in study.cells()}
    for record in records:
        cell, method = cells[tuple(record["cell"].items())], Method(record["method"])
        trial = study.trial(cell, method, record["number"], Weights(**record["weights"]))
        assert trial.trial_id == record["trial_id"]
    scheduler = Scheduler(study, records)
    # A search over many cells learns that it has ended when it is asked for a trial, as by a run.
    left = scheduler.make()
    assert scheduler.done == sum(map(is_final, records))
    assert not left
    assert scheduler.finished
    for path in (committed.study_file, committed.journal_file):
        shutil.copy(path, tmp_path)
    summary = run(load_study(journal.parent.name), tmp_path, InlineExecutor(never))
    trials = sum(map(is_final, records))  # an attempt that was retried is none
    assert summary.done == summary.total == summary.resumed == trials
    assert (tmp_path / "trials.jsonl").read_bytes() == journal.read_bytes()


def changed(key: str, value: float) -> set[str]:
    """What of an identity another value of a later key changes."""
    table = key.rpartition(".")[0]
    lines = f"later = {value}\n"
    sections = {"study": "[study]\n", "specimen": "[specimen]\n", "search": "[search]\n"}
    if table in sections:
        text = SMALL.replace(sections[table], sections[table] + lines)
    else:
        text = SMALL.replace("[axes]", f"[{table}]\n{lines}[axes]")
    now, before = identified(parse_study(text)), identified(parse_study(SMALL))
    return {n for n, a, b in zip(Golden._fields, now, before, strict=True) if a != b}


EVERYTHING = set(Golden._fields)


@pytest.mark.usefixtures("one_more_key")
@pytest.mark.parametrize(
    ("key", "moved"),
    [
        ("acquisition.later", EVERYTHING),
        ("specimen.later", EVERYTHING),
        ("solver.later", {"study", "trials", "proposal"}),
        ("search.later", {"study"}),
        ("search.space.later", {"study"}),
        ("study.later", {"study"}),
        ("disturbances.later", EVERYTHING),
        ("beside.later", {"study"}),
    ],
)
def test_another_value_of_a_later_key_identifies_something_else(key: str, moved: set[str]) -> None:
    assert changed(key, 1.5) == set()
    assert changed(key, 2.0) == moved


@pytest.mark.usefixtures("one_more_key")
@pytest.mark.parametrize("table", ["acquisition", "disturbances", "solver", "specimen"])
def test_a_later_key_may_be_an_axis(table: str) -> None:
    plain = parse_study(SMALL)
    swept = parse_study(SMALL + f'"{table}.later" = [1, 1.5, 2]\n')
    weights = Weights(0.02, 1.0)
    ids = [swept.trial(cell, Method.FUSED, 0, weights).trial_id for cell in swept.cells()]
    assert len(set(ids)) == len(ids) == 6
    known = [plain.trial(cell, Method.FUSED, 0, weights).trial_id for cell in plain.cells()]
    assert ids[1::3] == known


@pytest.mark.usefixtures("one_more_key")
def test_a_volume_is_its_bytes_and_what_a_later_key_makes_of_them(tmp_path: Path) -> None:
    save_specimen(tmp_path / "mine.h5", make_specimen("nanocubes", 8, 0))
    text = SMALL.replace("nanocubes", str(tmp_path / "mine.h5"))
    plain, later = parse_study(text), parse_study(text.replace("size = 16", "later = 2.0"))
    neutral = parse_study(text.replace("size = 16", "later = 1.5"))
    assert plain.condition() == neutral.condition()
    assert plain.condition()["specimen"].keys() == {"volume"}
    assert plain.noise_seed() != later.noise_seed()


def test_an_old_folder_goes_on_under_a_later_version_that_changes_nothing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    old = StudyFolder(tmp_path / "run")
    with old.open_or_create(parse_study(SMALL)):
        old.keep(parse_study(SMALL))
    request.getfixturevalue("one_more_key")
    with old.open_or_create(parse_study(SMALL)):
        pass
    other = parse_study(SMALL.replace("[axes]", "[solver]\nlater = 2.0\n[axes]"))
    with pytest.raises(BadInput) as refused, old.open_or_create(other):
        pass
    assert (refused.value.key, refused.value.value) == ("solver.later", 2.0)


def test_an_unknown_key_is_one_line_with_or_without_later_keys(
    request: pytest.FixtureRequest,
) -> None:
    text = SMALL.replace("[axes]", "[acquisition]\nlater = 2.0\n[axes]")
    with pytest.raises(BadInput) as refused:
        parse_study(text, "my.toml")
    assert (refused.value.key, refused.value.value) == ("acquisition.later", 2.0)
    assert "\n" not in str(refused.value)
    request.getfixturevalue("one_more_key")
    assert parse_study(text).tables()["acquisition"]["later"] == 2.0


def test_only_what_is_neutral_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LATER, "a.inner", {})
    monkeypatch.setitem(LATER, "b.flag", False)
    kept = {"a": {"inner": {"k": 0}, "old": {}}, "b": {"flag": True}, "axes": {}}
    assert identifying(kept) == kept
    assert identifying({"a": {"inner": {}, "old": {}}, "b": {"flag": False}, "axes": {}}) == {
        "a": {"old": {}},
        "axes": {},
    }


SECOND = {"acquisition.oversample": 2, "search.space.tv": [0.2, 4.0], "solver.gamma": 1.75}


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> int:
    """A later edition of the defaults; its number."""
    monkeypatch.setitem(EDITIONS, 99, SECOND)
    return 99


def of_edition(number: int | str, text: str = SMALL) -> Study:
    return parse_study(text.replace("[study]\n", f"[study]\nedition = {number}\n"), "my.toml")


def test_an_edition_is_a_set_of_defaults(second: int) -> None:
    study = of_edition(second)
    assert study.study.edition == second
    assert newest_defaults("solver") == {"gamma": 1.75}
    assert study.acquisition.oversample == 2
    assert study.solver.gamma == 1.75
    assert study.search.space.tv == (0.2, 4.0)
    assert study.search.space.haadf == parse_study(SMALL).search.space.haadf
    assert parse_study(SMALL).acquisition.oversample == 1


def test_what_a_study_says_goes_before_its_edition(second: int) -> None:
    lines = "[solver]\ngamma = 2.0\n[axes]\n'acquisition.oversample' = [1, 2]\n"
    study = of_edition(second, SMALL.replace("[axes]\n", lines))
    assert study.solver.gamma == 2.0
    oversample = [study.at(cell).acquisition.oversample for cell in study.cells()]
    assert oversample == [1, 1, 2, 2]


def test_an_edition_identifies_nothing_but_by_its_values(second: int) -> None:
    spelt = SMALL.replace("[search]\n", "[search]\nspace = { tv = [0.2, 4.0] }\n").replace(
        "[axes]", "[acquisition]\noversample = 2\n[solver]\ngamma = 1.75\n[axes]"
    )
    assert identified(of_edition(second)) == identified(parse_study(spelt))
    assert identified(of_edition(second, spelt)) == identified(parse_study(spelt))
    assert identified(of_edition(second)) != identified(parse_study(SMALL))


def test_a_written_study_states_its_edition_and_all_values(
    second: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = of_edition(second)
    text = study.toml()
    assert parse_study(text) == study
    monkeypatch.setitem(EDITIONS, second, {})
    assert parse_study(text) == study


def test_a_folder_goes_on_in_another_edition_of_the_same_values(
    second: int, tmp_path: Path
) -> None:
    folder = StudyFolder(tmp_path / "run")
    old = parse_study(of_edition(second).toml().replace("edition = 99\n", ""))
    assert old.study.edition == 1
    for study in (old, of_edition(second)):
        with folder.open_or_create(study):
            folder.keep(study)
    assert folder.study() == of_edition(second)
    with pytest.raises(BadInput) as refused, folder.open_or_create(parse_study(SMALL)):
        pass
    assert refused.value.key == "acquisition.oversample"


def test_the_second_edition_is_what_it_was() -> None:
    study = of_edition(2)
    solver, space = study.solver, study.search.space
    assert (solver.contrast, solver.gamma, solver.regulariser) == ("fitted", 1.0, "guided")
    assert (solver.noise, solver.units, solver.background) == ("residual", "noise", "vacuum")
    assert solver.totals
    assert solver.start == "trial"
    assert (study.search.score_digits, study.search.strategy) == (4, "per-cell")
    assert (space.haadf, space.tv, space.gamma) == ((0.01, 10.0), (0.3, 6.0), None)


def test_the_third_edition_starts_at_the_series_and_searches_all_cells_together() -> None:
    second, third = of_edition(2), of_edition(3)
    assert third.solver == second.solver.model_copy(update={"start": "series"})
    # a cell that is searched alone has a lag of its own
    assert third.search == second.search.model_copy(update={"strategy": "contextual", "lag": None})


def test_defaults_that_belong_together_leave_together() -> None:
    other = '[solver]\ncontrast = "power"\nunits = "percentile"\n\n[axes]\n'
    study = of_edition(2, SMALL.replace("[axes]\n", other))
    assert (study.solver.gamma, study.search.space.tv) == (2.0, (0.1, 6.0))
    assert study.search.space.haadf == (0.01, 10.0)


@pytest.mark.parametrize("edition", [0, max(EDITIONS) + 1, -1, 1000])
def test_an_unknown_edition_is_refused(edition: int) -> None:
    with pytest.raises(BadInput) as refused:
        of_edition(edition, SMALL + '"acquisition.not_known_here" = [1]\n')
    error = refused.value
    assert (error.source, error.key, error.value) == ("my.toml", "study.edition", edition)
    assert str(max(EDITIONS)) in str(error.accepted)


@pytest.mark.parametrize("edition", ["true", "'1'", "1.0", "[1]"])
def test_an_edition_is_a_whole_number(edition: str) -> None:
    with pytest.raises(BadInput) as refused:
        of_edition(edition)
    assert refused.value.key == "study.edition"


def test_an_unknown_edition_ends_a_command_with_one_line(
    tmp_path: Path, refusal: Callable[..., BadInput]
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(SMALL.replace("[study]\n", "[study]\nedition = 1000\n"))
    error = refusal("check", path)
    assert (error.source, error.key, error.value) == (path, "study.edition", 1000)
