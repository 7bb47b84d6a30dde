"""Simulated acquisition: mass, mean counts, Poisson statistics, background, oversampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tomoatlas.phantoms import acquire
from tomoatlas.phantoms.acquire import expose, project, simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.paint import mean_of_cells
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.contrast import PowerLaw
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import STILL, Placement, tilt_angles
from tomoatlas.recon_core.tiltseries import TiltSeries

SPECIMEN = make_specimen("nanocubes", 32, 0)
SNR = {"Co": 1.92, "Cu": 2.89, "O": 2.69, "Au": 1.96}
PAPER = Acquisition(chemical_snr=SNR)


def contrast_of(specimen: Specimen, gamma: float) -> np.ndarray:
    return PowerLaw(gamma).of_volumes(specimen.volumes, specimen.atomic_numbers)


def simulated(seed: int = 0, **changes: object) -> TiltSeries:
    return simulate(SPECIMEN, PAPER.model_copy(update=changes), seed)


def expected_counts(series: TiltSeries) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free (haadf, chemical) from the scales and backgrounds a series carries."""
    haadf = series.haadf_scale * project(contrast_of(SPECIMEN, 2.0), series.haadf_angles_deg)
    maps = project(SPECIMEN.volumes, series.chemical_angles_deg)
    scale, level = (
        np.array(v)[:, None, None, None]
        for v in (series.chemical_scale, series.chemical_background)
    )
    return haadf + series.haadf_background, scale * maps + level


def test_projections_conserve_mass_at_every_tilt() -> None:
    angles = tuple(np.linspace(-70, 70, 9))
    masses = project(SPECIMEN.volumes, angles).sum(axis=(2, 3), dtype=float)
    truth = SPECIMEN.volumes.sum(axis=(1, 2, 3), dtype=float)[:, None]
    # Particles of a voxel or two feel the interpolation of the rays: 1 % of their mass.
    np.testing.assert_allclose(masses, np.broadcast_to(truth, masses.shape), rtol=0.02)


def test_mean_counts_are_snr_less_one() -> None:
    series = simulated()
    for counts, snr in zip(series.chemical, SNR.values(), strict=True):
        assert counts.mean() == pytest.approx(snr - 1, abs=5 * np.sqrt((snr - 1) / counts.size))
    spread = 5 * np.sqrt(PAPER.haadf_snr / series.haadf.size)
    assert series.haadf.mean(dtype=float) == pytest.approx(PAPER.haadf_snr - 1, abs=spread)


def test_expected_counts_follow_from_scales_and_backgrounds() -> None:
    series = simulated()
    haadf, chemical = expected_counts(series)
    assert haadf.mean(dtype=float) == pytest.approx(PAPER.haadf_snr - 1, rel=1e-5)
    means = chemical.mean(axis=(1, 2, 3), dtype=float)
    np.testing.assert_allclose(means, np.array(list(SNR.values())) - 1, rtol=1e-5)


def test_noise_is_poisson() -> None:
    series = simulated()
    for counts, mean in zip((series.haadf, series.chemical), expected_counts(series), strict=True):
        assert np.array_equal(counts, np.round(counts))
        pull = ((counts - mean) ** 2 / mean).mean(dtype=float)
        assert pull == pytest.approx(1.0, abs=6 * np.sqrt(2.5 / counts.size) + 1e-3)


@settings(max_examples=20, deadline=None)
@given(snr=st.floats(1.01, 1e4), background=st.floats(0, 0.9))
def test_background_is_a_fraction_of_the_largest_signal(snr: float, background: float) -> None:
    signal = np.random.default_rng(0).random((3, 5, 4)).astype(np.float32)
    channel = expose(signal, snr, background)
    largest = channel.scale * float(signal.max())
    assert channel.background == pytest.approx(background * largest)
    assert channel.snr_a == pytest.approx(snr)
    assert channel.snr_b >= channel.snr_a - 1 - 1e-9 * snr


def test_both_definitions_of_snr_are_recorded() -> None:
    series = simulated()
    haadf, _ = expected_counts(series)
    assert series.facts["snr_a_HAADF"] == pytest.approx(PAPER.haadf_snr)
    assert series.facts["snr_b_HAADF"] == pytest.approx(
        (haadf.astype(float) ** 2).mean() / haadf.mean(dtype=float), rel=1e-4
    )
    assert {f"snr_{d}_{e}" for d in "ab" for e in SNR} <= set(series.facts)


def test_the_seed_alone_decides_the_noise() -> None:
    one, same, other = simulated(4), simulated(4), simulated(5)
    np.testing.assert_array_equal(one.chemical, same.chemical)
    np.testing.assert_array_equal(one.haadf, same.haadf)
    assert not np.array_equal(one.chemical, other.chemical)


def test_the_noise_of_an_element_is_its_own() -> None:
    order = [3, 0, 2, 1]
    elements = tuple(SPECIMEN.elements[i] for i in order)
    shuffled = simulate(
        replace(SPECIMEN, volumes=SPECIMEN.volumes[order], elements=elements), PAPER, 0
    )
    np.testing.assert_array_equal(shuffled.chemical, simulated().chemical[order])
    np.testing.assert_array_equal(simulated(haadf_tilts=5).chemical, simulated().chemical)


def test_without_haadf_tilts() -> None:
    series = simulated(haadf_tilts=0)
    assert series.haadf.shape == (0, 32, 32)
    assert series.haadf_angles_deg == ()
    assert series.haadf_scale is None


@pytest.mark.parametrize("placement", [STILL, Placement(((0.5, 0.3),) * 5, 1.0, 2.0)])
def test_a_few_tilts_at_a_time_are_the_same_to_the_bit(
    placement: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = make_specimen("nanocubes", 32, 0).volumes
    angles = (-70.0, -20.0, 0.0, 33.0, 70.0)
    together = []
    for slices in (1, 8, 1000):
        monkeypatch.setattr(acquire, "FEW", slices)
        together.append(project(volumes, angles, 2, placement))
    assert all((images == together[0]).all() for images in together)


def test_oversampled_projections_mean_the_same() -> None:
    fine = make_specimen("nanocubes", 64, 0)
    angles = (-70.0, -20.0, 0.0, 55.0)
    binned = project(fine.volumes, angles, 2)
    coarse = project(SPECIMEN.volumes, angles)
    assert binned.shape == coarse.shape
    assert np.linalg.norm(binned - coarse) < 0.05 * np.linalg.norm(coarse)
    assert binned.sum(dtype=float) == pytest.approx(coarse.sum(dtype=float), rel=0.01)


def test_oversampling_at_zero_tilt_is_the_projection_of_block_means() -> None:
    fine = make_specimen("composite", 32, 1)
    blocks = np.stack([mean_of_cells(volume, 2) for volume in fine.volumes])
    np.testing.assert_allclose(project(fine.volumes, (0.0,), 2), project(blocks, (0.0,)), atol=1e-4)


def test_an_oversampled_series_has_the_coarse_grid_and_the_same_scales() -> None:
    series = simulate(
        make_specimen("nanocubes", 64, 0), PAPER.model_copy(update={"oversample": 2}), 0
    )
    plain = simulated()
    assert series.chemical.shape == plain.chemical.shape
    assert series.voxel_size_nm == pytest.approx(plain.voxel_size_nm)
    np.testing.assert_allclose(series.chemical_scale, plain.chemical_scale, rtol=0.05)
    assert series.facts["oversample"] == 2


def test_oversample_must_divide_the_specimen() -> None:
    with pytest.raises(BadInput) as caught:
        simulated(oversample=3)
    assert (caught.value.key, caught.value.value) == ("acquisition.oversample", 3)


@pytest.mark.parametrize(
    ("snr", "named"),
    [
        ({"Co": 2.0, "Cu": 2.0, "O": 2.0}, "Au"),
        (SNR | {"Fe": 2.0}, "Fe"),
    ],
)
def test_every_element_has_one_snr(snr: dict[str, float], named: str) -> None:
    with pytest.raises(BadInput) as caught:
        simulated(chemical_snr=snr)
    assert (caught.value.key, caught.value.value) == ("acquisition.chemical_snr", snr)
    assert named in caught.value.problem


def test_one_snr_for_all() -> None:
    assert PAPER.model_copy(update={"chemical_snr": 3.0}).snr_of(("Co", "O")) == (3.0, 3.0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        simulated(-1)
    assert (caught.value.key, caught.value.value) == ("seed", -1)


def test_matter_outside_the_field_gives_no_signal() -> None:
    with pytest.raises(BadInput) as caught:
        expose(np.zeros((1, 2, 2), np.float32), 2.0, 0.15)
    assert caught.value.key == "volumes"


@pytest.mark.parametrize(
    "wrong",
    [
        {"tilt_range_deg": (70.0, -70.0)},
        {"tilt_range_deg": (-95.0, 70.0)},
        {"haadf_tilts": -1},
        {"chemical_tilts": 0},
        {"haadf_snr": 1.0},
        {"haadf_snr": float("inf")},
        {"chemical_snr": -2.0},
        {"chemical_snr": {"Co": 0.5}},
        {"chemical_snr": {}},
        {"background": 1.0},
        {"gamma": 3.0},
        {"contrast": "log"},
        {"oversample": 5},
        {"tilts": 3},
    ],
)
def test_impossible_acquisitions_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Acquisition.model_validate(wrong)


def test_a_linear_contrast_adds_up_atoms() -> None:
    """Half the concentration in twice the voxels is the same HAADF signal."""
    dense = np.zeros((1, 4, 4, 4), np.float32)
    dense[0, 1, 1, 1] = 1
    thin = dense / 2 + np.roll(dense, 1, 3) / 2
    sums = {}
    for contrast in ("power", "linear"):
        plan = Acquisition(haadf_tilts=3, contrast=contrast, background=0.0, haadf_snr=1e6)
        dense_counts, thin_counts = (
            simulate(Specimen(volumes, ("Au",), 1.0), plan, 0) for volumes in (dense, thin)
        )
        sums[contrast] = [
            series.haadf.sum() / series.haadf_scale for series in (dense_counts, thin_counts)
        ]
        assert dense_counts.facts["contrast"] == contrast
    assert sums["linear"][1] == pytest.approx(sums["linear"][0], rel=1e-2)
    assert sums["power"][1] == pytest.approx(sums["power"][0] / 2, rel=1e-2)


@pytest.mark.parametrize("gamma", [1.0, 1.7, 2.0])
def test_haadf_contrast_is_the_power_of_z_times_x(gamma: float) -> None:
    volumes = np.full((2, 2, 1, 1), 0.5, np.float32)
    volumes[1] = 0.25
    pair = Specimen(volumes, ("O", "Au"), 1.0)
    truth = (8 * 0.5) ** gamma + (79 * 0.25) ** gamma
    np.testing.assert_allclose(contrast_of(pair, gamma), truth, rtol=1e-5)


@pytest.mark.parametrize("scheme", ["equal-slope", "saxton", "golden-angle"])
def test_a_series_has_the_tilts_of_its_scheme(scheme: str) -> None:
    series = simulated(haadf_tilts=11, chemical_tilts=4, tilt_scheme=scheme)
    ends = PAPER.tilt_range_deg
    assert series.haadf_angles_deg == tilt_angles(11, ends, scheme)  # type: ignore[arg-type]
    assert series.chemical_angles_deg == tilt_angles(4, ends, scheme)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 20), st.integers(0, 30), st.sampled_from(["saxton", "golden-angle"]))
def test_maps_at_haadf_tilts_are_different_ones(maps: int, more: int, scheme: str) -> None:
    fields = {"tilt_scheme": scheme, "chemical_tilts": maps, "haadf_tilts": maps + more}
    haadf, chemical = Acquisition(**fields, chemical_subset=True).angles_deg()  # type: ignore[arg-type]
    assert set(chemical) <= set(haadf)
    assert len(set(chemical)) == maps


def test_a_missing_wedge_need_not_be_symmetric() -> None:
    haadf, chemical = Acquisition(tilt_range_deg=(-30.0, 65.0)).angles_deg()
    assert (haadf[0], haadf[-1], chemical[0], chemical[-1]) == (-30.0, 65.0, -30.0, 65.0)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"tilt_scheme": "dual-axis"}, "tilt_scheme"),
        ({"tilt_scheme": "equal"}, "tilt_scheme"),
        ({"tilt_scheme": "saxton", "tilt_range_deg": (-60, 90)}, "tilt_scheme"),
        ({"chemical_subset": True, "haadf_tilts": 5, "chemical_tilts": 9}, "chemical_subset"),
        ({"chemical_subset": True, "haadf_tilts": 0}, "chemical_subset"),
    ],
)
def test_impossible_schemes_are_refused(wrong: dict[str, object], key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Acquisition.model_validate(wrong)
    assert caught.value.errors()[0]["loc"][0] == key
