"""Doses of published experiments, what they yield, and the cross-sections of an estimate."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import DEFAULT_SHARE, Acquisition
from tomoatlas.phantoms.dose import (
    Doses,
    calibrated,
    counts_per_electron,
    dose,
    doses,
    exposed,
    snr_from_dose,
)
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.yields import BOHR_NM, Beam, Microscope, ionisation, rutherford, yields
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.validation import validated
from tomoatlas.sweep.study import parse_study

SPECIMEN = make_specimen("nanocubes", 16)
RATES = {"HAADF": 0.02, "Co": 1e-5, "Cu": 2e-5, "O": 4e-6, "Au": 4e-6}
PLAN = Acquisition(haadf_tilts=5, chemical_tilts=3, dose_e_per_A2=1e3, counts_per_electron=RATES)
BARN_NM2 = 1e-10

STUDY = """
[study]
name = "dose"
[specimen]
kind = "nanocubes"
size = 16
[acquisition]
{}
"""
BY_DOSE = """dose_e_per_A2 = 1e4
counts_per_electron = { HAADF = 0.02, Co = 1e-5, Cu = 2e-5, O = 4e-6, Au = 4e-6 }
"""


def test_snr_is_one_plus_the_counts_of_a_pixel() -> None:
    shared = dose(100, 1e-3, 10, 5.0)
    electrons = 100e-12 * 1e-3 / 1.602176634e-19
    assert snr_from_dose(shared, 10, 5.0, 1e-4) == pytest.approx(1 + 1e-4 * electrons)


@pytest.mark.parametrize(
    "wrong", [(0, 1, 1, 1), (1, -1, 1, 1), (1, 1, 0, 1), (1, 1, 1, float("nan"))]
)
def test_quantities_are_positive(wrong: tuple[float, float, int, float]) -> None:
    at = next(i for i, value in enumerate(wrong) if not value > 0)
    for compute in (dose, snr_from_dose):
        with pytest.raises(BadInput) as caught:
            compute(*wrong)
        assert caught.value.key == list(inspect.signature(compute).parameters)[at]
        assert caught.value.value is wrong[at]


# HAADF and maps of the three systems of Schwartz et al. (2024): tilts, pA, µs, nm, e/Å²
PUBLISHED = (
    (41, 9, 115.0, 24.0, 3000.0, 0.640, 1.724e4, 4.731e5),
    (41, 9, 115.0, 24.0, 677.0, 0.779, 1.164e4, 7.207e4),
    (49, 10, 250.0, 20.0, 500.0, 1.4679, 7.10e3, 3.62e4),
)


@pytest.mark.parametrize("row", PUBLISHED)
def test_published_doses(row: tuple[Any, ...]) -> None:
    images, maps, current, haadf_us, chemical_us, pixel, *published = row
    alone = [
        dose(current, us * 1e-6, tilts, 10 * pixel)
        for tilts, us in ((images, haadf_us), (maps, chemical_us))
    ]
    assert alone == pytest.approx(published, rel=2e-3)
    acquisition = Acquisition(
        haadf_tilts=images,
        chemical_tilts=maps,
        current_pA=current,
        dwell_us={"haadf": haadf_us, "chemical": chemical_us},
        pixel_nm=pixel,
    )
    spent = doses(acquisition, pixel_nm=99.0)
    assert [spent.haadf, spent.chemical] == pytest.approx(published, rel=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e4, 1e6), st.floats(0.01, 0.9), st.integers(1, 99), st.integers(1, 99))
def test_a_total_is_spent_whatever_the_tilts(
    total: float, share: float, images: int, maps: int
) -> None:
    plan = PLAN.model_copy(
        update={"dose_e_per_A2": total, "haadf_share": share}
        | {"haadf_tilts": images, "chemical_tilts": maps}
    )
    area = (SPECIMEN.voxel_size_nm * 10) ** 2
    found = exposed(plan, SPECIMEN)
    electrons = {name: value / RATES[name] / area for name, value in counts(found).items()}
    assert electrons["HAADF"] * images == pytest.approx(total * share)
    assert electrons["Au"] * maps == pytest.approx(total * (1 - share))


def counts(plan: Acquisition) -> dict[str, float]:
    of_maps = zip(SPECIMEN.elements, plan.snr_of(SPECIMEN.elements), strict=True)
    return {"HAADF": plan.haadf_snr - 1, **{name: snr - 1 for name, snr in of_maps}}


def test_without_images_the_maps_have_it_all() -> None:
    assert doses(PLAN, 1.0) == Doses(1e3 * DEFAULT_SHARE, 1e3 * (1 - DEFAULT_SHARE))
    assert doses(PLAN.model_copy(update={"haadf_tilts": 0}), 1.0) == Doses(0.0, 1e3)


def test_calibration_gives_back_the_rates() -> None:
    series = simulate(SPECIMEN, PLAN, 0)
    spent = Doses(*(series.facts[f"dose_e_per_A2_{name}"] for name in ("haadf", "chemical")))
    for name, (rate, error) in calibrated(series, spent).items():
        assert rate == pytest.approx(RATES[name], rel=5 * error)
    with pytest.raises(BadInput):
        calibrated(series, Doses(0.0, 0.0))


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"haadf_snr": 5.0}, "acquisition.haadf_snr"),
        ({"dwell_us": 3.0}, "acquisition.dwell_us"),
        ({"microscope": {}}, "acquisition.counts_per_electron"),
    ],
)
def test_what_contradicts_a_dose_is_refused(given: dict[str, Any], key: str) -> None:
    data = PLAN.model_dump(exclude_none=True) | given
    with pytest.raises(BadInput) as caught:
        validated(data, Acquisition, None)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (BY_DOSE + "haadf_snr = 2208.67", "acquisition.haadf_snr"),
        ("dose_e_per_A2 = 1e4", "acquisition.counts_per_electron"),
        (BY_DOSE.replace("Co = 1e-5, ", ""), "acquisition.counts_per_electron"),
        (BY_DOSE.replace("1e4", "1e-4"), "acquisition.dose_e_per_A2"),
        (BY_DOSE.replace("dose_e_per_A2 = 1e4", ""), "acquisition.counts_per_electron"),
        ("current_pA = 3\n" + BY_DOSE.splitlines()[1], "acquisition.dwell_us"),
        (BY_DOSE + "haadf_share = 0.0", "acquisition.dose_e_per_A2"),
        (
            BY_DOSE + '[axes]\n"acquisition.chemical_snr" = [2.0]',
            "axes.acquisition.chemical_snr",
        ),
    ],
)
def test_a_study_that_cannot_be_exposed_is_refused(given: str, key: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_study(STUDY.format(given))
    assert caught.value.key == key


def test_a_study_by_dose_is_written_and_read_again() -> None:
    axes = '[axes]\n"acquisition.dose_e_per_A2" = [1e3, 1e4]\n"acquisition.haadf_share" = [0.1]'
    study = parse_study(STUDY.format(BY_DOSE + "haadf_share = 0.2\n" + axes))
    assert parse_study(study.toml()) == study
    first, second = (study.at(cell).acquisition for cell in study.cells())
    assert (first.dose_e_per_A2, second.haadf_share) == (1e3, 0.1)
    assert "haadf_snr" not in study.at(study.cells()[0]).condition()["acquisition"]


def test_cheaper_trials_have_the_counts_of_the_study() -> None:
    search = '[search]\nstrategy = "contextual"\nfidelity = { size = 0.5 }'
    study = parse_study(STUDY.replace("16", "64").format(BY_DOSE + search))
    assert counts(study.reduced().acquisition) == pytest.approx(
        counts(exposed(study.acquisition, make_specimen("nanocubes", 64)))
    )


def test_the_closed_form_is_the_integral_over_the_ring() -> None:
    beam, number = Beam(200.0), 79

    def differential(theta: float) -> float:
        q = 2 * beam.wave_number * np.sin(theta / 2)
        amplitude = 2 * number * beam.gamma / (BOHR_NM * (q**2 + number ** (2 / 3) / BOHR_NM**2))
        return float(2 * np.pi * np.sin(theta) * amplitude**2)

    assert rutherford(beam, number, (60.0, 200.0)) == pytest.approx(
        quad(differential, 0.06, 0.2)[0], rel=1e-6
    )


@pytest.mark.parametrize(
    ("element", "barn"),
    [("Cu", 249.0), ("Co", 310.0), ("Ti", 565.0)],
)
def test_ionisation_of_k_shells(element: str, barn: float) -> None:
    """At 200 keV, by the formulas of Casnati (Cu) and of Bethe with Powell's constants."""
    assert ionisation(Beam(200.0), element, "K") / BARN_NM2 == pytest.approx(barn, rel=0.1)


def test_counts_scale_with_what_is_collected() -> None:
    wide, narrow = (
        yields(Microscope(solid_angle_sr=angle), ("Co",))["Co"].cross_section_nm2
        for angle in (0.8, 0.2)
    )
    assert wide == pytest.approx(4 * narrow)


def test_an_estimate_counts_atoms_and_background() -> None:
    made = make_specimen("co3o4-mn3o4", 16)
    with_it, without = (
        counts_per_electron(
            Acquisition(dose_e_per_A2=1e3, microscope=Microscope(), background=level), made
        )
        for level in (0.15, 0.0)
    )
    assert all(with_it[name] > without[name] for name in with_it)
    section = yields(Microscope(), ("O",))["O"].cross_section_nm2
    atoms = made.volumes[made.elements.index("O")].mean(dtype=float) * 100 * 150.0
    assert without["O"] == pytest.approx(atoms * section)


def test_an_element_without_a_line_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        yields(Microscope(), ("H",))
    assert caught.value.key == "acquisition.microscope.signal"
