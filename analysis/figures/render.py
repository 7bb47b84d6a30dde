"""The specimen in 3D, drawn by PyVista off screen (Fig. 4c of Schwartz et al. 2024)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ...phantoms.specimen import Specimen
from ...recon_core.errors import BadInput, needed
from ..rerun import Array, SliceSet
from ..style import literal
from . import VOLUMES, Entry
from .draw import own_look
from .pictures import composite, draw_scale_bar, element_colours

if TYPE_CHECKING:
    from pyvista import Plotter

PIXELS = 700
PROBE = "import pyvista; pyvista.Plotter(off_screen=True, window_size=[16, 16]).screenshot()"
LEVEL = 0.5
"""Level of a surface, as a fraction of the element's typical concentration in the reference."""
# Camera, focus and up (x, y, z) in edges of the box from its centre: tilt axis to the right.
_VIEW = ((2.1, -2.6, 1.5), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0))


def render_figure(slices: SliceSet) -> Figure:
    """Surfaces of every element, truth beside the reconstructions; the beam (z) points upwards.

    A surface stands at half of the element's typical concentration in the reference, at the same
    value in every panel, so that panels can be compared. Oxygen is left out beside other elements:
    its surface coincides with theirs.

    Parameters
    ----------
    slices : the truth and the reconstructions, volumes (element, z, y, x).

    Returns
    -------
    Figure, one panel per volume, with a legend of the elements below.

    Raises
    ------
    BadInput : PyVista (the extra ``render``) is not installed, or this machine cannot render off
        screen.
    """
    check_rendering()
    shown = [(s.label, s.volumes) for s in slices.shown()]
    columns = [(slices.reference, slices.truth), *shown]
    # An oxide's oxygen fills the same voxels as its cation, so its surface would hide the others.
    drawn = [e for e in slices.elements if e != "O" or len(slices.elements) == 1]
    colours = {e: element_colours(slices.elements)[e] for e in drawn}
    figure = Figure(figsize=(max(4.8, 2.6 * len(columns)), 3.8), layout="constrained")
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for ax, (label, volumes) in zip(axes, columns, strict=True):
        picture = surfaces(volumes, slices, colours)
        ax.imshow(picture, interpolation="antialiased")
        ax.set_axis_off()
        ax.set_title(label.replace(" (", "\n("), fontsize=10)
    handles = [
        Patch(facecolor=c, edgecolor="0.4", label=f"{e} ≥ {_level(slices, e):.2g}")
        for e, c in colours.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    edges = " × ".join(f"{n * slices.voxel_size_nm:.3g}" for n in reversed(slices.truth.shape[1:]))
    box = f"x (tilt axis) × y × z (beam, upwards): {edges} nm"
    lines = (slices.title, box, _left_out(slices.elements, drawn))
    figure.suptitle("\n".join(filter(None, lines)) + "\n", fontsize=10)
    return figure


def _left_out(elements: Sequence[str], drawn: Sequence[str]) -> str:
    """What the surfaces do not show."""
    below = f"surfaces at {LEVEL:g} of the truth's usual concentration; what is below is left out"
    hidden = [element for element in elements if element not in drawn]
    return below + "".join(f", and {e}, which fills the voxels of its cations" for e in hidden)


def _level(slices: SliceSet, element: str) -> float:
    """Concentration at which the surface of an element stands, the same in every panel."""
    return LEVEL * usual_concentration(slices.truth[slices.elements.index(element)])


@cache
def check_rendering() -> None:
    """Try to render in a child process: without EGL and a software renderer VTK aborts.

    The verdict is cached; ``check_rendering.cache_clear()`` forgets it.

    Raises
    ------
    BadInput : PyVista is not installed, or this machine cannot render off screen.
    """
    with needed("pyvista", "render", "rendering in 3D"):
        import pyvista  # noqa: F401
    tried = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=False)
    if tried.returncode != 0:
        raise BadInput(
            "rendering off screen fails here",
            key="exit code",
            value=tried.returncode,
            accepted="EGL and Mesa, on Debian libegl1 and libgl1-mesa-dri",
        )


def surfaces(volumes: Array, slices: SliceSet, colours: dict[str, str]) -> NDArray[np.uint8]:
    """Render the surfaces of a set of volumes.

    Parameters
    ----------
    volumes : concentrations (element, z, y, x).
    slices : the set that ``volumes`` belongs to; its truth fixes the level of every surface.
    colours : element → colour, of the elements to draw.

    Returns
    -------
    Picture (row, column, RGB), 8 bits per channel.
    """
    with needed("pyvista", "render", "rendering in 3D"):
        import pyvista
    with pyvista.vtk_verbosity("off"):  # silences the search for an X server
        plotter = pyvista.Plotter(off_screen=True, window_size=[PIXELS, PIXELS])
    try:
        for element, colour in colours.items():
            index = slices.elements.index(element)
            _add_surface(plotter, volumes[index], _level(slices, element), colour)
        _add_box(plotter, volumes.shape[1:])
        return np.asarray(plotter.screenshot(return_img=True))
    # Closed in any case: an open off-screen window holds memory of the GPU or of Mesa.
    finally:
        plotter.close()


def usual_concentration(volume: Array) -> float:
    """Mean of the voxels weighted by themselves: the level inside a particle, insensitive to peaks.

    Parameters
    ----------
    volume : concentrations (z, y, x) of one element, >= 0.

    Examples
    --------
    >>> import numpy as np
    >>> usual_concentration(np.array([0.0, 0.0, 2.0, 2.0]))
    2.0
    """
    values = volume.astype(np.float64).ravel()
    total = float(values.sum())
    return float(values @ values) / total if total > 0 else 0.0


def _add_surface(plotter: Plotter, volume: Array, level: float, colour: str) -> None:
    """Add the closed surface where ``volume`` (z, y, x) crosses ``level``, if it does anywhere."""
    import pyvista

    # A particle cut by the edge of the volume gets a closed face there.
    padded = np.pad(volume, 1)  # closes surfaces at the faces of the box
    if not padded.max() > level > 0:
        return
    grid = pyvista.ImageData(dimensions=padded.shape[::-1], origin=_origin(volume.shape))
    grid["concentration"] = padded.ravel()
    # Marching cubes at one level; the padding above turns an open shell into a closed body.
    mesh = grid.contour([level], scalars="concentration")
    plotter.add_mesh(mesh, color=colour, smooth_shading=True, specular=0.2)


def _origin(shape: tuple[int, ...]) -> tuple[float, ...]:
    """Origin (x, y, z) that centres an array (z, y, x), padded by one voxel, at 0."""
    return tuple(-(n + 1) / 2 for n in reversed(shape))


def _add_box(plotter: Plotter, shape: tuple[int, ...]) -> None:
    """Outline the reconstructed box and aim the camera at its centre."""
    import pyvista

    halves = [n / 2 for n in reversed(shape)]
    bounds = [side * half for half in halves for side in (-1, 1)]
    # The box shows the orientation, and how far a particle is from the edge.
    plotter.add_mesh(pyvista.Box(bounds), style="wireframe", color="#888888", line_width=1)
    edge = float(max(shape))
    plotter.camera_position = [tuple(edge * c for c in point) for point in _VIEW[:2]] + [_VIEW[2]]
    plotter.camera.view_angle = 27.5


@own_look()
def specimen_figure(specimen: Specimen) -> Figure:
    """A specimen in 3D, and its middle slices across each axis as composites of its elements.

    Parameters
    ----------
    specimen : what to draw.

    Returns
    -------
    Figure : without the view in 3D where this machine cannot render, which its title says.
    """
    z, y, x = (n // 2 for n in specimen.shape)
    volumes, elements = specimen.volumes, specimen.elements
    colours = element_colours(elements)
    slices = SliceSet(volumes, {}, elements, specimen.voxel_size_nm)
    tops = volumes.max(axis=(1, 2, 3)).astype(np.float64)
    planes = {
        "x = 0: z upwards, y across": volumes[..., x],
        "y = 0: z upwards, x (tilt axis) across": volumes[:, :, y],
        "z = 0: y upwards, x (tilt axis) across": volumes[:, z],
    }
    try:
        check_rendering()
        missing = ""
    except BadInput as error:
        missing = f"no view in 3D: {error.accepted}"
    figure = Figure(figsize=(9.6 if missing else 12.4, 3.9), layout="constrained")
    widths = (1, 1, 1) if missing else (1.25, 1, 1, 1)
    *views, first, second, third = figure.subplots(1, len(widths), width_ratios=widths)
    axes = (first, second, third)
    for ax, (title, images) in zip(axes, planes.items(), strict=True):
        ax.imshow(composite(images, tops, colours), origin="lower")
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    draw_scale_bar(axes[0], specimen.shape[1], specimen.voxel_size_nm)
    for view in views:
        view.set_axis_off()
        drawn = {e: colours[e] for e in elements if e != "O" or len(elements) == 1}
        view.imshow(surfaces(volumes, slices, drawn), interpolation="antialiased")
    handles = [Patch(facecolor=c, edgecolor="0.4", label=e) for e, c in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    edges = " × ".join(f"{n * specimen.voxel_size_nm:.3g}" for n in reversed(specimen.shape))
    mixed = "\nslices: where elements are together, the mean of their colours"
    mixed += "; 3D: without O" * (not missing and "O" in elements and len(elements) > 1)
    mixed += f"\n{missing}" * bool(missing)
    figure.suptitle(f"{literal(specimen.name)}, {edges} nm{mixed}", fontsize=11)
    return figure


RENDER_FIGURE = Entry(
    "Fig. 4c: surfaces in 3D (extra: render)",
    VOLUMES,
    lambda source: render_figure(source.comparison),
    check_rendering,
)
