"""Plans from a law that is known, in place of trials."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tomoatlas.analysis.atlas import Atlas
from tomoatlas.analysis.figures.plan import plan_figure
from tomoatlas.analysis.plan import SEEDS, WIDEST_DEG, Limits, planned
from tomoatlas.analysis.plan_atlas import from_atlas
from tomoatlas.analysis.plan_page import write_plan
from tomoatlas.analysis.surface import Choice, Surface, interval
from tomoatlas.jobs import plan as plans
from tomoatlas.jobs.cli import main
from tomoatlas.jobs.commands.plan import plan_facts, plan_text
from tomoatlas.jobs.plan import study_of
from tomoatlas.recon_core.errors import BadInput, Trouble
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.study import Task
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus

SCATTER, DOSE, ALONE = 0.03, 1e4, 1.4
BEST_MAPS, BEST_IMAGES = 8, 31
KEYS = {"haadf_tilts", "chemical_tilts", "haadf", "tv", "nrmse", "nrmse_low", "nrmse_high"}
KEYS |= {"dose_e_per_A2", "cheapest_change", "assumed"}


def law(dose: float, maps: int, images: int) -> float:
    """A valley over maps and images, the deeper the higher the dose."""
    off = 0.2 * math.log(maps / BEST_MAPS) ** 2 + 0.1 * math.log(max(images, 1) / BEST_IMAGES) ** 2
    return 0.2 * (dose / DOSE) ** -0.2 * math.exp(off)


def by_law(tasks: Sequence[Task]) -> list[TrialResult]:
    found = []
    for study, trial in tasks:
        plan = study.acquisition
        assert plan.dose_e_per_A2 is not None
        alone = trial.method is Method.CHEMISTRY_TV
        assert alone == (plan.haadf_tilts == 0)
        images = BEST_IMAGES if alone else plan.haadf_tilts
        rng = np.random.default_rng(study.noise_seed())
        nrmse = law(plan.dose_e_per_A2, plan.chemical_tilts, images) * (ALONE if alone else 1.0)
        nrmse *= (80.0 / plan.tilt_range_deg[1]) ** 0.5 * math.exp(SCATTER * rng.normal())
        elements = dict.fromkeys(("O", "Mn", "Co"), nrmse)
        found.append(TrialResult(TrialStatus.OK, nrmse=nrmse, nrmse_by_element=elements))
    return found


@pytest.fixture(scope="module")
def found():
    return planned(study_of("co3o4-mn3o4", DOSE, {}, 16), Limits(), by_law)


def test_the_valley_is_found_and_its_depth(found):
    assert BEST_MAPS / 1.6 <= found.choice.maps <= BEST_MAPS * 1.6
    assert BEST_IMAGES / 2 <= found.choice.images <= BEST_IMAGES * 2
    depth = law(DOSE, found.choice.maps, found.choice.images) * (80 / 70) ** 0.5
    assert found.expected.low < depth < found.expected.high
    assert found.expected.high / found.expected.low < 1.25
    assert found.chemistry_alone == pytest.approx(ALONE * 0.97, rel=0.1)


def test_more_dose_is_more_accurate_and_the_best_change_comes_first(found):
    doses, nrmse = np.array(found.front).T
    assert (np.diff(doses) > 0).all()
    assert (np.diff(nrmse) < 0).all()
    factors = [change.factor for change in found.changes]
    assert factors == sorted(factors)
    doubled = next(change.factor for change in found.changes if "dose" in change.what)
    assert doubled == pytest.approx(2**-0.2, rel=0.05)


def test_facts_are_those_of_the_design_and_the_figure_is_drawn(found):
    facts = plan_facts(found)
    assert set(json.loads(json.dumps(facts))) >= KEYS
    assert str(facts["chemical_tilts"]) in plan_text(facts)
    contours, front = plan_figure(found).axes[:2]
    assert contours.get_xlabel() == front.get_xlabel()


@pytest.mark.parametrize(("target", "reached"), [(0.2, True), (0.05, False)])
def test_a_target_is_reached_with_less_dose_or_said_to_be_out_of_reach(target, reached):
    plan = planned(study_of("co3o4-mn3o4", 4 * DOSE, {}, 16), Limits(target), by_law)
    assert plan.reached is reached
    assert (plan.choice.dose < 4 * DOSE) is reached


def test_limits_are_kept():
    study = study_of("co3o4-mn3o4", DOSE, {"tilt_range_deg": [-80.0, 80.0]}, 16)
    plan = planned(study, Limits(max_tilts=20, elements=("Co",)), by_law)
    assert plan.choice.maps + plan.choice.images <= 20
    assert list(plan.by_element) == ["Co"]
    assert max(study.acquisition.tilt_range_deg) == WIDEST_DEG


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        (Limits(max_tilts=5), "--max-tilts"),
        (Limits(max_hours=0.01), "--max-hours"),
        (Limits(max_hours=0.5), "--max-hours"),
        (Limits(target_nrmse=-1.0), "--target-nrmse"),
        (Limits(target_nrmse=20.0), "--target-nrmse"),
        (Limits(elements=("Xe",)), "--elements"),
    ],
)
def test_what_cannot_be_asked(limits, key):
    with pytest.raises(BadInput) as caught:
        planned(study_of("co3o4-mn3o4", DOSE, {}, 16), limits, nothing_runs)
    assert caught.value.key == key


def nothing_runs(tasks: Sequence[Task]) -> list[TrialResult]:
    raise AssertionError(f"{len(tasks)} trials of a question that cannot be answered")


def test_a_target_that_needs_too_long_is_out_of_reach_with_what_there_is_time_for():
    study = study_of("co3o4-mn3o4", 1e6, {}, 16)
    unhurried = planned(study, Limits(0.001), by_law)
    hours = 0.7 * unhurried.hours
    plan = planned(study, Limits(0.001, max_hours=hours), by_law)
    assert plan.hours <= hours
    assert plan.choice.dose < unhurried.choice.dose
    assert plan.reached is False


def test_maps_at_haadf_tilts_are_no_more_than_those():
    study = study_of("co3o4-mn3o4", DOSE, {"chemical_subset": True}, 16)
    plan = planned(study, Limits(), by_law)
    assert plan.choice.maps <= plan.choice.images
    assert plan.chemistry_alone == pytest.approx(ALONE * 0.97, rel=0.1)


def test_a_surface_needs_results():
    with pytest.raises(Trouble):
        Surface.fitted([Choice(1.0, 5, 9, 0.1)] * 3, np.full(3, np.nan))
    with pytest.raises(Trouble):
        interval(np.array([0.3, np.nan]))


def test_an_interval_holds_the_next_repetition() -> None:
    rng = np.random.default_rng(0)
    made = np.exp(SCATTER * rng.normal(size=(400, SEEDS + 1)))
    inside = [
        found.low <= row[-1] <= found.high
        for row, found in ((row, interval(row[:-1])) for row in made)
    ]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)


def test_an_atlas_is_read_without_trials() -> None:
    plan = from_atlas("fig4_nanocubes_64", Limits(target_nrmse=0.05, max_tilts=60))
    assert plan.images + plan.maps <= 60
    assert plan.expected.low <= plan.expected.nrmse <= plan.expected.high
    assert plan.reached is False
    with pytest.raises(BadInput) as caught:
        from_atlas("fig4_nanocubes_64", Limits(), dose=1e4)
    assert caught.value.key == "--dose"


@pytest.mark.parametrize("dose", [0.0, -1.0, math.inf, math.nan])
def test_a_dose_that_is_none_is_refused_of_an_atlas_of_doses(dose: float) -> None:
    held = {"acquisition": {"dose_e_per_A2": 1e4}}
    table = pd.DataFrame({"acquisition.dose_e_per_A2": [1e4, 1e5], "nrmse": [0.4, 0.3]})
    with pytest.raises(BadInput) as caught:
        from_atlas(Atlas(table, ("acquisition.dose_e_per_A2",), held), Limits(), dose)
    assert caught.value.key == "--dose"


@pytest.mark.parametrize("limit", ["target_nrmse", "max_tilts", "max_hours", "current_pA"])
def test_a_limit_of_nothing_is_refused_of_an_atlas_too(limit: str) -> None:
    with pytest.raises(BadInput) as caught:
        from_atlas("fig4_nanocubes_64", Limits(**{limit: 0}))
    assert caught.value.key == f"--{limit.removesuffix('_pA').replace('_', '-')}"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--workers", "2"),
        ("--size", "0"),
        ("--elements", "Au"),
        ("--current", "50.0"),
        ("--device", "cpu"),
        ("--figure", "plan.png"),
        ("--page", "p.html"),
    ],
)
def test_what_is_for_trials_is_refused_beside_an_atlas(option: str, value: str, capsys) -> None:
    assert main(["plan", "--atlas", "fig4_nanocubes_64", option, value]) == 2
    told = capsys.readouterr().err
    assert option in told
    assert value in told


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--dose", "0.0"),
        ("--dose", "nan"),
        ("--dose", "1e-12"),
        ("--size", "3"),
        ("--tilt-range", "70.0 -70.0"),
        ("--current", "0.0"),
        ("--elements", "Xe"),
        ("--elements", ","),
        ("--max-hours", "0.01"),
        ("--target-nrmse", "20.0"),
    ],
)
def test_a_wrong_option_is_named_before_anything_starts(
    option: str, value: str, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(plans, "executor_of", None)
    asked = ["plan", "--specimen", "co3o4-mn3o4", "--dose", "1e4", option, *value.split()]
    assert main(asked) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"{option} = ")
    assert "accepted" in told


def test_the_page_holds_answer_channels_and_front(found, tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.html", found, "Take <these>.")
    text = (tmp_path / "plan.html").read_text(encoding="utf-8")
    assert "Take &lt;these&gt;." in text
    assert "e/Å²" not in text.replace("\u2060", "|"), "a line may not end within the unit"
    assert text.count("<tr>") == 3 + 2 + len(found.by_element) + len(found.front) + len(
        found.changes
    )
    assert f"<td>{found.expected.nrmse:.3f}</td>" in text
    assert all(f"{nrmse:.3f}" in text for _, nrmse in found.front)
    assert "http:" not in text, "it loads nothing"


def test_the_command_prints_what_it_found(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(plans, "_evaluator", lambda executor, on_result: by_law)
    picture = tmp_path / "plan.png"
    asked = ["plan", "--specimen", "co3o4-mn3o4", "--size", "16", "--workers", "1"]
    written = ["--figure", str(picture), "--page", str(tmp_path / "plan.html")]
    assert main([*asked, "--dose", "1e4", "--json", *written]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) >= KEYS
    assert picture.stat().st_size > 0
    assert f"Take {facts['haadf_tilts']} HAADF images" in (tmp_path / "plan.html").read_text()
    assert main(asked) == 2
    assert main([*asked, "--atlas", "fig4_nanocubes_64"]) == 2
    # Nothing starts for a picture that could not be written.
    monkeypatch.setattr(plans, "executor_of", None)
    assert main([*asked, "--dose", "1e4", "--figure", str(tmp_path / "plan.txt")]) == 2


def test_the_sentence_says_what_lies_at_the_edge_of_what_was_tried(found) -> None:
    edged = replace(found, edges=("maps are the fewest", "HAADF's share is the lowest"))
    said = "Of what was tried, maps are the fewest and HAADF's share is the lowest."
    assert said in plan_text(plan_facts(edged))
    three = replace(found, edges=("the dose is the highest", *edged.edges))
    said = said.replace("tried,", "tried, the dose is the highest,")
    assert said in plan_text(plan_facts(three))
    assert "Of what was tried" not in plan_text(plan_facts(replace(found, edges=())))
