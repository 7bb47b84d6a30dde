"""X-rays of a line per electron and atom, beside another package's table.

pyTEMlib ships tables of emtables: ionisation by Bote and Salvat (2008), fluorescence yields and
rates of lines of its own sources. Ours take neither (``tomoatlas.phantoms.yields``). Run, beside
``pip install --no-deps pyTEMlib``:

    python tests/benchmarks/lines.py [KILOVOLT ...]
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xraydb

from tomoatlas.phantoms.yields import Microscope, yields

VOLTAGES = (60, 100, 200, 300)  # those of the tables
ELEMENTS = {
    "K": ("C", "O", "Mg", "Al", "Si", "S", "Ca", "Ti", "Mn", "Fe", "Co", "Ni", "Cu", "Zn"),
    "L": ("In", "Sn", "La", "Ce", "Gd", "Hf", "W", "Pt", "Au", "Pb"),
}
LINES = {"K": ("KL2", "KL3"), "L": ("L3M4", "L3M5")}  # Kα and Lα
CM2 = 1e-14  # nm²


def table(kilovolt: int) -> dict[str, dict[str, Any]]:
    """The lines of every element by atomic number, cross-sections in cm²."""
    package = find_spec("pyTEMlib")
    if package is None or package.origin is None:
        sys.exit("pyTEMlib is not installed; accepted: pip install --no-deps pyTEMlib")
    path = Path(package.origin).parent / "data" / f"xrays_X_section_{kilovolt}kV.json"
    return json.loads(path.read_text(encoding="utf-8"))["table"]


def ratios(kilovolt: int, shell: str) -> dict[str, float]:
    """Ours over theirs of every element that both hold, all X-rays detected."""
    theirs, microscope = (
        table(kilovolt),
        Microscope(voltage_kV=kilovolt, solid_angle_sr=4 * np.pi),
    )
    found = {}
    for element in ELEMENTS[shell]:
        lines = theirs.get(str(xraydb.atomic_number(element)), {})
        other = sum(lines[line]["cs"] for line in LINES[shell] if line in lines) / CM2
        if other:
            found[element] = yields(microscope, (element,))[element].cross_section_nm2 / other
    return found


def main() -> None:
    """Print a row for each voltage and shell."""
    print("| kV | shell | elements | ours over theirs, median | least | most |")
    print("|---|---|---|---|---|---|")
    for kilovolt in map(int, sys.argv[1:] or VOLTAGES):
        for shell in ELEMENTS:
            found = ratios(kilovolt, shell)
            least, most = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
            print(
                f"| {kilovolt} | {shell} | {len(found)} | {np.median(list(found.values())):.2f} "
                f"| {found[least]:.2f} ({least}) | {found[most]:.2f} ({most}) |"
            )


if __name__ == "__main__":
    main()
