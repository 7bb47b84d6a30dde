"""The commands on a measured tilt series: what they write, print and end with."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from tomoatlas.analysis.tilts import contact_sheet
from tomoatlas.jobs.cli import main
from tomoatlas.phantoms.formats import load_tilt_series, save_tilt_series
from tomoatlas.recon_core.geometry import Mask

PNG = b"\x89PNG"


def test_align_writes_series_picture_and_table(tilts, tmp_path, capsys, refusal):
    out, table = tmp_path / "placed.h5", tmp_path / "shifts.csv"
    code = main(["align", str(tilts), "--out", str(out), "--table", str(table)])
    assert code in (0, 3)  # at 16 pixels either may be
    printed = capsys.readouterr()
    assert ("did not converge" in printed.err) == (code == 3)
    placed, before = load_tilt_series(out), load_tilt_series(tilts)
    np.testing.assert_array_equal(placed.haadf, before.haadf)
    assert out.with_suffix(".png").read_bytes().startswith(PNG)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["modality"] for row in rows].count("HAADF") == 9
    y, x = placed.haadf_placement.shifts[0]
    assert float(rows[0]["shift_y_px"]) == pytest.approx(
        y + placed.haadf_placement.axis_offset, abs=1e-3
    )
    assert float(rows[0]["shift_x_px"]) == pytest.approx(x, abs=1e-3)
    taken = ["align", str(tilts), "--out", str(out), "-q"]
    assert refusal(*taken).source == out


def test_show_draws_a_sheet(tilts, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert main(["show", str(tilts), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(PNG)
    assert capsys.readouterr().out == f"{out}\n"
    assert main(["show", str(tilts), "--out", str(tmp_path / "sheet.doc")]) == 2


def test_the_sheet_shows_what_is_left_out(tilts):
    series = load_tilt_series(tilts)
    good = np.ones(series.haadf.shape, bool)
    good[2], good[4, 5, 6] = False, False
    images = {
        axes.get_title(): [each.get_array() for each in axes.images]
        for axes in contact_sheet(replace(series, haadf_mask=Mask.of(good))).axes[: len(good)]
    }
    assert sum("left out" in title for title in images) == 1
    overlays = [arrays[1] for arrays in images.values() if len(arrays) > 1]
    assert sorted(int(each.count()) for each in overlays) == [1, good[2].size]


def test_import_prints_what_it_understood(tmp_path, capsys):
    counts = np.random.default_rng(0).poisson(5.0, (2, 5, 12, 12)).astype(np.float32)
    for name, images in zip(("HAADF", "Co"), counts, strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", images)
    out, files = tmp_path / "tilts.h5", [str(tmp_path / f"{n}.tif") for n in ("HAADF", "Co")]
    given = ["--angles", "-40:40:20", "--axis", "x", "--out", str(out)]
    assert main(["import", files[0], f"Au={files[1]}", *given]) == 0
    printed = capsys.readouterr().out
    assert "-40° to 40° (given)" in printed
    series = load_tilt_series(out)
    assert series.elements == ("Au",)
    np.testing.assert_array_equal(series.haadf, counts[0])
    assert out.with_suffix(".png").read_bytes().startswith(PNG)


def test_import_keeps_scales_by_element(tmp_path):
    counts = np.random.default_rng(0).poisson(5.0, (2, 5, 12, 12)).astype(np.float32)
    for name, images in zip(("Co", "O"), counts, strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", images)
    out, files = tmp_path / "tilts.h5", [str(tmp_path / f"{n}.tif") for n in ("Co", "O")]
    given = ["--angles", "-40:40:20", "--axis", "x", "--scale", "O=0.31, Co=1", "--out", str(out)]
    assert main(["import", *files, *given, "-q"]) == 0
    series = load_tilt_series(out)
    assert dict(zip(series.elements, series.chemical_scale, strict=True)) == {"Co": 1, "O": 0.31}


def test_import_takes_a_list_of_angles_longer_than_a_name_can_be(tmp_path):
    tifffile.imwrite(tmp_path / "Co.tif", np.ones((90, 12, 12), np.float32))
    angles = ",".join(f"{a:.3f}" for a in np.linspace(-70, 70, 90))
    out = tmp_path / "tilts.h5"
    assert main(["import", str(tmp_path / "Co.tif"), "--angles", angles, "--out", str(out)]) == 0
    assert load_tilt_series(out).chemical_angles_deg[0] == -70


@pytest.mark.parametrize("option", ["--out", "--sheet"])
def test_import_replaces_no_file_that_it_reads(option, tmp_path, refusal):
    source = tmp_path / ("Co.tif" if option == "--out" else "Co.png")
    tifffile.imwrite(source, np.ones((5, 12, 12), np.float32))
    whole = source.read_bytes()
    given = {"--out": tmp_path / "tilts.h5"} | {option: source}
    words = [str(word) for pair in given.items() for word in pair]
    assert refusal("import", source, *words, "--force").source == source
    assert source.read_bytes() == whole


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ([], "--angles"),
        (["--angles", "-40:40:nothing"], "--angles"),
        (["--angles", "-40:40:10"], "--angles"),
        (["--angles", "-40:40:20", "--map-angles", "-40:40:nothing"], "--map-angles"),
        (["--angles", "-40:40:20", "--window", "Co=1"], "--window"),
        (["--angles", "-40:40:20", "--window", "Fe=6.3:6.5"], "--window"),
        (["--angles", "-40:40:20", "--elements", "co"], "--elements"),
        (["--angles", "-40:40:20", "--scale", "Co"], "--scale"),
        (["--angles", "-40:40:20", "--scale", "Co=1,Co=2"], "--scale"),
        (["--angles", "-40:40:20", "--scale", "Co=0"], "--scale"),
        (["--angles", "-40:40:20", "--scale", "Co=nan"], "--scale"),
        (["--angles", "-40:40:20", "--scale", "Co=1,O=2"], "--scale"),
        (["--angles", "-40:40:20", "--scale", "O=2"], "--scale"),
    ],
)
def test_import_names_what_is_missing(given, key, tmp_path, refusal):
    tifffile.imwrite(tmp_path / "Co.tif", np.ones((5, 12, 12), np.float32))
    out = tmp_path / "tilts.h5"
    assert refusal("import", tmp_path / "Co.tif", *given, "--out", out).key == key
    assert not out.exists()


def test_inspect_names_what_is_bad_and_fixes_it(tilts, tmp_path, capsys):
    series = load_tilt_series(tilts)
    haadf = series.haadf.copy()
    haadf[2, 5, 6] = 1e6
    spoiled, fixed = tmp_path / "spoiled.h5", tmp_path / "fixed.h5"
    save_tilt_series(spoiled, replace(series, haadf=haadf))
    assert main(["inspect", str(spoiled), "--fix", "--out", str(fixed), "--json"]) == 0
    found = {v["name"]: v for v in json.loads(capsys.readouterr().out)}
    assert found["pixels of HAADF"]["verdict"] == "bad"
    assert f"inspect {spoiled} --fix" in found["pixels of HAADF"]["remedy"]
    assert found["pixels of HAADF"]["after"] == "good"
    mended = load_tilt_series(fixed)
    np.testing.assert_array_equal(mended.haadf, haadf)
    assert not mended.haadf_mask.array()[2, 5, 6]
    assert mended.haadf_mask.left_out == 1
    assert main(["inspect", str(fixed), "-q"]) == 0
    assert "pixels of HAADF" not in capsys.readouterr().out
    assert main(["inspect", str(tilts), "--out", str(fixed)]) == 2


def test_inspect_leaves_out_the_tilts_it_is_told(tilts, tmp_path, capsys):
    series, fixed = load_tilt_series(tilts), tmp_path / "fixed.h5"
    image, mapped = series.haadf_angles_deg[1], series.chemical_angles_deg[0]
    told = ["--leave-out", f"haadf:{image:.4g}", "--leave-out", f"maps:{mapped:.4g}"]
    assert main(["inspect", str(tilts), "--fix", *told, "--out", str(fixed)]) == 0
    assert f"left out: {told[1]}, {told[3]}; " in capsys.readouterr().out
    left = load_tilt_series(fixed).with_seen_tilts()
    assert set(series.haadf_angles_deg) - set(left.haadf_angles_deg) == {image}
    assert set(series.chemical_angles_deg) - set(left.chemical_angles_deg) == {mapped}
    # left out for good: a later fix does not bring it back
    again = tmp_path / "again.h5"
    assert main(["inspect", str(fixed), "--fix", "--out", str(again)]) == 0
    assert load_tilt_series(again).haadf_mask == load_tilt_series(fixed).haadf_mask


@pytest.mark.parametrize("given", ["maps:89", "dark:0", "none", "nan", "HAADF:"])
def test_inspect_refuses_tilts_that_are_none(given, tilts, tmp_path, refusal):
    out = tmp_path / "fixed.h5"
    fault = refusal("inspect", tilts, "--fix", "--leave-out", given, "--out", out)
    assert fault.key == "--leave-out"
    assert not out.exists()


def test_inspect_leaves_nothing_out_without_fix(tilts, refusal):
    assert refusal("inspect", tilts, "--leave-out", "0").key == "--leave-out"


def test_inspect_says_what_a_fix_mended_and_what_it_left(tilts, tmp_path, capsys):
    series = load_tilt_series(tilts)
    haadf = np.roll(series.haadf, np.arange(9) % 3 * 2, axis=1)
    haadf[2, 5, 6] = 1e6
    spoiled, fixed = tmp_path / "spoiled.h5", tmp_path / "fixed.h5"
    save_tilt_series(spoiled, replace(series, haadf=haadf))
    assert main(["inspect", str(spoiled), "--fix", "--out", str(fixed)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"{fixed}: mended: pixels of HAADF")
    left = said.partition(";")[2]
    assert main(["inspect", str(fixed), "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert {v["name"] for v in after if v["verdict"] != "good"}
    for verdict in after:
        assert (verdict["verdict"] != "good") == (verdict["name"] in left)
        assert "after" not in verdict
    assert main(["inspect", str(fixed), "--fix", "--force", "--out", str(tmp_path / "2.h5")]) == 0
    assert "nothing was mended" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ("align", "tilts.h5", "--out", ".", "--force"),
        ("import", "Co.tif", "--out", "/", "--force"),
        ("inspect", ".", "--fix"),
        ("show", "."),
    ],
)
def test_a_folder_in_place_of_a_file_is_refused(words, refusal):
    assert refusal(*words).problem == "is a folder"
