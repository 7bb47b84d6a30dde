"""MPI launchers: the environment variables by which each describes a rank. Nothing starts MPI."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Launcher:
    """The environment variables of one launcher.

    Parameters
    ----------
    name : of the launcher, or of the protocol that several share.
    prefixes : of the variables that a process which is no rank must not inherit.
    local_rank : variable with the rank's number on its node.
    rank : variable with the rank's number among all.
    size : variable with the number of ranks.
    sets_rank_in_scripts : whether a batch script has the variable ``rank`` too, and is no rank.
    """

    name: str
    prefixes: tuple[str, ...]
    local_rank: str
    rank: str | None = None
    size: str | None = None
    sets_rank_in_scripts: bool = False


LAUNCHERS = (
    Launcher(
        "Open MPI",
        ("OMPI_", "OPAL_", "PRTE_"),
        local_rank="OMPI_COMM_WORLD_LOCAL_RANK",
        rank="OMPI_COMM_WORLD_RANK",
        size="OMPI_COMM_WORLD_SIZE",
    ),
    Launcher("Cray PALS", ("PALS_",), local_rank="PALS_LOCAL_RANKID", rank="PALS_RANKID"),
    Launcher(
        "Hydra, of MPICH and Intel MPI",
        ("HYDRA_", "HYDI_", "MPI_LOCAL"),
        local_rank="MPI_LOCALRANKID",
        size="MPI_LOCALNRANKS",
    ),
    Launcher(
        "PMI, of Cray and others",
        ("PMI_", "PMI2_"),
        local_rank="PMI_LOCAL_RANK",
        rank="PMI_RANK",
        size="PMI_SIZE",
    ),
    Launcher("PMIx", ("PMIX_",), local_rank="PMIX_LOCAL_RANK", rank="PMIX_RANK"),
    Launcher("MVAPICH", ("MV2_",), local_rank="MV2_COMM_WORLD_LOCAL_RANK"),
    Launcher("jsrun", ("JSM_",), local_rank="JSM_NAMESPACE_LOCAL_RANK"),
    Launcher(
        "srun",
        ("SLURM_",),
        local_rank="SLURM_LOCALID",
        rank="SLURM_PROCID",
        size="SLURM_STEP_NUM_TASKS",
        sets_rank_in_scripts=True,
    ),
)
"""The first that sets a local rank is believed. Slurm's comes last: an ``mpirun`` inside a batch
script passes on the script's own, 0, to all of its ranks."""

PREFIXES = tuple(prefix for launcher in LAUNCHERS for prefix in launcher.prefixes)


def first_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is MPI rank 0 or no rank: of several ranks only one should print."""
    names = [launcher.rank for launcher in LAUNCHERS if launcher.rank]
    return all(environment.get(name, "0") == "0" for name in names)


def launched_under_mpi(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether ``mpiexec``, ``srun`` or their like started this process as one of several ranks.

    Importing mpi4py starts MPI, which a plain run must not do; so the environment decides. A batch
    script itself, outside ``srun``, is no rank. True may still turn out to be one rank alone.
    """
    sizes = [environment[name] for x in LAUNCHERS if (name := x.size) and name in environment]
    if sizes:
        return any(size.isdecimal() and int(size) > 1 for size in sizes)
    # Some set the rank, but no size.
    ranks = [x.rank for x in LAUNCHERS if x.rank and not x.sets_rank_in_scripts]
    return any(name in environment for name in ranks)


def local_rank(environment: Mapping[str, str]) -> int | None:
    """Number of this rank among those of its node; None if no launcher has set it."""
    values = (environment.get(launcher.local_rank, "") for launcher in LAUNCHERS)
    return next((int(value) for value in values if value.isdecimal()), None)


def agreed_local_rank(local_ranks: Sequence[int | None], place: int) -> int:
    """The local rank to use: the launcher's, unless two ranks of the node have the same.

    Parameters
    ----------
    local_ranks : of all ranks of this node, as :func:`local_rank` finds them.
    place : of this rank in that list; used where the launcher's numbers cannot be right.
    """
    mine = local_ranks[place]
    return place if mine is None or len(set(local_ranks)) < len(local_ranks) else mine


def without_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables without those of launchers: a child that read them would act as a rank."""
    return {name: v for name, v in environment.items() if not name.startswith(PREFIXES)}
