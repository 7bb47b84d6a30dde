"""The same study on two processors: code for any x86-64, and for this one.

    NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1 python tests/benchmarks/processors.py [SIZE]

Both are really run here: numba compiles for a generic x86-64 without further features, NumPy leaves
its wider kernels out, OpenBLAS takes those of the first 64-bit processors; then all as they are.
Scores differ in their last digits. Edition 2 rounds them before the search sees them; the same
settings without that are shown beside it. Ends with 1 where a proposal of edition 2 differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from common import table

from tomoatlas.analysis.atlas import atlas_of
from tomoatlas.analysis.journal import load_trials

STUDY = """
[study]
name = "processors"
edition = 2
[specimen]
kind = "nanocubes"
size = {size}
[acquisition]
chemical_snr = 3.0
oversample = 2
[solver]
max_iterations = 60
[search]
trials = 12
initial = 3
chemistry_tv_trials = 6
{rounding}
[axes]
"acquisition.haadf_tilts" = [9, 18]
"acquisition.chemical_tilts" = [5, 9]
"""
EDITIONS = {"rounded to 4 digits (edition 2)": "", "all digits": "score_digits = 15"}
NUMPY = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3 F16C AVX"
GENERIC = {
    "NUMBA_CPU_NAME": "x86-64",
    "NUMBA_CPU_FEATURES": "",
    "OPENBLAS_CORETYPE": "Prescott",
}
PROCESSORS = {"generic": GENERIC, "native": {}}
HEADER = (
    "scores",
    "trials",
    "scores that differ",
    "by at most",
    "same proposals",
    "same best weights",
    "atlas differs by at most",
)


def run(study: Path, folder: Path, variables: dict[str, str]) -> pd.DataFrame:
    """Run a study in processes of their own; its trials, in the order of their places."""
    environment = {**os.environ, **variables, "NUMBA_CACHE_DIR": str(folder.with_suffix(".cache"))}
    if variables:
        environment["NPY_DISABLE_CPU_FEATURES"] = _enabled(NUMPY)
    command = [sys.executable, "-m", "tomoatlas", "run", study, "--out", folder, "--device", "cpu"]
    subprocess.run([*map(str, command), "-q", "--no-slices"], env=environment, check=True)
    trials = load_trials(folder)
    axes = [name for name in trials if name.startswith("acquisition.")]
    return trials.sort_values([*axes, "method", "number"]).reset_index(drop=True)


def _enabled(features: str) -> str:
    """Those that NumPy has here and can leave out; it refuses others."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    known = [name for name in features.split() if name in __cpu_dispatch__]
    return " ".join(name for name in known if __cpu_features__[name])


def compared(name: str, rounding: str, size: int, home: Path) -> tuple[list[object], bool]:
    """A row, and whether the proposals are the same."""
    study = home / f"{len(name)}.toml"
    study.write_text(STUDY.format(size=size, rounding=rounding))
    folders = [home / f"{len(name)} {processor}" for processor in PROCESSORS]
    one, other = (
        run(study, folder, variables)
        for folder, variables in zip(folders, PROCESSORS.values(), strict=True)
    )
    same = (one["trial_id"] == other["trial_id"]).to_numpy()
    change = (np.abs(one["nrmse"] - other["nrmse"]) / one["nrmse"])[same]
    atlases = [atlas_of(folder).table for folder in folders]
    weights = [atlas[["haadf", "tv"]].to_numpy() for atlas in atlases]
    scores = [atlas[[c for c in atlas if str(c).startswith("nrmse")]] for atlas in atlases]
    moved = float((np.abs(scores[0] - scores[1]) / scores[0]).max().max())
    row = [
        name,
        len(one),
        f"{(change > 0).sum()} of {same.sum()}",
        f"{change.max():.1e}",
        f"{same.sum()} of {len(same)}",
        f"{int((weights[0] == weights[1]).all(axis=1).sum())} of {len(weights[0])} cells",
        f"{moved:.1e}",
    ]
    return row, bool(same.all())


def main(size: int) -> int:
    """Print a row for each way to score."""
    with tempfile.TemporaryDirectory() as home:
        rows = [compared(name, text, size, Path(home)) for name, text in EDITIONS.items()]
    table(HEADER, [row for row, _ in rows])
    return 0 if rows[0][1] else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 24))
