"""Which MPI rank this process is, told without starting MPI."""

from __future__ import annotations

import os
from collections.abc import Mapping

_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "PALS_RANKID", "SLURM_PROCID")


def first_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """False on all MPI ranks but the first, which would all say the same."""
    return all(environment.get(name, "0") == "0" for name in _VARIABLES)
