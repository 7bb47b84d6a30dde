"""What every benchmark needs: the reference condition, a machine line, a Markdown table."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tomoatlas.phantoms.acquire import Acquisition, simulate
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.machine import usable_cores
from tomoatlas.recon_core.metrics import nrmse_by_element
from tomoatlas.recon_core.tiltseries import TiltSeries

PAPER_SNR = {"Co": 1.92, "Cu": 2.89, "O": 2.69, "Au": 1.96}


def condition(
    size: int, haadf: int, chemical: int, seed: int = 0, oversample: int = 1
) -> tuple[Specimen, TiltSeries]:
    """Nanocubes at the paper's SNRs over ±70°; ``seed`` is the noise's."""
    acquisition = Acquisition(
        haadf_tilts=haadf,
        chemical_tilts=chemical,
        haadf_snr=2208.67,
        chemical_snr=PAPER_SNR,
        oversample=oversample,
    )
    fine = make_specimen("nanocubes", size * oversample, 0)
    return make_specimen("nanocubes", size, 0), simulate(fine, acquisition, seed)


def score(volumes: np.ndarray, specimen: Specimen) -> float:
    """Mean NRMSE over the elements."""
    return float(np.mean(nrmse_by_element(volumes, specimen.volumes)))


def machine() -> str:
    """Date, processor and cores, for the results table."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = names[0] if names else platform.processor()
    cores = usable_cores()
    return f"{datetime.date.today()}, {model}, {cores} cores, Python {platform.python_version()}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table under the machine line."""
    print(f"\n{machine()}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)
