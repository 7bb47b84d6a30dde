"""MPI launchers: the environment variables by which each describes a rank. Nothing starts MPI."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..recon_core.errors import BadInput


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
    remedy : what to do where MPI knows of fewer ranks than the launcher has started.
    """

    name: str
    prefixes: tuple[str, ...]
    local_rank: str
    rank: str | None = None
    size: str | None = None
    sets_rank_in_scripts: bool = False
    remedy: str = "use the launcher of the MPI that mpi4py finds"


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
    ),
    Launcher(
        "PMI, of Cray and others",
        ("PMI_", "PMI2_"),
        local_rank="PMI_LOCAL_RANK",
        rank="PMI_RANK",
        size="PMI_SIZE",
    ),
    Launcher("PMIx", ("PMIX_",), local_rank="PMIX_LOCAL_RANK", rank="PMIX_RANK"),
    Launcher(
        "MVAPICH",
        ("MV2_",),
        local_rank="MV2_COMM_WORLD_LOCAL_RANK",
        rank="MV2_COMM_WORLD_RANK",
        size="MV2_COMM_WORLD_SIZE",
    ),
    Launcher(
        "jsrun",
        ("JSM_",),
        local_rank="JSM_NAMESPACE_LOCAL_RANK",
        rank="JSM_NAMESPACE_RANK",
        size="JSM_NAMESPACE_SIZE",
    ),
    Launcher(
        "srun",
        ("SLURM_",),
        local_rank="SLURM_LOCALID",
        rank="SLURM_PROCID",
        size="SLURM_STEP_NUM_TASKS",
        sets_rank_in_scripts=True,
        remedy="give srun the --mpi= that MPI needs (srun --mpi=list), or use mpiexec",
    ),
)
"""The first that sets a variable is believed, as it is the innermost. Slurm's comes last: an
``mpirun`` inside a batch script passes on the script's own rank, 0, to all of its ranks, and Hydra
starts one proxy a node by ``srun``, whose step has fewer tasks than there are ranks. The tasks of
Slurm's job, ``SLURM_NTASKS``, promise nothing: a shell inside it is one of them."""

PREFIXES = tuple(prefix for launcher in LAUNCHERS for prefix in launcher.prefixes)


def first_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is MPI rank 0 or no rank: of several ranks only one should print."""
    ranks = (environment.get(launcher.rank) for launcher in LAUNCHERS if launcher.rank)
    return next((rank for rank in ranks if rank), "0") == "0"


def launched_under_mpi(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether ``mpiexec``, ``srun`` or their like started this process as one of several ranks.

    Importing mpi4py starts MPI, which a plain run must not do; so the environment decides. A batch
    script itself, outside ``srun``, is no rank. True may still turn out to be one rank alone.
    """
    if any(launcher.size in environment for launcher in LAUNCHERS if launcher.size):
        return any(_size(launcher, environment) > 1 for launcher in LAUNCHERS)
    # Some set the rank, but no size.
    ranks = [x.rank for x in LAUNCHERS if x.rank and not x.sets_rank_in_scripts]
    return any(name in environment for name in ranks)


def check_world(size: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse ranks that do not know of each other: each would be a run of its own.

    That is so where MPI is not the launcher's, as under ``srun`` without ``--mpi`` where the site's
    default is none: every task is rank 0 of 1.

    Parameters
    ----------
    size : number of ranks that MPI knows of.
    environment : of this process.

    Raises
    ------
    BadInput : fewer than the launcher has started; names the remedy.

    Examples
    --------
    >>> check_world(4, {"PMI_SIZE": "4", "SLURM_STEP_NUM_TASKS": "2"})
    """
    promised = next(((x, n) for x in LAUNCHERS if (n := _size(x, environment))), None)
    if promised is None or promised[1] <= size:
        return
    launcher, started = promised
    raise BadInput(
        f"{launcher.name} started {started} ranks, but MPI knows of {size}: {launcher.remedy}",
        key=launcher.size or launcher.name,
        value=started,
        accepted=f"<= {size}, or --executor local for a run of its own on every rank",
    )


def _size(launcher: Launcher, environment: Mapping[str, str]) -> int:
    """Number of ranks that a launcher says it has started; 0 if it says nothing."""
    text = environment.get(launcher.size, "") if launcher.size else ""
    # Other programs set these variables too, to what they like.
    return int(text) if text.isdecimal() else 0


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
