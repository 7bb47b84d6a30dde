from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tomoatlas.jobs.cli import main
from tomoatlas.jobs.commands.reconstruct import reconstruct
from tomoatlas.jobs.commands.weights import MethodChoice, settings_for
from tomoatlas.phantoms.formats import (
    load_specimen,
    load_tilt_series,
    load_volumes,
    save_tilt_series,
    save_volumes,
)
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core import solver as solving
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.result import Reconstruction, Status
from tomoatlas.recon_core.settings import SolverSettings, newest_settings
from tomoatlas.recon_core.toml import toml_text
from tomoatlas.sweep.study.identity import EDITIONS

COUNTS = ["--haadf-tilts", "9", "--chemical-tilts", "5"]


def test_phantom_writes_a_specimen(tmp_path, capsys, refusal):
    out = tmp_path / "s.h5"
    argv = ["phantom", "composite", "--size", "16", "--seed", "3", "--out", str(out)]
    assert main(argv) == 0
    assert "Co, Ni, O" in capsys.readouterr().out
    assert load_specimen(out).shape == (16, 16, 16)
    before = out.read_bytes()
    assert refusal(*argv).source == out
    assert out.read_bytes() == before
    assert main([*argv, "--force", "-q"]) == 0


def test_simulate_with_options(specimen, tmp_path):
    out = tmp_path / "t.h5"
    argv = ["--tilt-range", "-60", "50", "--snr", "Co=1.9,Cu=2.9,O=2.7,Au=2", "--seed", "5"]
    argv += ["--haadf-snr", "100", "--oversample", "2", "--gamma", "1.8", "--background", "0.1"]
    assert main(["simulate", str(specimen), *COUNTS, *argv, "--out", str(out), "-q"]) == 0
    series = load_tilt_series(out)
    assert series.chemical.shape == (4, 5, 8, 8)
    assert series.haadf_angles_deg[0] == -60
    assert series.chemical_angles_deg[-1] == 50
    assert 1 + series.chemical[0].mean() == pytest.approx(1.9, abs=0.2)
    assert 1 + series.haadf.mean() == pytest.approx(100, rel=0.05)


def test_simulate_for_a_dose(specimen, tmp_path, refusal):
    out = tmp_path / "t.h5"
    base = ["simulate", specimen, *COUNTS, "--out", out]
    pixel = 10 * load_specimen(specimen).voxel_size_nm
    per_electron = 2.0 * 5 / (1e5 * pixel**2)
    assert refusal(*base, "--dose", "1e5").key == "--counts-per-electron"
    both = ["--dose", "1e5", "--counts-per-electron", str(per_electron)]
    beside = refusal(*base, *both, "--snr", "2")
    assert (beside.key, beside.value) == ("--dose", 1e5)
    missing = refusal(*base, *both[2:])
    assert (missing.key, missing.value) == ("--dose", None)
    assert main([str(a) for a in (*base, *both, "-q")]) == 0
    assert load_tilt_series(out).chemical.mean() == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["--snr", "high"], "--snr"),
        (["--snr", "-2"], "chemical_snr"),
        (["--snr", "Co=2,Cu=2,O=2,Au=2,O=3"], "--snr"),
        (["--snr", "Co=2"], "acquisition.chemical_snr"),
        (["--snr", "Co=2,Cu=2,O=2,Pb=2"], "acquisition.chemical_snr"),
        (["--tilt-range", "-100", "70"], "tilt_range_deg"),
        (["--tilt-range", "70", "-70"], "tilt_range_deg"),
        (["--gamma", "9"], "gamma"),
        (["--background", "1"], "background"),
        (["--oversample", "3"], "acquisition.oversample"),
        (["--seed", "-1"], "seed"),
        (["--haadf-tilts", "-1"], "haadf_tilts"),
        (["--chemical-tilts", "0"], "chemical_tilts"),
        (["--haadf-snr", "1"], "haadf_snr"),
    ],
)
def test_impossible_acquisitions_are_refused(options, key, specimen, tmp_path, refusal):
    out = tmp_path / "t.h5"
    assert refusal("simulate", specimen, *COUNTS, *options, "--out", out).key == key
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "method", "weights"),
    [
        ([], "fused", {"haadf": 0.3, "tv": 1.4}),
        (["--haadf", "0.1", "--tv", "1"], "fused", {"haadf": 0.1, "tv": 1}),
        (["--method", "chemistry-tv", "--tv", "0.5"], "chemistry-tv", {"tv": 0.5}),
        (["--method", "ml"], "ml", {}),
    ],
)
def test_reconstruct_records_how(options, method, weights, tilts, tmp_path, capsys):
    out = tmp_path / "r.h5"
    argv = ["reconstruct", str(tilts), "--max-iterations", "15", *options, "--out", str(out)]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert re.search(r" after \d+ iterations\n", said)
    assert "terms: HAADF" in said
    assert "HAADF: " in said
    assert said.count("times the noise; worst tilt") == 5
    assert ("weights not given" in said) == (options == [])
    volumes, elements, _ = load_volumes(out)
    assert volumes.shape == (4, 16, 16, 16)
    assert elements == ("Co", "Cu", "O", "Au")
    with h5py.File(out) as file:
        assert file.attrs["method"] == method
        assert file.attrs["max_iterations"] == 15
        assert file.attrs["misfit_Au"] > 0
        assert file.attrs["misfit_HAADF_by_tilt"].shape == (9,)
        assert {n: file.attrs[n] for n in ("haadf", "tv") if n in file.attrs} == weights


def test_haadf_of_unknown_scale_is_not_judged_by_what_has_not_seen_it(tilts, tmp_path):
    measured = tmp_path / "measured.h5"
    shutil.copy(tilts, measured)
    with h5py.File(measured, "a") as file:
        del file["haadf"].attrs["scale"]
    judged = {}
    for method in ("fused", "chemistry-tv"):
        out = tmp_path / f"{method}.h5"
        options = ["--method", method, "--max-iterations", "5", "--out", str(out)]
        assert main(["reconstruct", str(measured), *options]) == 0
        with h5py.File(out) as file:
            judged[method] = "misfit_HAADF" in file.attrs, "misfit_Au" in file.attrs
    assert judged == {"fused": (True, True), "chemistry-tv": (False, True)}


def test_doubtful_data_are_reconstructed_with_a_warning(tilts, tmp_path, capsys):
    series = load_tilt_series(tilts)
    swapped, out = tmp_path / "swapped.h5", tmp_path / "r.h5"
    other = replace(series, haadf_angles_deg=tuple(-a for a in series.haadf_angles_deg))
    save_tilt_series(swapped, other)
    quick = ["--max-iterations", "3", "--force", "-q"]
    assert main(["reconstruct", str(swapped), "--out", str(out), *quick]) == 0
    err = capsys.readouterr().err
    assert "warning: haadf/angles_deg: " in err
    assert err.count("\n") == 1
    assert main(["reconstruct", str(tilts), "--out", str(out), *quick]) == 0
    assert capsys.readouterr().err == ""


def test_reconstruct_with_weights_of_the_series(tilts, tmp_path, capsys):
    out, quick = tmp_path / "auto.h5", ["--weights", "auto", "--max-iterations", "2"]
    assert main(["reconstruct", str(tilts), *quick, "--out", str(out)]) == 0
    assert "19" in capsys.readouterr().err  # solves, and how long they take, before they start
    with h5py.File(out) as file:
        names = set(file["volumes"].attrs) | set(file.attrs)
    assert {"auto_held_out_tv", "auto_simulated_haadf", "auto_nrmse"} <= names


def test_assess_writes_a_page_and_says_what_it_doubts(tilts, tmp_path, capsys, refusal):
    out, page = tmp_path / "r.h5", tmp_path / "r.html"
    assert main(["reconstruct", str(tilts), "--max-iterations", "5", "--out", str(out), "-q"]) == 0
    code = main(["assess", str(out), str(tilts), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (code == 0) == found["trusted"]
    assert set(found["elements"]) == {"Co", "Cu", "O", "Au"}
    assert page.is_file()
    assert refusal("assess", out, tilts).source == page
    assert refusal("assess", tilts, tilts, "--out", tmp_path / "n.html").source == tilts


def test_reconstruct_with_an_atlas(tilts, folder, tmp_path, capsys):
    assert main(["report", str(folder), "-q"]) == 0
    out = tmp_path / "r.h5"
    argv = ["reconstruct", str(tilts), "--atlas", str(folder / "atlas.csv")]
    assert main([*argv, "--max-iterations", "15", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "weights of the atlas: haadf" in said
    assert "Chemical tilts 5 is outside the atlas (9)" in said


@pytest.mark.parametrize(("options", "gamma"), [([], 1.7), (["--gamma", "2"], 2.0)])
def test_the_solver_is_set_as_the_atlas_was(options, gamma, tilts, folder, tmp_path, capsys):
    assert main(["report", str(folder), "-q"]) == 0
    with h5py.File(folder / "atlas.h5", "a") as file:
        tables = tomllib.loads(str(file.attrs["study"]))
        tables["solver"] |= {"gamma": 1.7, "tolerance": 0.5}
        file.attrs["study"] = toml_text(tables)
    out = tmp_path / "r.h5"
    argv = ["reconstruct", str(tilts), "--atlas", str(folder / "atlas.h5"), "--out", str(out)]
    assert main([*argv, "--max-iterations", "3", *options]) == 0
    assert ("note: gamma" in capsys.readouterr().out) == (gamma == 2.0)
    with h5py.File(out) as file:
        assert (file.attrs["gamma"], file.attrs["tolerance"]) == (gamma, 1e-4)


def test_a_fitted_contrast_is_reported_and_kept(tilts, tmp_path, capsys):
    out = tmp_path / "r.h5"
    argv = ["reconstruct", str(tilts), "--contrast", "fitted", "--gamma", "1.2", "--out", str(out)]
    assert main([*argv, "--film", "--max-iterations", "20"]) == 0
    said = capsys.readouterr().out
    assert "HAADF coefficients" in said
    assert "HAADF vacuum" in said
    with h5py.File(out) as file:
        assert file.attrs["haadf_vacuum"] > 0
        assert file.attrs["contrast"] == "fitted"
        assert np.isfinite(file.attrs["haadf_film_error"])


def test_the_contrast_is_that_of_the_atlas_too(specimen, folder, tmp_path, capsys):
    tilts, out = tmp_path / "t.h5", tmp_path / "r.h5"
    argv = ["simulate", str(specimen), *COUNTS, "--contrast", "linear", "--out", str(tilts), "-q"]
    assert main(argv) == 0
    assert load_tilt_series(tilts).facts["contrast"] == "linear"
    assert main(["report", str(folder), "-q"]) == 0
    argv = ["reconstruct", str(tilts), "--atlas", str(folder / "atlas.h5"), "--out", str(out)]
    argv += ["--max-iterations", "3", "--force"]

    def used(*options):
        assert main([*argv, *options]) == 0
        with h5py.File(out) as file:
            return file.attrs["contrast"], "note: contrast" in capsys.readouterr().out

    assert used() == ("power", False)
    assert used("--contrast", "linear") == ("linear", True)
    with h5py.File(folder / "atlas.h5", "a") as file:
        tables = tomllib.loads(str(file.attrs["study"]))
        tables["solver"] |= {"contrast": "linear", "gamma": 1.2}
        file.attrs["study"] = toml_text(tables)
    assert used() == ("linear", False)
    assert used("--contrast", "power", "--gamma", "2") == ("power", True)


def test_an_atlas_older_than_the_laws_is_of_the_power_law(specimen, tilts, tmp_path, capsys):
    argv = ["reconstruct", str(tilts), "--atlas", "fig4_nanocubes_64", "--max-iterations", "3"]
    argv += ["--contrast", "linear", "--out", str(tmp_path / "r.h5")]
    assert main(argv) == 0
    assert "note: contrast linear is not the atlas's, power" in capsys.readouterr().out


def test_a_shipped_atlas_is_known_by_name(tilts, tmp_path, capsys, refusal):
    out = tmp_path / "r.h5"
    argv = ["reconstruct", str(tilts), "--atlas", "fig4_nanocubes_64", "--out", str(out)]
    assert main([*argv, "--max-iterations", "3"]) == 0
    assert "weights of the atlas" in capsys.readouterr().out
    assert "fig4_nanocubes_64" in str(refusal(*argv[:3], "fig4_nanocubes", *argv[4:], "--force"))


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        (["--haadf", "0.1"], "--tv", None),
        (["--haadf", "-1", "--tv", "1"], "--haadf", -1.0),
        (["--haadf", "nan", "--tv", "1"], "--haadf", pytest.approx(np.nan, nan_ok=True)),
        (["--haadf", "1e38", "--tv", "1"], "--haadf", 1e38),
        (["--method", "ml", "--tv", "1"], "--tv", 1.0),
        (["--method", "chemistry-tv", "--haadf", "1"], "--haadf", 1.0),
        (["--atlas", "a.csv", "--tv", "1", "--haadf", "1"], "--atlas", "a.csv"),
        (["--atlas", "a.csv", "--method", "ml"], "--method", "ml"),
        (["--weights", "auto", "--tv", "1", "--haadf", "1"], "--haadf", None),
        (["--weights", "auto", "--atlas", "a.csv"], "--atlas", None),
        (["--weights", "auto", "--method", "ml"], "--method", "ml"),
        (["--weights", "best"], "--weights", "best"),
        (["--gamma", "3"], "gamma", 3.0),
        (["--contrast", "linear", "--gamma", "0.5"], "gamma", 0.5),
        (["--contrast", "log"], "--contrast", None),
        (["--tolerance", "0"], "tolerance", 0.0),
        (["--max-iterations", "0"], "max_iterations", 0),
        (["--chemistry", "gaussian"], "--chemistry", None),
    ],
)
def test_impossible_reconstructions_are_refused(options, key, value, tilts, tmp_path, refusal):
    out = tmp_path / "r.h5"
    error = refusal("reconstruct", tilts, *options, "--out", out)
    assert (error.key, error.value) == (key, value)
    assert not out.exists()


def test_an_atlas_that_is_not_there_is_named(tilts, tmp_path, refusal):
    error = refusal("reconstruct", tilts, "--atlas", "a.csv", "--out", tmp_path / "r.h5")
    assert Path(error.source) == Path("a.csv")


@pytest.mark.parametrize(
    ("status", "code"), [(Status.DIVERGED, 3), (Status.BAD_DATA, 2), (Status.ITERATION_LIMIT, 0)]
)
def test_a_failed_solve_writes_nothing(status, code, tilts, tmp_path, monkeypatch, capsys):
    volumes = np.ones((4, 16, 16, 16), np.float32)
    elements = ("Co", "Cu", "O", "Au")
    solved = Reconstruction(volumes, status, 3.0, message="no hope", elements=elements)
    monkeypatch.setattr(solving, "reconstruct", lambda *args, **_: solved)
    out = tmp_path / "r.h5"
    assert main(["reconstruct", str(tilts), "--out", str(out), "-q"]) == code
    assert out.exists() == (code == 0)
    assert (f"{tilts}: no hope" in capsys.readouterr().err) == (code == 2)


def test_truth_against_itself(specimen, capsys):
    assert main(["evaluate", str(specimen), str(specimen), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["nrmse"] == pytest.approx(0, abs=1e-6)
    assert scores["relative_error"] == 0
    assert set(scores["nrmse_by_element"]) == {"Co", "Cu", "O", "Au"}
    assert scores["correlation_by_element"]["Au"] == pytest.approx(1)
    assert scores["ssim_by_element"]["Co"] == pytest.approx(1)
    grid = 2 * load_specimen(specimen).voxel_size_nm
    assert scores["resolution_nm_by_element"]["O"] == pytest.approx(grid, rel=0.05)
    assert scores["stoichiometry"]["Co"]["mean"] == pytest.approx(0.5, abs=0.01)
    assert scores["stoichiometry_inside"].keys() <= scores["stoichiometry"].keys()
    assert scores["totals"] == pytest.approx(dict.fromkeys(("Co", "Cu", "O", "Au"), 1.0))
    assert set(scores["haze"].values()) == {0.0}
    assert set(scores["level"].values()) <= {1.0, None}
    assert main(["evaluate", str(specimen), str(specimen)]) == 0
    assert "Co/(Co+O) in its oxide: 0." in capsys.readouterr().out
    assert main(["evaluate", str(specimen), str(specimen), "-q"]) == 0
    assert float(capsys.readouterr().out) == pytest.approx(0, abs=1e-6)


def test_volumes_beside_the_truth_are_scored_with_the_truth_moved_there(specimen, tmp_path, capsys):
    truth, beside = load_specimen(specimen), tmp_path / "beside.h5"
    save_volumes(beside, np.roll(truth.volumes, -2, 2), truth.elements, truth.voxel_size_nm)
    assert main(["evaluate", str(beside), str(specimen), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["displacement_voxels"] == pytest.approx([0, -2, 0], abs=0.1)
    assert scores["nrmse_moved"] < 0.2 * scores["nrmse"]
    assert main(["evaluate", str(beside), str(specimen)]) == 0
    assert "note: the volumes lie (0.0, -2.0, 0.0) voxels" in capsys.readouterr().out
    assert main(["evaluate", str(specimen), str(specimen)]) == 0
    assert "note" not in capsys.readouterr().out


def test_truth_and_reconstruction_swapped_are_refused_where_it_is_certain(
    specimen, tmp_path, refusal, capsys
):
    truth, solved, other = load_specimen(specimen), tmp_path / "r.h5", tmp_path / "other.h5"
    made = {"method": "fused", "status": "converged"}
    save_volumes(solved, truth.volumes, truth.elements, truth.voxel_size_nm, made)
    save_volumes(other, truth.volumes, truth.elements, truth.voxel_size_nm)
    error = refusal("evaluate", specimen, solved)
    assert error.key == "RECON.h5"
    assert error.accepted == f"tomoatlas evaluate {solved} {specimen}"
    # volumes of another program may be held against a reconstruction, and two of them together
    for pair in ((solved, specimen), (other, solved), (solved, solved)):
        assert main(["evaluate", *map(str, pair), "-q"]) == 0
    assert "swapped" not in capsys.readouterr().err


def test_a_description_in_place_of_volumes_is_named(tmp_path, capsys):
    (tmp_path / "rod.toml").write_text("[specimen]\n", encoding="utf-8")
    counts = ["--haadf-tilts", "9", "--chemical-tilts", "5"]
    out = ["--out", str(tmp_path / "t.h5")]
    assert main(["simulate", str(tmp_path / "rod.toml"), *counts, *out]) == 2
    assert "tomoatlas phantom rod.toml --out rod.h5" in capsys.readouterr().err


def test_elements_are_matched_by_name_and_scale_is_seen(specimen, tmp_path, capsys):
    truth = load_specimen(specimen)
    other = tmp_path / "other.h5"
    save_volumes(other, 2 * truth.volumes[::-1], truth.elements[::-1], truth.voxel_size_nm)
    assert main(["evaluate", str(other), str(specimen), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["nrmse"] == pytest.approx(0, abs=1e-6)
    assert scores["relative_error"] == pytest.approx(1)


def test_what_does_not_match_is_refused(specimen, tmp_path, refusal):
    truth = load_specimen(specimen)
    size = truth.voxel_size_nm
    other = tmp_path / "other.h5"
    save_volumes(other, truth.volumes[:2], ("Co", "Cu"), size)
    assert refusal("evaluate", other, specimen).accepted == "Co, Cu, O, Au"
    small = truth.volumes[:, 1:]
    save_volumes(other, small, truth.elements, size, overwrite=True)
    assert "(16, 16, 16)" in str(refusal("evaluate", other, specimen).accepted)
    other.write_bytes(b"not hdf5")
    assert refusal("evaluate", other, specimen).source == other


def test_the_chain_of_a_volume_thinner_than_wide(specimen, tmp_path, capsys):
    truth = load_specimen(specimen)
    mine, tilts, out = (tmp_path / name for name in ("mine.h5", "t.h5", "r.h5"))
    thin = truth.volumes[:, 3:13, :, :9]
    save_volumes(mine, thin, truth.elements, truth.voxel_size_nm)
    assert main(["simulate", str(mine), *COUNTS, "--out", str(tilts), "-q"]) == 0
    argv = ["--max-iterations", "5", "--out", str(out), "-q"]
    assert main(["reconstruct", str(tilts), *argv]) == 0
    assert main(["evaluate", str(out), str(mine), "-q"]) == 0
    assert 0 < float(capsys.readouterr().out) < 1.5


def test_the_chain_of_single_commands(specimen, tilts, tmp_path, capsys):
    scores = {}
    for method in ("fused", "ml"):
        out = tmp_path / f"{method}.h5"
        argv = ["reconstruct", str(tilts), "--method", method, "--out", str(out), "-q"]
        assert main(argv) == 0
        assert main(["evaluate", str(out), str(specimen), "-q"]) == 0
        scores[method] = float(capsys.readouterr().out)
    assert scores["fused"] < scores["ml"] < 1.5


def test_the_defaults_in_the_help_are_those_of_the_code(capsys):
    from tomoatlas.phantoms.acquisition import Acquisition

    assert main(["simulate", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    data = Acquisition()
    for value in (data.haadf_snr, data.chemical_snr, data.background, data.gamma, data.oversample):
        assert f"[default: {value:g}]" in said
    assert "[default: {:g} {:g}]".format(*data.tilt_range_deg) in said
    assert main(["reconstruct", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    solver = newest_settings()
    for default in (f"{solver.gamma:g}", str(solver.max_iterations), solver.chemistry):
        assert re.search(rf"\[default: (the atlas.s, else )?{default}\]", said)
    tolerance = said.partition("Relative change at which to stop. [default: ")[2]
    assert float(tolerance.partition("]")[0]) == solver.tolerance


def test_a_fused_reconstruction_without_haadf_tilts_says_so(specimen, tilts, tmp_path, capsys):
    alone = tmp_path / "alone.h5"
    counts = ["--haadf-tilts", "0", "--chemical-tilts", "5"]
    assert main(["simulate", str(specimen), *counts, "--out", str(alone), "-q"]) == 0
    base = ["--haadf", "0.05", "--tv", "1", "--max-iterations", "4"]
    for data, told in ((alone, 1), (tilts, 0)):
        out = tmp_path / f"{data.stem}_volumes.h5"
        assert main(["reconstruct", str(data), *base, "--out", str(out)]) == 0
        assert capsys.readouterr().out.count("no HAADF tilts in the series: fused is") == told


def test_phantom_lists_what_there_is(capsys):
    assert main(["phantom", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][:2] == ["nanocubes", "composite"]
    assert "Co, Ni, O" in lines[1]


KIND = """
from tomoatlas.phantoms.kinds import Parameters, SpecimenKind, make_specimen

class Own(Parameters):
    twin: int = 0

def build(size, seed, twin):
    return make_specimen("composite", size, seed + twin)

TWINS = SpecimenKind("twins", ("Co", "Ni", "O"), build, "composite again", Own)
"""


def test_phantom_sets_a_parameter_of_a_file_s_specimen(tmp_path):
    (tmp_path / "twins.py").write_text(KIND)
    argv = ["phantom", str(tmp_path / "twins.py"), "--size", "16", "--set", "twin=2", "-q"]
    assert main([*argv, "--out", str(tmp_path / "a.h5")]) == 0
    expected = make_specimen("composite", 16, 2).volumes
    assert np.array_equal(load_specimen(tmp_path / "a.h5").volumes, expected)


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("twn=2", "specimen.twn", 2),
        ("twin=0.5", "specimen.twin", 0.5),
        ("twin", "--set", "twin"),
    ],
)
def test_phantom_refuses_another_parameter(tmp_path, refusal, setting, key, value):
    (tmp_path / "twins.py").write_text(KIND)
    argv = ["phantom", str(tmp_path / "twins.py"), "--size", "16", "--set", setting]
    error = refusal(*argv, "--out", tmp_path / "a.h5")
    assert (error.key, error.value) == (key, value)


def test_the_help_names_the_defaults_of_the_newest_edition():
    spelt = {True: "yes", False: "no"}
    named = 0
    for option in reconstruct.params:
        _, found, default = (option.help or "").partition("[default: the atlas's, else ")
        if found:
            value = getattr(newest_settings(), option.name)
            usual = spelt[value] if isinstance(value, bool) else str(value).removesuffix(".0")
            assert default == f"{usual}]", option.name
            named += 1
    assert named == 9


def test_without_an_atlas_the_newest_edition_has_the_defaults(monkeypatch):
    monkeypatch.setitem(EDITIONS, 99, {"solver.gamma": 1.75, "search.trials": 7})
    plain = MethodChoice(Method.FUSED, Weights(0.1, 1.0))
    assert settings_for(plain, {})[0].gamma == 1.75
    assert settings_for(plain, {"gamma": 1.5}) == (SolverSettings(gamma=1.5), ())
    monkeypatch.setitem(EDITIONS, 100, {"solver.contrast": "linear", "solver.gamma": 1.1})
    assert settings_for(MethodChoice(Method.FUSED, plain.weights), {})[0].gamma == 1.1
    other = MethodChoice(Method.FUSED, plain.weights)
    assert settings_for(other, {"contrast": "power"})[0] == SolverSettings()
    first = MethodChoice(Method.FUSED, Weights(0.1, 1.0), (), {"gamma": 2.0}, of_atlas=True)
    settings, notes = settings_for(first, {})
    assert (settings.gamma, notes) == (2.0, ())
    assert len(settings_for(first, {"gamma": 1.5})[1]) == 1


PARTICLE = """
[specimen]
kind = "build"
size = 12
field_nm = 60.0
bodies.ball = { shape = "sphere", diameter_nm = 40.0, material = "Co3O4", density = 6.11 }
"""


def test_phantom_writes_what_a_toml_file_describes(tmp_path, refusal):
    (tmp_path / "ball.toml").write_text(PARTICLE)
    out = tmp_path / "ball.h5"
    argv = ["phantom", str(tmp_path / "ball.toml"), "--out", str(out)]
    assert main([*argv, "--set", "bodies.ball.diameter_nm=30.0"]) == 0
    written = load_specimen(out)
    assert (written.elements, written.shape, written.voxel_size_nm) == (("O", "Co"), (12,) * 3, 5.0)
    assert refusal(*argv).source == out
    assert main([*argv, "--force"]) == 0
    assert load_specimen(out).volumes.sum() > 2 * written.volumes.sum()


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("bodies.ball.diameter_nm=90.0", "field_nm"),
        ("bodies.ball.diametre_nm=9.0", "bodies.ball.diametre_nm"),
        ("bodies.cube.shape=cube", "bodies.cube.material"),
        ("field_nm.x=1", "field_nm"),
    ],
)
def test_phantom_refuses_a_body_that_cannot_be(tmp_path, refusal, setting, named):
    (tmp_path / "ball.toml").write_text(PARTICLE)
    argv = ["phantom", str(tmp_path / "ball.toml"), "--set", setting]
    key = refusal(*argv, "--out", tmp_path / "ball.h5").key
    assert key == f"specimen.{named}"


def test_phantom_shows_a_specimen(tmp_path, monkeypatch, refusal):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ball.toml").write_text(PARTICLE)
    assert main(["phantom", "ball.toml", "--show"]) == 0
    assert (tmp_path / "ball.png").stat().st_size > 10_000
    assert refusal("phantom", "ball.toml", "--show", "-q").source == Path("ball.png")
    assert main(["phantom", "ball.toml", "--show", "--out", "other.h5", "-q"]) == 0
    assert {path.name for path in tmp_path.glob("other.*")} == {"other.h5", "other.png"}


def test_simulate_with_faults_and_a_scheme(specimen, tmp_path):
    out, plain = tmp_path / "t.h5", tmp_path / "p.h5"
    argv = ["simulate", str(specimen), *COUNTS, "--tilt-scheme", "saxton", "-q"]
    assert main([*argv, "--out", str(plain)]) == 0
    assert (
        main([*argv, "--disturb", "film=0.5", "--disturb", "overlap=0.1", "--out", str(out)]) == 0
    )
    one, other = load_tilt_series(plain), load_tilt_series(out)
    assert other.haadf.mean() > 1.5 * one.haadf.mean()
    assert other.haadf_angles_deg == one.haadf_angles_deg
    assert other.facts["disturbed_film"] == 0.5


@pytest.mark.parametrize(
    ("fault", "key", "value"),
    [
        ("films=0.1", "films", 0.1),
        ("film=-1", "film", -1),
        ("film=thick", "film", "thick"),
        ("film", "--disturb", "film"),
    ],
)
def test_simulate_refuses_faults_that_are_none(specimen, tmp_path, refusal, fault, key, value):
    argv = ["simulate", specimen, *COUNTS, "--out", tmp_path / "t.h5", "--disturb", fault]
    error = refusal(*argv)
    assert (error.key, error.value) == (key, value)


@pytest.mark.parametrize(
    "command",
    ["reconstruct", "assess", "export", "simulate", "align", "inspect", "show", "phantom", "plan"],
)
def test_force_replaces_no_file_that_is_read(command, tmp_path, refusal):
    source = tmp_path / {"show": "a.png", "phantom": "a.toml"}.get(command, "a.h5")
    if command == "phantom":
        body = 'shape = "sphere"\ndiameter_nm = 5.0\nmaterial = "Au"\n'
        source.write_text(
            f'[specimen]\nkind = "build"\nfield_nm = 9.0\n[specimen.bodies.a]\n{body}'
        )
    elif command == "export":
        save_volumes(source, np.ones((1, 4, 4, 4), np.float32), ("Co",), 1.0)
    else:
        source.write_bytes(b"counts of a night")
    read = {
        "assess": [source] * 2,
        "simulate": [source, *COUNTS],
        "inspect": [source, "--fix"],
        "phantom": [source, "--size", "16"],
        "plan": ["--specimen", source, "--dose", "1e4"],
    }.get(command, [source])
    whole, option = source.read_bytes(), "--page" if command == "plan" else "--out"
    assert refusal(command, *read, option, source, "--force").problem == "read here"
    assert source.read_bytes() == whole
