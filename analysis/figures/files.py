"""The figures of a report as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from matplotlib.figure import Figure

from ..atlas import Atlas
from ..maps import Page, pages
from .draw import save_figure
from .maps import baselines_figure, gain_figure, nrmse_figure, weights_figure

_FIGURES: dict[str, Callable[[Page], Figure | None]] = {
    "nrmse": nrmse_figure,
    "baselines": baselines_figure,
    "gain": gain_figure,
    "weights": weights_figure,
}


def write_figures(atlas: Atlas, folder: Path) -> list[str]:
    """Write every figure that an atlas allows, as PNG and PDF.

    Parameters
    ----------
    atlas : one row per cell.
    folder : an existing folder.

    Returns
    -------
    Names of the figures, without suffix.
    """
    names = []
    for name, figure in _drawn(atlas):
        for kind in ("png", "pdf"):
            save_figure(figure, folder / f"{name}.{kind}")
        names.append(name)
    return names


def _drawn(atlas: Atlas) -> Iterator[tuple[str, Figure]]:
    several = pages(atlas)
    for number, page in enumerate(several):
        suffix = f"_{number}" if len(several) > 1 else ""
        for name, draw in _FIGURES.items():
            if page.axes < 2 and name == "baselines":
                continue  # with fewer than two axes the first figure shows all methods
            if (figure := draw(page)) is not None:
                yield name + suffix, figure
