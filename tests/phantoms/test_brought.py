"""Files that other people bring: odd headers, notes, names and damage are understood or refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from mrcfile.dtypes import get_ext_header_dtype

from tomoatlas.jobs.cli import main as command
from tomoatlas.phantoms.formats import load_tilt_series
from tomoatlas.phantoms.formats.angles import angles_of_text, sidecar_angles
from tomoatlas.phantoms.formats.gather import Choices, Gathered, gather
from tomoatlas.phantoms.formats.microscope import Channel, read_channels
from tomoatlas.phantoms.formats.names import HAADF, name_of
from tomoatlas.phantoms.formats.pixels import registered
from tomoatlas.phantoms.formats.tiffs import by_channel
from tomoatlas.recon_core.errors import BadInput

# readers of RosettaSciIO leave files open
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

TILTS = (-40.0, -20.0, 0.0, 20.0, 40.0)
IMAGES = np.random.default_rng(0).integers(1, 99, (5, 12, 10)).astype(np.int16)


def write_mrc(path: Path, images: np.ndarray = IMAGES, **facts: object) -> Path:
    with mrcfile.new(path, compression=facts.get("packed")) as file:
        file.set_data(images)
        file.set_image_stack()
        file.voxel_size = 20.0
        if (tilts := facts.get("fei")) is not None:
            kind = get_ext_header_dtype(b"FEI1", "<")
            extended = np.zeros(len(images), kind)
            extended["Metadata size"], extended["Alpha tilt"] = kind.itemsize, tilts
            file.set_extended_header(extended)
            file.header.exttyp = b"FEI1"
    return path


def with_extended(path: Path, extended: bytes, counts: tuple[int, int] = (0, 0)) -> Path:
    """Put bytes between header and images, as programs did before they named them."""
    raw = bytearray(write_mrc(path).read_bytes())
    raw[92:96] = struct.pack("<i", len(extended))
    raw[128:132] = struct.pack("<hh", *counts)
    path.write_bytes(bytes(raw[:1024]) + extended + bytes(raw[1024:]))
    return path


def fei1(path: Path) -> Path:
    return write_mrc(path, fei=TILTS)


def old_fei(path: Path) -> Path:
    records = np.zeros((1024, 32), "<f4")
    records[:5, 0] = TILTS
    return with_extended(path, records.tobytes())


def serial_em(path: Path) -> Path:
    records = struct.pack("<10h", *(v for a in TILTS for v in (round(100 * a), 7)))
    return with_extended(path, records.ljust(1024, b"\0"), (4, 1 | 8))


@pytest.mark.parametrize("make", [fei1, old_fei, serial_em])
def test_tilts_in_the_header_of_an_mrc(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    (channel,) = read_channels(make(tmp_path / "HAADF.mrc"))
    assert channel.angles_deg == TILTS
    assert channel.pixel_nm == pytest.approx(2.0)
    np.testing.assert_array_equal(channel.images, IMAGES)


@pytest.mark.parametrize("kind", ["i1", "<i2", ">i2", "u2", ">f4", "f2"])
@pytest.mark.parametrize("name", ["HAADF.mrc", "HAADF.ST", "HAADF.mrc.gz"])
def test_kinds_of_mrc(tmp_path: Path, kind: str, name: str) -> None:
    packed = "gzip" if name.endswith("gz") else None
    path = write_mrc(tmp_path / name, IMAGES.astype(kind), packed=packed)
    (tmp_path / "HAADF.RAWTLT").write_text("\n".join(map(str, TILTS)))
    (channel,) = read_channels(path)
    np.testing.assert_array_equal(channel.images, IMAGES)
    assert (channel.name, channel.angles_deg) == (HAADF, TILTS)


SECTIONS = "".join(
    f"[ZValue = {i}]\r\nTiltAngle = {a}\r\nDefocus = 1\r\n" for i, a in enumerate(TILTS)
)
NOTES = {
    "plain": "\n".join(map(str, TILTS)),
    "decimal commas": "".join(f"{a:.2f}\n".replace(".", ",") for a in TILTS),
    "numbered": "".join(f"{i + 1}\t{a}\n" for i, a in enumerate(TILTS)),
    "semicolons": ";".join(map(str, TILTS)) + ";",
    "comments": "# angles\n" + "\n".join(f"{a} # deg" for a in TILTS),
    "a header": "Angle (deg)\n" + "\n".join(map(str, TILTS)),
    "a column by its header": "image,tilt,dose\n"
    + "".join(f"{2 * i},{a},{i}\n" for i, a in enumerate(TILTS)),
    "the only column of angles": "".join(f"{i}\t{a}\t1.0\n" for i, a in enumerate(TILTS)),
    "columns of many countries": "Bild;Winkel\n"
    + "".join(f"{i};{a}\n".replace(".", ",") for i, a in enumerate(TILTS)),
    "names of files": "".join(f"a_{i:03}.tif {a}\n" for i, a in enumerate(TILTS)),
    "degrees": "% of the stage\n" + "\n".join(f"{a}°" for a in TILTS),
    "a list of Python": str([*TILTS]),
    "signs of print": "\n".join(f"{a}".replace("-", "\u2212") for a in TILTS),
    "mdoc": SECTIONS,
    "mdoc, sections in another order": "[ZValue"
    + "[ZValue".join(reversed(SECTIONS.split("[ZValue")[1:])),
}


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_notes_of_angles(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / "a.tlt").write_bytes(NOTES[name].encode(encoding))
    assert angles_of_text(tmp_path / "a.tlt") == TILTS


def test_notes_in_gradians_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.tlt").write_text("".join(f"{a / 0.9:.6f} gon\n" for a in TILTS))
    assert angles_of_text(tmp_path / "a.tlt") == pytest.approx(TILTS)


def test_notes_of_two_columns_that_may_be_angles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tlt").write_text("".join(f"{a} {a + 1}\n" for a in TILTS))
    assert len(angles_of_text(tmp_path / "a.tlt")) == 10  # as many as no stack of five takes
    (tmp_path / "b.tlt").write_text("angle\n-40\nlost\n0\n")
    with pytest.raises(BadInput, match="lost"):
        angles_of_text(tmp_path / "b.tlt")


@given(st.permutations(range(5)))
def test_images_are_where_the_numbers_of_an_mdoc_say(order: list[int]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder, "a.mdoc")
        path.write_text("".join(f"[ZValue = {i}]\nTiltAngle = {TILTS[i]}\n" for i in order))
        assert angles_of_text(path) == TILTS


def test_angles_beside_the_file_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    write_mrc(tmp_path / "kept/1.mrc").with_suffix(".rawtlt").write_text(NOTES["plain"])
    (tmp_path / "Co.mrc").symlink_to(tmp_path / "kept/1.mrc")
    found = sidecar_angles(tmp_path / "Co.mrc")
    assert found is not None
    assert found[0] == TILTS


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Au_La", "Au"),
        ("Au Lα1", "Au"),
        ("Au-M", "Au"),
        ("AuMa", "Au"),
        ("au", "Au"),
        ("AU", "Au"),
        ("au_la_-60", "Au"),
        ("Carbon", "C"),
        ("map of gold", "Au"),
        ("aluminum", "Al"),
        ("Gold (Au) L", "Au"),
        ("haadf_12", HAADF),
        ("no map in it", ""),
        ("he said so", ""),
        ("IMG_001", ""),
        ("lead and tin", ""),
    ],
)
def test_names_of_maps(text: str, named: str) -> None:
    assert name_of("", Path(f"{text}.mrc")) == named
    assert name_of(text, Path("1.mrc")) == named


ELEMENTS = ("Co", "O", "Au")


def hyperstack(path: Path) -> None:
    labels = [name for _ in TILTS for name in ELEMENTS]
    facts = {"axes": "ZCYX", "unit": "nm", "Labels": labels}
    tifffile.imwrite(path, STACKS, imagej=True, resolution=(0.5, 0.5), metadata=facts)


def ome(path: Path) -> None:
    facts = {"axes": "ZCYX", "PhysicalSizeX": 2e-3, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(path, STACKS, ome=True, metadata=facts | {"Channel": {"Name": ELEMENTS}})


STACKS = np.stack([IMAGES + i for i in range(3)], axis=1).astype(np.float32)


@pytest.mark.parametrize("make", [hyperstack, ome])
def test_channels_and_pixels_of_a_tiff(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "maps.ome.tif"
    make(path)
    (tmp_path / "maps.rawtlt").write_text(NOTES["plain"])
    channels = read_channels(path)
    assert tuple(c.name for c in channels) == ELEMENTS
    for i, channel in enumerate(channels):
        np.testing.assert_array_equal(channel.images, IMAGES + i)
        assert (channel.angles_deg, channel.pixel_nm) == (TILTS, pytest.approx(2.0))


@pytest.mark.parametrize("axis", ["stack_element", "", "time"])
def test_what_is_no_axis_of_channels_stays(axis: str) -> None:
    signal = {"data": IMAGES, "axes": [{"name": axis}, {"name": "y"}, {"name": "x"}]}
    facts = {"metadata": {"Sample": {"elements": ["A"] * 5}}}
    assert list(by_channel(signal | facts)) == [signal | facts]


def write_emd(path: Path, tilts: bool, version: bool, names: tuple[str, ...]) -> None:
    """Groups of stacks, first axis slowest, as of ncempy, or as of a tomviz without its tilts."""
    with h5py.File(path, "w") as file:
        if version:
            file.attrs.update({"version_major": 0, "version_minor": 2})
        for i, name in enumerate(names):
            group = file.create_group(f"data/{name}")
            group.attrs["emd_group_type"] = 1
            group["data"] = IMAGES + i
            axis = ("tilt", "[deg]", TILTS) if tilts else ("z", "[n_m]", range(5))
            dims = (axis, ("y", "[n_m]", range(12)), ("x", "[n_m]", range(10)))
            for n, (name_, unit, values) in enumerate(dims, start=1):
                group[f"dim{n}"] = np.array(values, np.float64)
                group[f"dim{n}"].attrs.update({"name": name_, "units": unit})


@pytest.mark.parametrize("version", [True, False])
@pytest.mark.parametrize("tilts", [True, False])
def test_an_emd_of_several_groups(tmp_path: Path, tilts: bool, version: bool) -> None:
    write_emd(tmp_path / "a.emd", tilts, version, ("HAADF", "Co"))
    channels = {c.name: c for c in read_channels(tmp_path / "a.emd")}
    assert set(channels) == {HAADF, "Co"}
    for i, name in enumerate((HAADF, "Co")):
        np.testing.assert_array_equal(channels[name].images, IMAGES + i)
        assert channels[name].angles_deg == (TILTS if tilts else None)


def both(haadf: np.ndarray, maps: np.ndarray, angles: tuple[float, ...] = TILTS) -> Gathered:
    path = Path("a.mrc")
    one = Channel(HAADF, haadf.astype(np.float32), angles, "", 1.0, path)
    other = Channel("Co", maps.astype(np.float32), TILTS, "", 1.0, path)
    return gather([one, other], Choices(axis="x"))


def test_angles_of_another_stack_beside_a_file_are_named(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "co.mrc")
    (tmp_path / "co.rawtlt").write_text("1\n2\n")
    with pytest.raises(BadInput) as refused:
        gather(read_channels(path, ()), Choices())
    assert (refused.value.key, refused.value.value) == ("co.rawtlt", 2)
    assert refused.value.accepted == "5 angles, or --angles"


@pytest.mark.parametrize("bits", [8, 16])
def test_unsigned_values_of_a_signed_file(bits: int) -> None:
    y, x = np.mgrid[:24, :20]
    bump = np.exp(-((y - 12) ** 2 + (x - 10) ** 2) / 40)
    full = 2.0**bits * np.stack([0.01 + 0.9 * bump + 0.001 * t for t in range(5)])
    true = full.astype(f"u{bits // 8}")
    found = both(true.view(f"i{bits // 8}"), np.ones((5, 24, 20), np.uint8))
    assert np.array_equal(found.series.haadf, true)
    assert any("unsigned" in note for note in found.notes)
    # small values about a subtracted background are negative indeed
    around = true.astype(np.int32) // 4 - 2 ** (bits - 7)
    assert not any("unsigned" in note for note in both(around, np.ones((5, 24, 20))).notes)


def test_repeats_of_a_tilt_are_those_of_each_element() -> None:
    angles = (-20.0, -20.0, 0.0, 20.0, 40.0)
    path, images = Path("a.mrc"), IMAGES.astype(np.float32)
    parts = [Channel(n, images, angles, "", 1.0, path) for n in (HAADF, "Co", "O")]
    assert gather(parts, Choices(axis="x")).series.chemical_angles_deg == angles


def test_a_file_that_is_given_twice_counts_once() -> None:
    path, images = Path("a.mrc"), IMAGES.astype(np.float32)
    once = [Channel(n, images, TILTS, "", 1.0, path) for n in (HAADF, "Co")]
    found = gather([*once, once[0]], Choices(axis="x"))
    assert found.series.haadf_angles_deg == TILTS
    assert any("5 images that are copies" in note for note in found.notes)


def test_pixels_that_are_no_number_are_masked() -> None:
    haadf, maps = IMAGES.astype(np.float32), IMAGES.astype(np.float32)
    haadf[1, 2, 3], haadf[4], maps[0, 5, 6] = np.inf, np.nan, np.nan
    found = both(haadf, maps)
    seen = found.series.haadf_mask.array()
    assert not seen[1, 2, 3]
    assert (seen.sum(), found.series.chemical_mask.left_out) == (4 * 120 - 1, 1)
    np.testing.assert_array_equal(found.series.haadf[seen], haadf[seen])
    assert sum("masked" in note for note in found.notes) == 2


@given(st.floats(1.1, 3.0))
def test_a_missing_pixel_spoils_no_other_than_those_it_lies_in(ratio: float) -> None:
    from tomoatlas.phantoms.formats.pixels import Stack

    made = Stack(HAADF, np.ones((1, 12, 12), np.float32), (0.0,), "", 1.0, np.zeros((1, 2)))
    holed = made.images.copy()
    holed[0, 6, 6] = np.nan
    spread, whole = replace(made, images=holed).spread(ratio).images, made.spread(ratio).images
    known = np.isfinite(spread)
    assert 1 <= (~known).sum() <= 4
    np.testing.assert_allclose(spread[known], whole[known], rtol=1e-6)


@pytest.mark.parametrize(
    ("haadf", "angles", "said"),
    [
        (np.full((5, 12, 10), np.nan), TILTS, "NaN or infinite"),
        (IMAGES * 1e30, TILTS, "not a count"),
        (IMAGES, (0.0,) * 5, "at one tilt"),
        (IMAGES, (*TILTS[:4], np.nan), "no tilt of HAADF"),
        (IMAGES, tuple(100 * a for a in TILTS), "no tilt of HAADF"),
    ],
)
def test_what_is_no_series_is_refused(
    haadf: np.ndarray, angles: tuple[float, ...], said: str
) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        both(haadf, IMAGES, angles)
    assert refused.value.source == Path("a.mrc")


def test_fields_without_a_common_part(tmp_path: Path) -> None:
    from tomoatlas.phantoms.formats.pixels import Stack

    sizes = {HAADF: 100.0, "Co": 1.0}
    images = IMAGES.astype(np.float32)
    stacks = [Stack(n, images, TILTS, "", s, np.zeros((5, 2))) for n, s in sizes.items()]
    with pytest.raises(BadInput, match="HAADF 100 nm, Co 1 nm"):
        registered(stacks, 1, [])


DAMAGE = {"empty": b"", "half": None, "noise": bytes(np.random.default_rng(1).bytes(3000))}
SUFFIXES = ["bcf", "dm3", "dm4", "emd", "h5", "hspy", "mib", "mrc", "npy", "nxs", "png", "pts"]
SUFFIXES += ["rpl", "ser", "tif", "xyz", "zspy"]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_of_any_suffix(
    tmp_path: Path, suffix: str, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"HAADF.{suffix}"
    content = DAMAGE[damage]
    if content is None:
        write_emd(tmp_path / "whole.emd", True, True, ("HAADF",))
        write_mrc(tmp_path / "whole.mrc")
        tifffile.imwrite(tmp_path / "whole.tif", IMAGES)
        like = suffix if suffix in ("mrc", "tif") else "emd"
        whole = (tmp_path / f"whole.{like}").read_bytes()
        content = whole[: len(whole) // 2]
    path.write_bytes(content)
    assert command(["import", str(path), "--out", str(tmp_path / "t.h5")]) == 2
    said = capfd.readouterr()
    assert said.err.count("\n") == 1
    assert str(path) in said.err
    assert not said.out
    assert not (tmp_path / "t.h5").exists()


def test_a_folder_is_named_and_masks_stay(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.h5"
    assert command(["import", str(tmp_path), "--out", str(out)]) == 2
    assert "not a file" in capfd.readouterr().err
    haadf = np.tile(IMAGES.astype(np.float32), (1, 2, 2))
    haadf[2, 3, 4] = np.nan
    paths = [tmp_path / "HAADF.tif", write_mrc(tmp_path / "Co.mrc", np.nan_to_num(haadf))]
    tifffile.imwrite(paths[0], haadf)
    for path in paths:
        path.with_suffix(".tlt").write_text(NOTES["plain"])
    assert command(["import", *map(str, paths), "--axis", "x", "--out", str(out)]) == 0
    assert command(["inspect", str(out), "--fix"]) == 0
    mended = load_tilt_series(tmp_path / "t_fixed.h5").haadf_mask
    assert mended is not None
    assert not mended.array()[2, 3, 4]
    assert command(["import", str(out), "--out", str(tmp_path / "again.h5")]) == 2
    assert "already" in capfd.readouterr().err
