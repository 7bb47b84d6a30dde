"""An assessment without truth: what it counts, which faults it names, and its page."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tomoatlas.analysis.assess import SOLVES, assess
from tomoatlas.analysis.assess_page import assessment_lines, write_assessment
from tomoatlas.analysis.trust import doubts
from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.formats import load_reconstruction, save_reconstruction, save_volumes
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.metrics.misfit import Misfit
from tomoatlas.recon_core.settings import newest_settings
from tomoatlas.recon_core.solver import reconstruct

QUICK = newest_settings().model_copy(update={"max_iterations": 30})
PLAN = Acquisition(haadf_tilts=15, chemical_tilts=7, chemical_snr=6.0, contrast="linear")


@pytest.fixture(scope="module")
def series():
    return simulate(make_specimen("composite", 16), PLAN, seed=1)


@pytest.fixture(scope="module")
def solved(series):
    return reconstruct(series, settings=QUICK)


@pytest.fixture(scope="module")
def calls():
    return []


@pytest.fixture(scope="module")
def found(series, solved, calls):
    return assess(solved, series, say=lambda *n: calls.append(n))


def test_a_sound_reconstruction_is_measured(found, series, calls):
    assert calls == [(n + 1, SOLVES) for n in range(SOLVES)]
    assert [each.element for each in found.elements] == list(series.elements)
    signal = series.chemical.sum(axis=(1, 2, 3)) / 7
    for each, counts, level in zip(found.elements, signal, series.chemical_background, strict=True):
        assert each.counts == pytest.approx(counts - level * 256, rel=1e-3)
        assert each.total == pytest.approx(1.0, abs=0.2)
        assert 0 < each.nrmse < 2
        assert min(each.resolution_nm.values()) >= 2 * series.voxel_size_nm * 0.999
    assert sum(each.fraction for each in found.elements) == pytest.approx(1.0)
    low, high = found.interval
    assert low < found.nrmse < high
    assert found.uncertainty.shape == (3, 16, 16, 16)


def test_fractions_need_known_scales_and_are_right_with_them(found, series, solved):
    truth = make_specimen("composite", 16).volumes.sum(axis=(1, 2, 3))
    for each, share in zip(found.elements, truth / truth.sum(), strict=True):
        assert each.fraction == pytest.approx(share, abs=5 * each.fraction_error)
    ratios = replace(series, chemical_scale=tuple(1e-4 * c for c in series.chemical_scale))
    again = assess(replace(solved, volumes=1e4 * solved.volumes), ratios)
    assert [e.fraction for e in again.elements] == pytest.approx(
        [e.fraction for e in found.elements]
    )
    unknown = replace(series, chemical_scale=None)
    again = assess(reconstruct(unknown, settings=QUICK), unknown)
    assert {each.fraction for each in again.elements} == {None}


def test_haadf_that_lies_elsewhere_is_not_to_be_fused(series):
    aside = np.roll(series.haadf, 4, axis=2)
    mixed = replace(series, haadf=aside, haadf_scale=None)
    found = assess(reconstruct(mixed, settings=QUICK), mixed)
    assert {"fusion", "haadf-model"} <= {finding.kind for finding in found.findings}
    assert found.gain < 0
    assert not found.as_dict()["trusted"]


def test_an_element_without_a_map_is_doubted_once():
    plan = PLAN.model_copy(update={"chemical_snr": 20.0, "haadf_tilts": 13})
    series = simulate(make_specimen("nanocubes", 24), plan, seed=1)
    series = replace(series.of(np.array([e != "Au" for e in series.elements])), haadf_scale=None)
    kinds = [each.kind for each in assess(reconstruct(series, settings=QUICK), series).findings]
    assert "missing-element" in kinds
    assert "haadf-model" not in kinds


def with_misfit(found, maps=None, haadf=None):
    """The assessment with other misfits by tilt."""
    first, *others = found.misfit.elements
    maps = first.by_tilt if maps is None else tuple(maps)
    elements = [replace(each, by_tilt=maps) for each in (first, *others)]
    image = found.misfit.haadf
    image = replace(image, by_tilt=image.by_tilt if haadf is None else tuple(haadf))
    return replace(found, misfit=Misfit(image, tuple(elements)))


def test_one_tilt_that_fits_far_worse_is_named(found):
    tilts = found.misfit.elements[0].angles_deg
    images = found.misfit.haadf.angles_deg
    usual = 1 + 0.01 * np.cos(np.arange(99))
    even = with_misfit(found, usual[: len(tilts)], usual[: len(images)])
    assert "odd-tilt" not in {each.kind for each in doubts(even)}
    maps, haadf = usual[: len(tilts)].copy(), usual[: len(images)].copy()
    maps[1], haadf[2] = 1.4, 30.0
    odd = [e for e in doubts(with_misfit(found, maps, haadf)) if e.kind == "odd-tilt"]
    assert [e.key for e in odd] == ["chemical/projections", "haadf/projections"]
    assert [e.value for e in odd] == [tilts[1], images[2]]
    assert f"{images[2]:.4g}°" in odd[1].words


def test_maps_that_scatter_more_than_counts_are_doubted(found):
    tilts, images = (len(of.angles_deg) for of in (found.misfit.elements[0], found.misfit.haadf))
    even = with_misfit(found, np.ones(tilts), np.ones(images))
    assert "maps-misfit" not in {each.kind for each in doubts(even)}
    parts = [replace(each, overall=4.5) for each in found.misfit.elements]
    spread = replace(found, misfit=replace(found.misfit, elements=tuple(parts)))
    assert "maps-misfit" in {each.kind for each in doubts(spread)}
    one = replace(
        found, misfit=replace(found.misfit, elements=(*parts[:-1], even.misfit.elements[-1]))
    )
    assert "maps-misfit" not in {each.kind for each in doubts(one)}


def test_its_numbers_are_json_and_words(found, tmp_path, solved):
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert json.loads(text)["trusted"] == (not found.findings)
    assert sum("counts per tilt" in line for line in assessment_lines(found)) == 3
    page = tmp_path / "page.html"
    write_assessment(page, found, solved, "<b>mine</b>")
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == 3
    assert "<b>mine</b>" not in html


def test_a_file_keeps_what_an_assessment_needs(solved, tmp_path):
    save_reconstruction(tmp_path / "v.h5", solved)
    read = load_reconstruction(tmp_path / "v.h5")
    assert read.status == solved.status
    assert dict(read.facts) | solved.facts == dict(read.facts)
    assert read.haadf.coefficients == solved.haadf.coefficients
    save_volumes(tmp_path / "bare.h5", solved.volumes, solved.elements, 1.0)
    with pytest.raises(BadInput) as caught:
        load_reconstruction(tmp_path / "bare.h5")
    assert caught.value.key == "method"


def test_volumes_of_another_series_are_refused(series, solved):
    with pytest.raises(BadInput) as caught:
        assess(solved, series.of(np.array([True, False, True])))
    assert caught.value.key == "elements"
    wide = replace(solved, volumes=np.zeros((3, 16, 16, 20), np.float32))
    with pytest.raises(BadInput) as caught:
        assess(wide, series)
    assert caught.value.key == "volumes"
    with pytest.raises(BadInput):
        assess(replace(solved, facts={}), series)
