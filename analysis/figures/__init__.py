"""Every figure by name: what it shows, what it is drawn from, and the function that draws it.

A figure's module is imported when the figure is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...recon_core.errors import BadInput
from ...recon_core.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..cells import Cells
    from ..maps import Page
    from .source import Source

MAP = "DIR or ATLAS"
TRIALS = "DIR"
CELL = "DIR [--cell]"
VOLUMES = "DIR [--cell], or SPECIMEN.h5 RECON.h5..."
TILTS = "DIR [--cell], or TILTS.h5"


@dataclass(frozen=True)
class Entry:
    """A figure of the catalogue.

    Parameters
    ----------
    shows : one line for listings.
    needs : what it is drawn from, as a usage line has it: :data:`MAP`, :data:`TRIALS`,
        :data:`CELL`, :data:`VOLUMES`, :data:`TILTS`.
    draw : the figure of a :class:`tomoatlas.analysis.figures.source.Source`, whose properties are
        computed when they are asked for; it raises BadInput for what the source cannot give.
    check : raises BadInput where this machine lacks what the figure needs; called before anything
        is computed, which may take minutes.
    """

    shows: str
    needs: str
    draw: Callable[[Source], Figure]
    check: Callable[[], None] = lambda: None


_HERE = "tomoatlas.analysis.figures"
FIGURES: Registry[Entry] = Registry(
    "figure",
    "tomoatlas.figures",
    Entry,
    {
        "nrmse": f"{_HERE}.maps:NRMSE_FIGURE",
        "baselines": f"{_HERE}.maps:BASELINES_FIGURE",
        "gain": f"{_HERE}.maps:GAIN_FIGURE",
        "weights": f"{_HERE}.maps:WEIGHTS_FIGURE",
        "curves": f"{_HERE}.curves:CURVES_FIGURE",
        "landscape": f"{_HERE}.landscape:LANDSCAPE_FIGURE",
        "slices": f"{_HERE}.pictures:SLICES_FIGURE",
        "overlay": f"{_HERE}.pictures:OVERLAY_FIGURE",
        "render": f"{_HERE}.render:RENDER_FIGURE",
        "stoichiometry": f"{_HERE}.chemistry:STOICHIOMETRY_FIGURE",
        "terms": f"{_HERE}.projections:TERMS_FIGURE",
        "projections": f"{_HERE}.projections:PROJECTIONS_FIGURE",
        "dose": f"{_HERE}.dose:DOSE_FIGURE",
        "thickness": f"{_HERE}.faults:THICKNESS_FIGURE",
        "haadf-resolution": f"{_HERE}.haadf:HAADF_RESOLUTION_FIGURE",
        "faults": f"{_HERE}.faults:FAULTS_FIGURE",
        "convergence": f"{_HERE}.pictures:CONVERGENCE_FIGURE",
        "pareto": f"{_HERE}.pareto:PARETO_FIGURE",
        "tilts": f"{_HERE}.fourier:TILTS_FIGURE",
        "spectra": f"{_HERE}.fourier:SPECTRA_FIGURE",
        "profiles": f"{_HERE}.profiles:PROFILES_FIGURE",
        "fsc": f"{_HERE}.fourier:FSC_FIGURE",
        "search": f"{_HERE}.search:SEARCH_FIGURE",
        "importance": f"{_HERE}.landscape:IMPORTANCE_FIGURE",
        "parallel": f"{_HERE}.search:PARALLEL_FIGURE",
        "timeline": f"{_HERE}.timeline:TIMELINE_FIGURE",
    },
    "NAME",
)
"""Every figure, in the order of a report; then those of plugins."""


def draw_figure(name: str, source: Source) -> Figure:
    """Draw a figure.

    Parameters
    ----------
    name : of :data:`FIGURES`, or the path of a Python file that defines one :class:`Entry`.
    source : what it is drawn from.

    Returns
    -------
    Figure : without pyplot, to be saved or shown.

    Raises
    ------
    BadInput : no such figure; what the source cannot give.
    """
    from .draw import own_look

    entry = FIGURES.get(name)
    entry.check()
    with own_look():
        return entry.draw(source)


def figure(name: str, *source: str | Path, cell: Cells = ()) -> Figure:
    """A figure of a study, an atlas or volumes; `tomoatlas figure --list` names them.

    Parameters
    ----------
    name : of the figure, as ``nrmse``, ``weights``, ``slices``, ``overlay``.
    source : a study folder, an atlas file or a shipped atlas; or files of volumes, the truth first.
    cell : the condition to show, as ``"haadf_tilts=47,chemical_tilts=9"`` or a mapping of axes to
        values; axes left out are chosen.

    Returns
    -------
    matplotlib.figure.Figure : a notebook shows it; ``savefig`` writes it.

    Raises
    ------
    BadInput : no such figure, source or cell; what the source cannot give.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> drawn = ta.figure("nrmse", "fig4_nanocubes_64")
    >>> drawn.savefig("nrmse.png")  # doctest: +SKIP
    >>> "Chemical tilts" in [axes.get_xlabel() for axes in drawn.axes]
    True
    """
    from .source import Source

    return draw_figure(name, Source(tuple(map(Path, source)), cell))


def of_map(name: str, figure: Callable[[Page], Figure | None]) -> Callable[[Source], Figure]:
    """A function that draws the first page of an atlas, or refuses an atlas that lacks its part.

    Parameters
    ----------
    name : of the figure, for the error.
    figure : draws a page; None if the page has too few axes, or no method to compare with.
    """

    def drawn(source: Source) -> Figure:
        found = figure(source.page)
        if found is None:
            raise BadInput(
                "needs more axes, or results of other methods",
                source=source.paths[0],
                key=name,
                accepted="a map with them",
            )
        return found

    return drawn
