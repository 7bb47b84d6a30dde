"""MPI launchers: what each tells a rank by its environment. Nothing here starts MPI."""

from __future__ import annotations

import os
from collections.abc import Mapping

_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "PALS_RANKID", "SLURM_PROCID")


def first_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """False on all MPI ranks but the first, which would all say the same."""
    return all(environment.get(name, "0") == "0" for name in _VARIABLES)


SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "MPI_LOCALNRANKS")
"""Number of ranks, set by Open MPI, MPICH (Hydra, Cray PALS), srun and MVAPICH."""

RANKS = ("PMIX_RANK", "PALS_RANKID", "PMI_RANK")
"""Set for every rank where the number of ranks may not be."""


def launched_under_mpi(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether ``mpiexec``, ``srun`` or their like started this process as one of several ranks.

    Importing mpi4py starts MPI, which a plain run must not do; so the environment decides. A batch
    script itself, outside ``srun``, is no rank. True may still turn out to be one rank alone.
    """
    sizes = [environment[name] for name in SIZES if name in environment]
    if sizes:
        return any(size.isdecimal() and int(size) > 1 for size in sizes)
    return any(name in environment for name in RANKS)
