"""Figures as files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from recon_core.errors import BadInput
from sweep.folder import write_aside

KINDS = ("png", "svg", "pdf")
DPI = 160


def figure_bytes(figure: Figure, kind: str, dpi: int = DPI) -> bytes:
    """The figure as a file of ``kind`` (png, svg, pdf), the same bytes for the same figure."""
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    buffer = BytesIO()
    # Text stays text in vector files, to be found and edited.
    fixed: Any = {"svg.hashsalt": "tomoatlas", "svg.fonttype": "none", "pdf.fonttype": 42}
    with mpl.rc_context(fixed):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure by the suffix of ``path``; it appears whole or not at all.

    Raises
    ------
    BadInput : another suffix, a folder that cannot be written.

    """
    data = figure_bytes(figure, kind_of(path))
    write_aside(path, lambda aside: aside.write_bytes(data))


def kind_of(path: Path) -> str:
    """The kind of file that a suffix asks for.

    Raises
    ------
    BadInput : none of :data:`KINDS`.

    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in KINDS:
        accepted = ", ".join(f".{kind}" for kind in KINDS)
        raise BadInput("unknown suffix", source=path, value=path.suffix, accepted=accepted)
    return kind
