from __future__ import annotations

import pytest

from tomoatlas.sweep.launchers import launched_under_mpi


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
def test_mpi_is_told_from_the_environment(environment: dict[str, str], several: bool) -> None:
    assert launched_under_mpi(environment) is several
