from __future__ import annotations

import pytest

from tomoatlas.sweep.launchers import (
    LAUNCHERS,
    Launcher,
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
