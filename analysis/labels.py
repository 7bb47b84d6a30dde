"""Names of axes, methods and columns as a reader of a figure sees them."""

from __future__ import annotations

from recon_core.settings import Method

HAADF_TILTS = "acquisition.haadf_tilts"
CHEMICAL_TILTS = "acquisition.chemical_tilts"
HAADF_SNR = "acquisition.haadf_snr"
CHEMICAL_SNR = "acquisition.chemical_snr"

SCORE_COLUMNS: dict[Method, str] = {
    Method.ML: "nrmse_ml",
    Method.ML_STOPPED: "nrmse_ml_stopped",
    Method.CHEMISTRY_TV: "nrmse_chemistry_tv",
    Method.FUSED: "nrmse",
}
"""Column of the atlas that holds the mean NRMSE of each method, in the order of display."""

METHOD_LABELS: dict[Method, str] = {
    Method.ML: "ML, converged",
    Method.ML_STOPPED: "ML, best-stopped (oracle)",
    Method.CHEMISTRY_TV: "Chemistry + TV",
    Method.FUSED: "Fused",
}

WEIGHT_LABELS = {"haadf": "HAADF weight", "tv": "TV weight"}

_AXIS_LABELS = {
    HAADF_TILTS: "HAADF tilts",
    CHEMICAL_TILTS: "Chemical tilts",
    HAADF_SNR: "HAADF SNR",
    CHEMICAL_SNR: "Chemical SNR",
}

_COLUMN_LABELS = {
    "haadf": "HAADF weight of the best fused trial",
    "tv": "TV weight of the best fused trial",
    "tv_chemistry_tv": "TV weight of the best trial of Chemistry + TV",
    "trials": "good fused trials",
    "failed": "trials of any method that are not good",
}


def axis_label(path: str) -> str:
    """``acquisition.haadf_tilts`` → ``HAADF tilts``; other paths lose their table's name."""
    return _AXIS_LABELS.get(path, path.rpartition(".")[2].replace("_", " "))


def column_label(name: str) -> str:
    """What a column of the atlas holds, in words."""
    if name in _COLUMN_LABELS:
        return _COLUMN_LABELS[name]
    for method, column in SCORE_COLUMNS.items():
        if name == column:
            return f"mean NRMSE over the elements, {METHOD_LABELS[method]}"
    if name.startswith("nrmse_"):
        return f"NRMSE of {name.removeprefix('nrmse_')}, {METHOD_LABELS[Method.FUSED]}"
    return axis_label(name)


def value_label(value: object) -> str:
    """A tick label: numbers short, anything else as it stands."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def condition_label(fixed: dict[str, object]) -> str:
    """``HAADF SNR 50, gamma 1.7``: the axes held fixed on a page of figures."""
    return ", ".join(f"{axis_label(path)} {value_label(value)}" for path, value in fixed.items())
