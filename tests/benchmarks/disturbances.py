"""What ruins a reconstruction most: one disturbance at a time, at strengths of a real microscope.

    NUMBA_NUM_THREADS=1 python tests/benchmarks/disturbances.py [SIZE [FAULT ...]] [edition=N]

Nanocubes at the paper's SNRs, 41 HAADF and 9 chemical tilts, data from a grid twice as fine: of
(Zx)² for edition 1, of Z²x for those after it, the newest if none is named. One pair of weights,
that of the undisturbed data.
"""

from __future__ import annotations

import sys

import numpy as np
from common import PAPER_SNR, edition_in, table

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.disturbances import NONE, Disturbances
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import nrmse_by_element, totals
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct

FAULTS: dict[str, dict[str, float]] = {
    "none": {},
    "film of 10 %": {"film": 0.1},
    "axis off by 1 px": {"axis_offset_px": 1.0},
    "shifts of 1 px rms": {"haadf_shift_px": 1.0, "chemical_shift_px": 1.0},
    "shifts of 0.25 px rms": {"haadf_shift_px": 0.25, "chemical_shift_px": 0.25},
    "shifts of 1 px rms, maps alone": {"chemical_shift_px": 1.0},
    "drift of 2 px": {"haadf_drift_px": 2.0, "chemical_drift_px": 2.0},
    "axis turned by 1°": {"axis_rotation_deg": 1.0},
    "angles of 0.5° rms": {"angle_jitter_deg": 0.5},
    "gain of 5 % rms": {"haadf_gain": 0.05, "chemical_gain": 0.05},
    "dark level of 5 % rms": {"haadf_dark": 0.05, "chemical_dark": 0.05},
    "hot pixels 0.05 %": {"hot_pixels": 5e-4},
    "maps blurred by 1 px": {"chemical_blur_px": 1.0},
    "overlap of 10 %": {"overlap": 0.1},
    "matrix of 1 %": {"matrix": 0.01},
    "damping of 60 %": {"damping": 0.6},
    "damping of 20 %": {"damping": 0.2},
    "absorption of 30 %": {"absorption": 0.3},
    "shadowing of 50 %": {"shadowing": 0.5},
    "surroundings of a quarter": {"surroundings": 0.25},
    "half of O lost": {"damage": 0.5},
}
FIRST, LATER = (Weights(haadf=0.1, tv=1.0), "power"), (Weights(haadf=0.3, tv=1.4), "linear")
"""Weights and the law of the data, by edition."""


def row(size: int, name: str, edition: int, settings: SolverSettings) -> list[str]:
    """NRMSE of the elements and totals under one fault."""
    weights, law = FIRST if edition == 1 else LATER
    acquisition = Acquisition(
        haadf_tilts=41, chemical_tilts=9, chemical_snr=PAPER_SNR, oversample=2, contrast=law
    )
    truth, fine = (make_specimen("nanocubes", n, 0) for n in (size, 2 * size))
    faults = Disturbances(**FAULTS[name]) if FAULTS[name] else NONE
    series = simulate(fine, acquisition, 0, disturbances=faults)
    found = reconstruct(series, Method.FUSED, weights, settings)
    scores = nrmse_by_element(found.volumes, truth.volumes)
    amounts = totals(found.volumes, truth.volumes)
    return [
        name,
        f"{np.mean(scores):.3f}",
        ", ".join(f"{score:.2f}" for score in scores),
        ", ".join(f"{amount:.2f}" for amount in amounts),
        str(found.status),
    ]


def main(words: list[str]) -> None:
    """Print one table."""
    edition, settings = edition_in(words)
    size, names = int(words[0]) if words else 48, words[1:] or FAULTS
    elements = "Co, Cu, O, Au"
    header = ["fault", "⟨NRMSE⟩", elements, f"totals {elements}", "status"]
    table(header, (row(size, name, edition, settings) for name in names))


if __name__ == "__main__":
    main(sys.argv[1:])
