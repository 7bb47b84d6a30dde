"""The figure of convergence: objective and NRMSE against work and time, a column per weight."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from candidates import WINNER
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

Curves = dict[float, dict[str, np.ndarray]]

WORK, SECONDS, SCORE, OBJECTIVE = range(4)
PANELS = tuple(product((OBJECTIVE, SCORE), (WORK, SECONDS)))
LABELS = {
    WORK: "iterations (work)",
    SECONDS: "seconds",
    SCORE: "mean NRMSE",
    OBJECTIVE: "objective above the lowest",
}
# gradients warm and dashed, splits cold and drawn through
COLOURS = {
    "proximal gradient, global bound": "#8c2d04",
    "proximal gradient, local bound": "#e6550d",
    "prox-linear (Gauss-Newton)": "#d6278a",
    "primal-dual, diagonal steps": "#e0a800",
    "subsets of tilts (SAGA)": "#9e5bc4",
    "split, u by conjugate gradients": "#7f7f7f",
    "split, from the counts": "#1f4fd8",
    "split, from a tenth of haadf": "#00b8e6",
    "split, from haadf / 3 (its time counted, not its work)": "#1a8f3c",
    "split, from a quarter": "#9ab83f",
    WINNER: "black",
}


def draw(curves: Curves, path: Path, title: str) -> None:
    """Draw rows (work, seconds, NRMSE, objective) of every candidate at every weight."""
    width = max(9.0, 3.6 * len(curves))
    figure, axes = plt.subplots(4, len(curves), figsize=(width, 13.0), squeeze=False)
    for column, (weight, traces) in enumerate(curves.items()):
        for row, (what, along) in enumerate(PANELS):
            _panel(axes[row, column], traces, what, along)
        axes[0, column].set_title(f"haadf = {weight:g}")
    for row, (what, _) in enumerate(PANELS):
        axes[row, 0].set_ylabel(LABELS[what])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    columns = max(2, len(curves))
    figure.legend(handles, labels, loc="lower center", ncol=columns, frameon=False)
    figure.suptitle(title, fontsize=11)
    bottom = 0.022 * -(-len(labels) // columns) + 0.005
    figure.tight_layout(rect=(0, bottom, 1, 0.995))
    _save(figure, path)
    plt.close(figure)


def _save(figure: Figure, path: Path) -> None:
    """As a PNG of 256 colours, less than half the size."""
    with io.BytesIO() as raw:
        figure.savefig(raw, format="png", dpi=100)
        image = Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(path, optimize=True)


def _panel(ax: Axes, traces: dict[str, np.ndarray], what: int, along: int) -> None:
    """One quantity of every candidate against work or time, the winner on top."""
    lowest = min(np.nanmin(rows[:, OBJECTIVE]) for rows in traces.values())
    for name, rows in traces.items():
        values = rows[:, what]
        shown = np.maximum(values / lowest - 1, 1e-6) if what == OBJECTIVE else values
        ax.plot(rows[:, along], shown, label=name, **_style(name))
    ax.set_xlabel(LABELS[along])
    if what == OBJECTIVE:
        ax.set_yscale("log")
        ax.set_ylim(1e-5, 1)
    else:
        low = min(np.nanmin(rows[:, SCORE]) for rows in traces.values())
        ax.set_ylim(0.97 * low, 1.7 * low)
    if along == SECONDS:
        ax.set_xlim(0, 1.5 * traces[WINNER][-1, SECONDS])
    else:
        ax.axvline(100, color="0.7", lw=0.8, ls=":")


def _style(name: str) -> dict[str, object]:
    if name == WINNER:
        return {"color": COLOURS[name], "lw": 2.4, "zorder": 5}
    line = "-" if name.startswith("split") else (0, (4, 1.2))
    return {"color": COLOURS[name], "lw": 1.1, "ls": line}
