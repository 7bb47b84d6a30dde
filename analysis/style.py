"""Names of axes, methods and columns as a reader of a figure sees them, and the look of methods."""

from __future__ import annotations

from ..recon_core.methods import METHODS, Method

HAADF_TILTS = "acquisition.haadf_tilts"
CHEMICAL_TILTS = "acquisition.chemical_tilts"
HAADF_SNR = "acquisition.haadf_snr"
CHEMICAL_SNR = "acquisition.chemical_snr"
DOSE = "acquisition.dose_e_per_A2"
SHARE = "acquisition.haadf_share"

DOSE_UNIT = "e/\u2060Å²"
"""e/Å² in which a browser ends no line, as it may after a stroke."""

SCORE_COLUMNS: dict[Method, str] = {method: row.column for method, row in METHODS.items()}
"""Column of the atlas that holds the mean NRMSE of each method, in the order of display."""

METHOD_LABELS: dict[Method, str] = {method: row.label for method, row in METHODS.items()}

METHOD_STYLE: dict[Method, tuple[str, str]] = {
    method: (row.colour, row.marker) for method, row in METHODS.items()
}
"""Colour and marker of each method."""

WEIGHT_LABELS = {"haadf": "HAADF weight", "tv": "TV weight", "gamma": "exponent γ"}

_AXIS_LABELS = {
    HAADF_TILTS: "HAADF tilts",
    CHEMICAL_TILTS: "Chemical tilts",
    HAADF_SNR: "HAADF SNR",
    "specimen.seed": "specimen seed",
    "study.seed": "noise seed",
    CHEMICAL_SNR: "Chemical SNR",
    DOSE: "Dose (e/Å²)",
    SHARE: "HAADF share of the dose",
    "acquisition.tilt_range_deg.0": "lowest tilt (°)",
    "acquisition.tilt_range_deg.1": "highest tilt (°)",
}
_BODIES = "specimen.bodies."
_COMPONENTS = {"0": "z", "1": "y", "2": "x"}

# Long names of columns, written into the files of an atlas; axes are labelled by _AXIS_LABELS.
_ELEMENT_LABELS = {
    "nrmse": "NRMSE of {}",
    "total": "total of {} over the true one",
    "level": "level of {} inside its particles over the true one",
    "haze": "fraction of {} away from its particles",
    "stoichiometry": "fraction of {} beside O, one voxel inside its oxide",
}

_COLUMN_LABELS = {
    "haadf": "HAADF weight of the best fused trial",
    "tv": "TV weight of the best fused trial",
    "gamma": "exponent of the HAADF contrast of the best fused trial",
    "score": "score of the best fused trial, as search.score names it",
    "tv_chemistry_tv": "TV weight of the best trial of Chemistry + TV",
    "trials": "good fused trials",
    "failed": "trials of any method that are not good",
    "nrmse_noise": "standard deviation of the mean NRMSE over the noise",
    "nrmse_specimen": "standard deviation of the mean NRMSE over specimens",
    "revision": "revision of the algorithm that made the best fused trial, 0 if unrecorded",
}


def axis_label(path: str) -> str:
    """The name of an axis in words.

    Parameters
    ----------
    path : dotted path of a study's key; a path without a name of its own loses its table.

    Examples
    --------
    >>> axis_label("acquisition.haadf_tilts"), axis_label("solver.max_iterations")
    ('HAADF tilts', 'max iterations')
    >>> axis_label("specimen.bodies.Au.diameter_nm"), axis_label("specimen.bodies.a.position_nm.2")
    ('Au diameter nm', 'a position nm x')
    """
    if path in _AXIS_LABELS:
        return _AXIS_LABELS[path]
    # several bodies have keys of one name
    words = path.removeprefix(_BODIES).split(".") if path.startswith(_BODIES) else [path]
    last = words[-1].rpartition(".")[2]
    return " ".join([*words[:-1], _COMPONENTS.get(last, last)]).replace("_", " ")


def column_label(name: str) -> str:
    """What a column of the atlas holds, in words.

    Parameters
    ----------
    name : name of the column.

    Examples
    --------
    >>> column_label("tv")
    'TV weight of the best fused trial'
    >>> column_label("nrmse_Co")
    'NRMSE of Co, Fused'
    """
    if name in _COLUMN_LABELS:
        return _COLUMN_LABELS[name]
    for method, column in SCORE_COLUMNS.items():
        if name == column:
            return f"mean NRMSE over the elements, {METHOD_LABELS[method]}"
    # Checked after the baselines, whose columns also start with nrmse_.
    kind, _, element = name.partition("_")
    if kind in _ELEMENT_LABELS and element:
        return f"{_ELEMENT_LABELS[kind].format(element)}, {METHOD_LABELS[Method.FUSED]}"
    return axis_label(name)


def value_label(value: object) -> str:
    """A value of an axis as on a tick: floats to six significant digits, anything else as it is.

    Parameters
    ----------
    value : value of an axis.

    Examples
    --------
    >>> value_label(47.0), value_label("nanocubes")
    ('47', 'nanocubes')
    """
    return f"{value:.6g}" if isinstance(value, float) else str(value)


LONGEST_TICK = 26
"""Characters of the longest text beside an axis: the end identifies a path, all of it a method."""


def tick_label(value: object) -> str:
    """A value of an axis in a figure: as :func:`value_label`, not too long, and never mathematics.

    Parameters
    ----------
    value : value of an axis.

    Examples
    --------
    >>> tick_label(47.0), tick_label("/data/of/somebody/in/a/folder/one.h5")
    ('47', '…mebody/in/a/folder/one.h5')
    """
    label = value_label(value)
    return literal(label if len(label) <= LONGEST_TICK else f"…{label[1 - LONGEST_TICK :]}")


def literal(text: str) -> str:
    r"""Text for a figure as it stands: between two dollars matplotlib reads mathematics.

    Parameters
    ----------
    text : a name or a path from a file, which may hold anything.

    Examples
    --------
    >>> print(literal("5 $ and 6 $"))
    5 \$ and 6 \$
    """
    return text.replace("$", r"\$")


def condition_title(fixed: dict[str, object]) -> str:
    """The axes held fixed, for a title in a figure, see :func:`condition_label`.

    Parameters
    ----------
    fixed : axis path → value.
    """
    return literal(condition_label(fixed))


def condition_label(fixed: dict[str, object]) -> str:
    """The axes held fixed on a page of figures.

    Parameters
    ----------
    fixed : axis path → value.

    Examples
    --------
    >>> condition_label({"acquisition.haadf_snr": 50, "solver.gamma": 1.7})
    'HAADF SNR 50, gamma 1.7'
    """
    return ", ".join(f"{axis_label(path)} {value_label(value)}" for path, value in fixed.items())
