"""What a child process is told by its environment: threads, device, and nothing of MPI."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "DUCC0_NUM_THREADS",  # of a pool that ducc0 starts whether or not it is asked for threads
)
LAUNCHERS = (
    "PMI_",
    "PMI2_",
    "PMIX_",
    "OMPI_",
    "OPAL_",
    "PRTE_",
    "HYDRA_",
    "HYDI_",
    "MPI_LOCAL",
    "MV2_",
    "PALS_",
    "JSM_",
    "SLURM_",
)
"""First letters of what launchers tell a rank; a child that read it would take itself for one."""


def child_environment(
    threads: int,
    extra: Mapping[str, str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The environment of a child with ``threads`` threads, which finds the modules we find.

    ``extra``: variables of its own, such as the mask of its device.
    """
    kept = {k: v for k, v in environment.items() if not k.startswith(LAUNCHERS)}
    counts = dict.fromkeys(THREAD_VARIABLES, str(threads))
    return {**kept, **counts, "PYTHONPATH": os.pathsep.join(sys.path), **(extra or {})}
