"""The figures of an atlas as files for print, PNG and PDF."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from analysis.atlas import Atlas
from analysis.figures import baselines_figure, gain_figure, nrmse_figure, weights_figure
from analysis.maps import Page, pages
from sweep.folder import write_aside

_FIGURES: dict[str, Callable[[Page], Figure | None]] = {
    "nrmse": nrmse_figure,
    "baselines": baselines_figure,
    "gain": gain_figure,
    "weights": weights_figure,
}


def write_figures(atlas: Atlas, folder: Path) -> list[str]:
    """Write every figure that the atlas has into ``folder``; return their names, without suffix."""
    names = []
    for name, figure in _drawn(atlas):
        for kind in ("png", "pdf"):
            write_aside(folder / f"{name}.{kind}", partial(_write, figure_bytes(figure, kind)))
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


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a file of ``kind`` (png at 160 dpi, pdf, svg), without a date inside."""
    buffer = BytesIO()
    metadata = {"CreationDate": None} if kind == "pdf" else None
    figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()
