from __future__ import annotations

import pytest

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.launchers import (
    LAUNCHERS,
    Launcher,
    check_world,
    first_rank,
    launched_under_mpi,
    local_rank,
    without_launcher,
)


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, False),
        ({"PMI_RANK": "0", "PMI_SIZE": "3"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "1"}, True),
        ({"PMIX_RANK": "0"}, True),
        ({"PALS_RANKID": "5"}, True),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, False),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "0"}, True),
        ({"PMI_SIZE": "many"}, False),
    ],
)
def test_the_environment_shows_whether_mpi_launched_this(
    environment: dict[str, str], several: bool
) -> None:
    assert launched_under_mpi(environment) is several


def on_proxies(ranks: int) -> dict[str, str]:
    """Two nodes, ranks of Hydra: a proxy on each is the only task that Slurm knows of."""
    return {
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "1",
        "PMI_SIZE": str(ranks), "PMI_RANK": "0", "MPI_LOCALNRANKS": "2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "world"),
    [
        ({}, 1),
        ({"PMI_SIZE": "4", "SLURM_STEP_NUM_TASKS": "4"}, 4),
        (on_proxies(4), 4),
        (on_proxies(1), 1),
        ({"OMPI_COMM_WORLD_SIZE": "2", "SLURM_STEP_NUM_TASKS": "3"}, 2),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"}, 1),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, 1),
        ({"PALS_RANKID": "0"}, 1),
        ({"PMI_SIZE": "many"}, 1),
    ],
)
def test_ranks_that_know_of_each_other_are_accepted(
    environment: dict[str, str], world: int
) -> None:
    check_world(world, environment)


@pytest.mark.parametrize("launcher", [x for x in LAUNCHERS if x.size], ids=lambda x: x.name)
def test_ranks_that_are_each_a_world_of_their_own_are_refused(launcher: Launcher) -> None:
    assert launcher.size is not None
    with pytest.raises(BadInput) as refused:
        check_world(1, {launcher.size: "4", "SLURM_NTASKS": "9"})
    assert (refused.value.key, refused.value.value) == (launcher.size, 4)
    assert launcher.remedy in str(refused.value)


def test_the_innermost_launcher_knows_the_first_rank() -> None:
    assert first_rank(on_proxies(4))
    assert not first_rank({**on_proxies(4), "PMI_RANK": "1", "SLURM_PROCID": "0"})


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda launcher: launcher.name)
def test_a_child_inherits_no_variable_of_a_launcher(launcher: Launcher) -> None:
    names = [name for name in (launcher.local_rank, launcher.rank, launcher.size) if name]
    others = {"PATH": "/bin", "MPICH_VERSION": "4"}
    assert without_launcher({**dict.fromkeys(names, "3"), **others}) == others
    assert local_rank({launcher.local_rank: "3"}) == 3


@pytest.mark.parametrize("name", [x.rank for x in LAUNCHERS if x.rank])
def test_only_rank_zero_is_the_first(name: str) -> None:
    assert first_rank({name: "0"})
    assert not first_rank({name: "1"})
    assert first_rank({})
