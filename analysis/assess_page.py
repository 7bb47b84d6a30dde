"""The page of an assessment: one self-contained HTML file with its verdict, tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..phantoms.formats.files import write_aside
from ..recon_core.methods import Method
from ..recon_core.metrics.resolution import AGAINST_TRUTH
from ..recon_core.result import Reconstruction
from .figures.draw import page_picture, plain_log_ticks
from .figures.pictures import draw_scale_bar
from .trust import Assessment, ElementTrust

Array = NDArray[np.float32]

DIRECTIONS = {"all": "all", "z": "z, beam", "y": "y", "x": "x, tilt axis"}
COLOURS = {"all": "black", "z": "#0072B2", "y": "#D55E00", "x": "#009E73"}
CHANNELS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MOST_ERROR = 0.5  # of an element's level: drawn at the end of the scale
TOP = 99.5  # percentile of a volume drawn white


def write_assessment(path: Path, found: Assessment, solved: Reconstruction, name: str) -> None:
    """Write the page of an assessment.

    Parameters
    ----------
    path : of the HTML file, which is replaced.
    found : the assessment.
    solved : the reconstruction that it is of.
    name : for the title.
    """
    from .report import rendered  # with plotly, which the lines alone do without

    page = rendered(
        "assess.html",
        name=name,
        facts=_facts(found),
        findings=[str(finding) for finding in found.findings],
        header=HEADER,
        rows=[_row(each) for each in found.elements],
        judged=_judged(found),
        moves=_moves(found),
        pictures={
            key: page_picture(partial(draw, found, solved)) for key, draw in _PICTURES.items()
        },
    )
    write_aside(path, lambda part: part.write_text(page, encoding="utf-8"))


HEADER = (
    "element",
    "misfit",
    "gain of fusion",
    "resolution / nm",
    "z",
    "y",
    "x",
    "NRMSE",
    "counts per tilt",
    "volume / counts",
    "atoms",
)


def assessment_lines(found: Assessment) -> list[str]:
    """What was found, for people, the doubts last.

    Parameters
    ----------
    found : the assessment.
    """
    low, high = found.interval
    lines = [str(channel) for channel in found.misfit.channels]
    lines += [_judged(found)] if _judged(found) else []
    lines += [
        f"{e.element}: resolution {_nm(e.resolution_nm['all'])} nm (z {_nm(e.resolution_nm['z'])}, "
        f"y {_nm(e.resolution_nm['y'])}, x {_nm(e.resolution_nm['x'])}), NRMSE to expect "
        f"{e.nrmse:.2f}, {e.counts:,.0f} ± {e.counts_error:,.0f} counts per tilt, volume / counts "
        f"{e.total:.2f}{_atoms(e, ', atoms ')}"
        for e in found.elements
    ]
    lines.append(
        f"mean NRMSE to expect: {found.nrmse:.2f} ({low:.2f} to {high:.2f} in nine of ten cases, "
        "if the model holds)"
    )
    lines += [f"doubt: {finding}" for finding in found.findings]
    return [*lines, *(() if found.findings else ("nothing speaks against it",))]


def _facts(found: Assessment) -> dict[str, str]:
    low, high = found.interval
    weights = ", ".join(f"{n} {getattr(found.weights, n):.3g}" for n in found.method.weight_names)
    return {
        "method": str(found.method),
        "weights": weights or "none",
        "mean NRMSE to expect": f"{found.nrmse:.2f} ({low:.2f} to {high:.2f})",
        "doubts": str(len(found.findings)),
    }


def _judged(found: Assessment) -> str:
    """Fused beside chemistry + TV, in words; empty for volumes without HAADF."""
    if found.method is not Method.FUSED:
        return ""
    gain, error = found.gain, found.gain_error
    verb = "better" if gain > 0 else "worse"
    return (
        f"{str(found.method).capitalize()} predicts held-out counts {verb} than chemistry + TV: by "
        f"{abs(gain):.2%} ± {error:.2%} of their deviance"
    )


def _moves(found: Assessment) -> str:
    if not found.moves.size:
        return ""
    y, x = np.sqrt((found.moves**2).mean(axis=0))
    return (
        f"HAADF images lie {y:.2f} pixels across and {x:.2f} along the tilt axis off their model "
        f"(root mean squares); {found.unexplained:.1%} of the signal is unexplained beyond noise."
    )


def _row(each: ElementTrust) -> list[str]:
    return [
        each.element,
        f"{each.misfit:.2f}",
        f"{each.gain:+.2%} ± {each.gain_error:.2%}".replace("-", "−"),
        *(_nm(each.resolution_nm[where]) for where in DIRECTIONS),
        f"{each.nrmse:.2f}",
        f"{each.counts:,.0f} ± {each.counts_error:,.0f}",
        f"{each.total:.2f}",
        _atoms(each, "") or "scale unknown",
    ]


def _nm(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "none"


def _atoms(each: ElementTrust, before: str) -> str:
    if each.fraction is None or each.fraction_error is None:
        return ""
    return f"{before}{each.fraction:.3f} ± {each.fraction_error:.3f}"


def misfit_figure(found: Assessment, solved: Reconstruction) -> Figure:
    """Draw the misfit of every signal over the tilts, and how far HAADF lies off its model.

    Parameters
    ----------
    found, solved : assessment and its reconstruction.
    """
    del solved
    figure = Figure(figsize=(10.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for channel, colour in zip(found.misfit.channels, CHANNELS * 2, strict=False):
        order = np.argsort(channel.angles_deg)
        angles, values = (np.array(v)[order] for v in (channel.angles_deg, channel.by_tilt))
        left.plot(angles, values, "o-", ms=3, lw=1, color=colour, label=channel.name)
    left.axhline(1.0, color="grey", lw=0.8, ls="--")
    left.set_yscale("log")
    plain_log_ticks(left.yaxis, *left.get_ylim())
    left.set_xlabel("tilt / °")
    left.set_ylabel("misfit / noise")
    left.legend(fontsize=8)
    if found.misfit.haadf is not None and len(found.moves):
        angles = np.array(found.misfit.haadf.angles_deg)
        for part, label in ((0, "y, across the axis"), (1, "x, along it")):
            right.plot(angles, found.moves[:, part], "o", ms=3, label=label)
        right.legend(fontsize=8)
    right.axhline(0.0, color="grey", lw=0.8)
    right.set_xlabel("tilt / °")
    right.set_ylabel("HAADF off its model / pixels")
    return figure


def halves_figure(found: Assessment, solved: Reconstruction) -> Figure:
    """Draw the shell correlation of half-data reconstructions, by element and direction.

    Parameters
    ----------
    found, solved : assessment and its reconstruction.
    """
    del solved
    figure = Figure(figsize=(10.0, 3.0), layout="constrained")
    panels = figure.subplots(1, len(found.halves), sharey=True, squeeze=False)[0]
    for axes, (element, curves) in zip(panels, found.halves.items(), strict=True):
        for where, curve in curves.items():
            width = 1.8 if where == "all" else 1.0
            axes.plot(
                curve.frequency,
                curve.correlation,
                color=COLOURS[where],
                lw=width,
                label=DIRECTIONS[where],
            )
        axes.axhline(AGAINST_TRUTH, color="grey", lw=0.8, ls="--")
        axes.set_title(element, fontsize=10)
        axes.set_xlabel("cycles / nm")
        axes.set_ylim(-0.1, 1.05)
    panels[0].set_ylabel("correlation of halves")
    panels[0].legend(fontsize=8)
    return figure


def slices_figure(found: Assessment, solved: Reconstruction) -> Figure:
    """Draw every element and its relative uncertainty, across and along the tilt axis.

    Parameters
    ----------
    found, solved : assessment and its reconstruction.
    """
    elements = solved.elements
    figure = Figure(figsize=(9.6, 2.3 * len(elements)), layout="constrained")
    panels = figure.subplots(len(elements), 4, squeeze=False)
    titles = ("(z, y)", "its uncertainty", "(y, x)", "its uncertainty")
    for line, element, volume, error in zip(
        panels, elements, solved.volumes, found.uncertainty, strict=True
    ):
        x, z = (int(np.argmax(volume.sum(axis=axes))) for axes in ((0, 1), (1, 2)))
        top = float(np.percentile(volume, TOP)) or 1.0
        for axes, image in ((line[0], volume[:, :, x]), (line[2], volume[z])):
            axes.imshow(image, cmap="gray", vmin=0, vmax=top, origin="lower")
        for axes, image in ((line[1], error[:, :, x]), (line[3], error[z])):
            _show_error(axes, image)
        line[0].set_ylabel(element)
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
    for axes in panels.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
    draw_scale_bar(panels[0, 0], solved.volumes.shape[2], solved.voxel_size_nm)
    bar = figure.colorbar(panels[0, 1].images[0], ax=panels, shrink=0.5, aspect=30)
    bar.set_label("standard error / level of the element")
    return figure


def _show_error(axes: Axes, image: Array) -> None:
    axes.set_facecolor("#d8dce0")  # outside the element
    axes.imshow(np.ma.masked_invalid(image), cmap="magma", vmin=0, vmax=MOST_ERROR, origin="lower")


_PICTURES: dict[str, Callable[[Assessment, Reconstruction], Figure]] = {
    "misfit": misfit_figure,
    "halves": halves_figure,
    "slices": slices_figure,
}
