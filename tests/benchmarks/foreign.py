"""Series in the layouts of other programs, through every command, beside what was put into them.

    python tests/benchmarks/foreign.py [SIZE [NAME ...]]

Each layout holds the same simulated counts; what import makes of them is compared with the series
they came from, then inspect, align, reconstruct, assess and export are run on it. An exit code of
3 is a verdict, not a failure.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import tifffile
from common import table
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1] / "recon_core"))
from misaligned import NONE, misaligned, specimen_in_vacuum, truth

from tomoatlas.jobs.cli import main as command
from tomoatlas.phantoms.formats import load_tilt_series, load_volumes
from tomoatlas.phantoms.formats.lines import LINES, width_at
from tomoatlas.recon_core.metrics import nrmse
from tomoatlas.recon_core.tiltseries import TiltSeries

ELEMENTS = ("Co", "Cu", "O", "Au")
ENERGIES = 0.01 * np.arange(1100)  # keV
Layout = Callable[[Path, TiltSeries], list[str]]


def mrc(path: Path, images: np.ndarray, angles: tuple[float, ...], pixel: float = 1.0) -> str:
    """An MRC stack with its angles beside it."""
    with mrcfile.new(path) as file:
        file.set_data(images)
        file.set_image_stack()
        file.voxel_size = 10.0 * pixel
    path.with_suffix(".rawtlt").write_text("".join(f"{a:.3f}\n" for a in angles))
    return str(path)


def maps_as_mrc(folder: Path, series: TiltSeries, maps: np.ndarray | None = None) -> list[str]:
    """A stack of each element."""
    images = series.chemical if maps is None else maps
    pairs = zip(series.elements, images, strict=True)
    return [mrc(folder / f"{e}.mrc", m, series.chemical_angles_deg) for e, m in pairs]


def signal(data: np.ndarray, axes: list[tuple[str, str | None, float, float]], **meta: object):
    """What RosettaSciIO's writer of hspy takes; axes as name, unit, offset, step."""
    described = [
        {
            "_type": "UniformDataAxis",
            "name": name,
            "size": size,
            "units": units,
            "offset": offset,
            "scale": step,
            "navigate": name not in meta.get("signal", ("y", "x")),
            "is_binned": False,
        }
        for (name, units, offset, step), size in zip(axes, data.shape, strict=True)
    ]
    return {
        "data": data,
        "axes": described,
        "metadata": {
            "General": {"title": meta.get("title", "")},
            "Sample": {"elements": list(meta.get("elements", ()))},
            "Signal": {"signal_type": meta.get("kind", "")},
        },
        "original_metadata": {},
        "tmp_parameters": {},
        "attributes": {"_lazy": False},
        "models": {},
        "learning_results": {},
        "package_info": {"package": "hyperspy", "package_version": "2"},
    }


def hspy(path: Path, *args: object, **meta: object) -> str:
    """A signal of HyperSpy."""
    from rsciio.hspy import file_writer

    file_writer(str(path), signal(*args, **meta))
    return str(path)


def tilt_axis(angles: tuple[float, ...], name: str = "tilt", units: str = "deg"):
    """Axis of evenly spaced tilts."""
    return (name, units, angles[0], (angles[-1] - angles[0]) / (len(angles) - 1))


def authors(folder: Path, series: TiltSeries) -> list[str]:
    """The layout of the paper's authors."""
    path = folder / "authors.h5"
    with h5py.File(path, "w") as file:
        file["haadf/tiltSeries"] = series.haadf.transpose(2, 1, 0)
        file["haadf/tiltAngles"] = series.haadf_angles_deg
        file["edx/tiltAngles"] = series.chemical_angles_deg
        for element, maps in zip(series.elements, series.chemical, strict=True):
            file[f"edx/{element}"] = maps.transpose(2, 1, 0)
    return [str(path)]


def tomviz(folder: Path, series: TiltSeries) -> list[str]:
    """An EMD of tomviz: maps as its scalars, HAADF in a file of its own, tilts in radians."""
    out = []
    for name, images, angles in (
        ("HAADF", {"HAADF": series.haadf}, series.haadf_angles_deg),
        (
            "maps",
            dict(zip(series.elements, series.chemical, strict=True)),
            series.chemical_angles_deg,
        ),
    ):
        path = folder / f"{name}.emd"
        with h5py.File(path, "w") as file:
            group = file.create_group("data/tomography")
            group.attrs["emd_group_type"] = 1
            first, *others = images
            _, y, x = images[first].shape
            for i, (axis, values, units) in enumerate(
                (
                    ("x", np.arange(x), "[n_m]"),
                    ("y", np.arange(y), "[n_m]"),
                    ("angles", np.deg2rad(angles), "[rad]"),
                ),
                start=1,
            ):
                group[f"dim{i}"] = np.float32(values)
                group[f"dim{i}"].attrs.update({"name": np.bytes_(axis), "units": np.bytes_(units)})
            group["data"] = images[first].T
            group["data"].attrs["name"] = np.bytes_(first)
            group.create_group("tomviz_scalars")
            for other in others:
                group[f"tomviz_scalars/{other}"] = images[other].T
            if others:
                group[f"tomviz_scalars/{first}"] = group["data"]
        out.append(str(path))
    return out


def velox(folder: Path, series: TiltSeries) -> list[str]:
    """Velox's EMD, one tilt a file: images by a hash, their metadata as bytes of JSON."""
    import json

    def image(file: h5py.File, number: int, name: str, data: np.ndarray, tilt: float) -> None:
        group = file.create_group(f"Data/Image/{number:032x}")
        group.create_dataset("Data", data=data[..., None])
        facts = {
            "Core": {"MetadataDefinitionVersion": "7.9", "MetadataSchemaVersion": "v1/2013/07"},
            "BinaryResult": {
                "PixelSize": {"width": "1e-9", "height": "1e-9"},
                "PixelUnitX": "m",
                "PixelUnitY": "m",
                "Offset": {"x": "0", "y": "0"},
                "Detector": name,
                "DetectorIndex": "0",
                "ImageSize": {"width": str(data.shape[1]), "height": str(data.shape[0])},
            },
            "Stage": {
                "AlphaTilt": str(np.deg2rad(tilt)),
                "BetaTilt": "0",
                "Position": {"x": "0", "y": "0", "z": "0"},
            },
            "Instrument": {"InstrumentClass": "Talos", "InstrumentModel": "T"},
            "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1700000000"}},
            "Optics": {"AccelerationVoltage": "200000"},
            "Scan": {"FrameTime": "1", "DwellTime": "1e-6"},
            "Detectors": {"Detector-0": {"DetectorName": name}},
            "CustomProperties": {},
        }
        text = json.dumps(facts).encode()
        meta = np.zeros((65536, 1), np.uint8)
        meta[: len(text), 0] = np.frombuffer(text, np.uint8)
        group["Metadata"] = meta

    paths = []
    chemical = dict(zip(series.chemical_angles_deg, range(99), strict=False))
    for i, tilt in enumerate(series.haadf_angles_deg):
        path = folder / f"series_{i:03}.emd"
        with h5py.File(path, "w") as file:
            file["Version"] = [json.dumps({"format": "Velox", "version": "11"})]
            image(file, 1, "HAADF", series.haadf[i].astype(np.uint16), tilt)
            image(file, 2, "BF", (60000 - series.haadf[i]).clip(0).astype(np.uint16), tilt)
            tilt = (
                min(chemical, key=lambda a: abs(a - tilt))
                if min(abs(a - tilt) for a in chemical) < 0.01
                else tilt
            )
            if tilt in chemical:
                for n, (element, maps) in enumerate(
                    zip(series.elements, series.chemical, strict=True)
                ):
                    image(file, 3 + n, element, maps[chemical[tilt]].astype(np.float32), tilt)
        paths.append(str(path))
    return paths


def mdoc(folder: Path, series: TiltSeries) -> list[str]:
    """Signed and unsigned integers, SerialEM's notes beside the HAADF, tilts in no order."""
    order = np.random.default_rng(0).permutation(len(series.haadf))
    haadf = series.haadf[order].astype(np.uint16)
    path = folder / "HAADF.st"
    with mrcfile.new(path) as file:
        file.set_data(haadf)
        file.set_image_stack()
        file.voxel_size = 10.0
    lines = [
        f"[ZValue = {i}]\nTiltAngle = {series.haadf_angles_deg[o]:.4f}\nDefocus = 0\n"
        for i, o in enumerate(order)
    ]
    Path(f"{path}.mdoc").write_text("PixelSpacing = 10\n\n" + "\n".join(lines))
    return [str(path), *maps_as_mrc(folder, series, series.chemical.astype(np.int16))]


def tiffs(folder: Path, series: TiltSeries) -> list[str]:
    """One tilt a file, a counter behind the angle, big-endian, no pixel size, HAADF four-fold."""
    paths = []
    channels = [("HAADF", series.haadf, series.haadf_angles_deg)]
    pairs = zip(series.elements, series.chemical, strict=True)
    channels += [(f"EDS_{e}-K", m, series.chemical_angles_deg) for e, m in pairs]
    for name, images, angles in channels:
        for i, (image, angle) in enumerate(zip(images, angles, strict=True)):
            path = folder / f"2024-11-03_{name}_{angle:.1f}_{i + 1:04}.tif"
            data = np.kron(image, np.full((2, 2), 0.25)) if name == "HAADF" else image
            tifffile.imwrite(path, data.astype(">f4"), byteorder=">")
            paths.append(str(path))
    return paths


def hspy_last(folder: Path, series: TiltSeries) -> list[str]:
    """Tilts as the last axis of a signal, in radians; unsigned maps."""
    y, x = ("y", "nm", 0.0, 1.0), ("x", "nm", 0.0, 1.0)
    turned = tilt_axis(tuple(np.deg2rad(series.haadf_angles_deg)), "alpha", "rad")
    out = [hspy(folder / "a.hspy", series.haadf.transpose(1, 2, 0), [y, x, turned], title="HAADF")]
    for element, maps in zip(series.elements, series.chemical, strict=True):
        axes = [y, tilt_axis(series.chemical_angles_deg), x]
        data = maps.transpose(1, 0, 2).astype(np.uint8)
        out.append(hspy(folder / f"{element}_map.hspy", data, axes, title=f"{element} Kα"))
    return out


def spectrum_image(folder: Path, series: TiltSeries) -> list[str]:
    """Spectra of all pixels, tilts first, energies in eV, elements named by the file."""
    data = np.zeros((*series.chemical.shape[1:], len(ENERGIES)), np.float32)
    for element, maps in zip(series.elements, series.chemical, strict=True):
        width = width_at(LINES[element]) / 2.355
        peak = np.exp(-((ENERGIES - LINES[element]) ** 2) / (2 * width**2))
        data += maps[..., None] * (peak / peak.sum()).astype(np.float32)
    data = np.random.default_rng(0).poisson(data + 0.01).astype(np.uint16)
    axes = [tilt_axis(series.chemical_angles_deg), ("y", "nm", 0.0, 1.0), ("x", "nm", 0.0, 1.0)]
    axes += [("Energy", "eV", 0.0, 10.0)]
    facts = {"elements": series.elements, "kind": "EDS_TEM", "signal": ("Energy",)}
    si = hspy(folder / "edx.hspy", data, axes, title="EDX", **facts)
    return [mrc(folder / "HAADF.mrc", series.haadf, series.haadf_angles_deg), si]


def unnamed_axes(folder: Path, series: TiltSeries) -> list[str]:
    """A stack whose axes have neither names nor units, angles in a list beside it."""
    none = [("", None, 0.0, 1.0)] * 3
    out = [hspy(folder / "HAADF.hspy", series.haadf, none)]
    (folder / "HAADF.rawtlt").write_text("\n".join(f"{a}" for a in series.haadf_angles_deg))
    return [*out, *maps_as_mrc(folder, series)]


def reversed_sense(folder: Path, series: TiltSeries) -> list[str]:
    """HAADF tilts of the other sign, the axis upright in all images."""
    haadf = np.rot90(series.haadf, -1, (1, 2))
    angles = tuple(-a for a in series.haadf_angles_deg)
    maps = np.rot90(series.chemical, -1, (2, 3))
    return [mrc(folder / "HAADF.mrc", haadf, angles), *maps_as_mrc(folder, series, maps)]


def all_round(folder: Path, series: TiltSeries) -> list[str]:
    """Angles from 20° to 160°, as of a holder mounted upright, views from behind among them."""
    haadf, angles = series.haadf.copy(), np.array(series.haadf_angles_deg)
    behind = angles < -20
    haadf[behind] = haadf[behind, ::-1]
    angles[behind] += 180
    return [mrc(folder / "HAADF.mrc", haadf, tuple(angles)), *maps_as_mrc(folder, series)]


def other_pixels(folder: Path, series: TiltSeries) -> list[str]:
    """HAADF of pixels 1/1.6 as large, on a field one row larger."""
    fine = ndimage.zoom(series.haadf, (1, 1.6, 1.6), order=1, grid_mode=True, mode="grid-constant")
    pixel = series.haadf.shape[1] / fine.shape[1]
    haadf = np.pad(fine / (1 / pixel) ** 2, ((0, 0), (0, 1), (0, 1)), mode="edge")
    out = [mrc(folder / "HAADF.mrc", haadf.astype(np.float32), series.haadf_angles_deg, pixel)]
    return out + maps_as_mrc(folder, series)


def fewer_maps(folder: Path, series: TiltSeries) -> list[str]:
    """One element at a part of the tilts, its stage a little off; negative counts in the maps."""
    out = [mrc(folder / "HAADF.mrc", series.haadf, series.haadf_angles_deg)]
    for i, (element, maps) in enumerate(zip(series.elements, series.chemical, strict=True)):
        part = slice(1, None) if i == 1 else slice(None)
        angles = tuple(a + 0.02 * i for a in series.chemical_angles_deg[part])
        out.append(
            mrc(folder / f"{element}.mrc", maps[part] - series.chemical_background[i], angles)
        )
    return out


LAYOUTS: dict[str, Layout] = {
    f.__name__: f
    for f in (
        authors,
        tomviz,
        velox,
        mdoc,
        tiffs,
        hspy_last,
        spectrum_image,
        unnamed_axes,
        reversed_sense,
        all_round,
        other_pixels,
        fewer_maps,
    )
}


def run(*argv: object) -> tuple[int, str]:
    """Exit code of a command, and what it printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = command([str(word) for word in argv])
    return code, said.getvalue()


def alike(found: TiltSeries, known: TiltSeries) -> tuple[float, float]:
    """Correlations of HAADF and of the maps with what was put in; 0 where shapes differ."""

    def one(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if a.shape == b.shape else 0.0

    order = [found.elements.index(e) for e in known.elements]
    return one(found.haadf, known.haadf), one(found.chemical[order], known.chemical)


def row(name: str, known: TiltSeries, specimen: object, verbose: bool) -> list[object]:
    """One line of the table: a layout through all commands."""
    with tempfile.TemporaryDirectory(prefix="tomoatlas-foreign-") as made:
        folder = Path(made)
        files = LAYOUTS[name](folder, known)
        tilts, aligned, out = (folder / f"{n}.h5" for n in ("tilts", "aligned", "volumes"))
        cells: list[object] = [name]
        elements = ("--elements", ",".join(known.elements)) if name == "velox" else ()
        code, said = run("import", *files, *elements, "--out", tilts)
        if verbose or code:
            print(said)
        if code:
            return [name, "–", "–", f"import {code}", "", ""]
        found = load_tilt_series(tilts)
        cells += [f"{c:.3f}" for c in alike(found, known)]
        codes = [run("show", tilts, "--out", folder / "sheet.png")[0]]
        codes += [run("inspect", tilts, "--fix", "--out", folder / "fixed.h5")[0]]
        codes += [run("align", folder / "fixed.h5", "--out", aligned)[0]]
        fast = ("--weights", "auto", "--max-iterations", "60")
        code, said = run("reconstruct", aligned, *fast, "--out", out)
        codes.append(code)
        if code == 0:
            code, words = run("assess", out, aligned)
            codes += [code] + [
                run("export", out, "--out", folder / f"v.{s}")[0]
                for s in ("emd", "tif", "hspy", "mrc")
            ]
            volumes, names, _ = load_volumes(out)
            order = [names.index(e) for e in known.elements]
            pairs = zip(volumes[order], specimen.volumes, strict=True)
            cells.append(f"{np.mean([nrmse(found, true) for found, true in pairs]):.3f}")
            if verbose:
                print(words)
        else:
            print(said)
            cells.append("–")
        return [*cells, " ".join(map(str, codes))]


def main() -> None:
    """Print the table."""
    words = sys.argv[1:]
    verbose = "-v" in words
    words = [w for w in words if w != "-v"]
    size = int(words[0]) if words else 32
    fine = specimen_in_vacuum("nanocubes", size * 4 // 3, 2 * size, 0)
    known = misaligned(fine, NONE, 0, (31, 11), (400.0, 6.0))
    known = replace(known, haadf=np.minimum(known.haadf, 60000))
    header = ["layout", "HAADF", "maps", "NRMSE", "exit codes"]
    table(header, (row(n, known, truth(fine), verbose) for n in (words[1:] or LAYOUTS)))


if __name__ == "__main__":
    main()
