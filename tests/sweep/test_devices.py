from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.devices import (
    DeviceAssignment,
    DeviceRequest,
    assign,
    check_devices,
    computing_on,
    identified,
    share_of_cores,
    visible_uuids,
)
from tomoatlas.sweep.launchers import agreed_local_rank, local_rank

AUTO, CUDA = DeviceRequest("auto"), DeviceRequest("cuda")
UUIDS = tuple(f"GPU-{letter * 8}" for letter in "abcd")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_LOCALID": "3", "SLURM_PROCID": "11"}, 3),
        ({"PALS_LOCAL_RANKID": "2", "PALS_RANKID": "14", "PMI_RANK": "14"}, 2),
        ({"PMI_LOCAL_RANK": "1", "PMI_RANK": "5"}, 1),
        ({"PMIX_LOCAL_RANK": "4", "PMIX_RANK": "9"}, 4),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "2", "OMPI_COMM_WORLD_RANK": "6"}, 2),
        ({"MPI_LOCALRANKID": "1", "PMI_RANK": "3", "PMI_SIZE": "4"}, 1),
        ({"JSM_NAMESPACE_LOCAL_RANK": "5", "JSM_NAMESPACE_RANK": "11", "PMIX_RANK": "11"}, 5),
        ({"MV2_COMM_WORLD_LOCAL_RANK": "1"}, 1),
        # mpirun in a batch script of Slurm: every rank inherits 0 from the script.
        ({"SLURM_LOCALID": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "3"}, 3),
        ({"SLURM_LOCALID": "0", "MPI_LOCALRANKID": "3"}, 3),
        ({"PMI_RANK": "7"}, None),
        ({"SLURM_LOCALID": "many"}, None),
        ({}, None),
    ],
)
def test_every_launcher_sets_the_local_rank(
    environment: dict[str, str], expected: int | None
) -> None:
    assert local_rank(environment) == expected


@given(ranks=st.lists(st.one_of(st.none(), st.integers(0, 7)), min_size=1, max_size=8))
def test_ranks_of_a_node_never_agree_on_one_number(ranks: list[int | None]) -> None:
    agreed = [agreed_local_rank(ranks, place) for place in range(len(ranks))]
    whole = None not in ranks
    if whole:
        assert len(set(agreed)) == len(ranks)
    if whole and len(set(ranks)) == len(ranks):
        assert agreed == ranks, "what the launcher says goes before the split"


@pytest.mark.parametrize(
    ("environment", "entry", "device_id", "is_uuid"),
    [
        ({"CUDA_VISIBLE_DEVICES": "3"}, "3", UUIDS[3], True),
        ({"CUDA_VISIBLE_DEVICES": "3,2,1,0"}, "2", UUIDS[2], True),
        ({"CUDA_VISIBLE_DEVICES": "2, 3"}, "3", UUIDS[3], True),
        ({"CUDA_VISIBLE_DEVICES": UUIDS[2]}, UUIDS[2], UUIDS[2], True),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b"}, "GPU-b", UUIDS[1], True),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1/2"}, "MIG-1/2", "MIG-1/2", True),
        ({"CUDA_VISIBLE_DEVICES": "9"}, "9", "CUDA_VISIBLE_DEVICES 9", False),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, "0", UUIDS[0], True),
        ({}, "1", UUIDS[1], True),
    ],
)
def test_a_mask_of_the_launcher_is_honoured(
    environment: dict[str, str], entry: str, device_id: str, is_uuid: bool
) -> None:
    device = assign(environment, 1, "node", AUTO, UUIDS)
    assert device.child_environment == {
        "CUDA_VISIBLE_DEVICES": entry,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    assert (device.device_id, device.is_uuid) == (device_id, is_uuid)


@pytest.mark.parametrize("name", ["ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"])
def test_other_makers_masks_are_honoured(name: str) -> None:
    device = assign({name: "4,6"}, 1, "node", AUTO)
    assert device == DeviceAssignment("node", f"{name} 6", False, {name: "6"})


@pytest.mark.parametrize("mask", ["", "-1", "NoDevFiles", "-1,0"])
def test_an_empty_mask_is_no_device(mask: str) -> None:
    assert assign({"CUDA_VISIBLE_DEVICES": mask}, 0, "node", AUTO, UUIDS) == DeviceAssignment(
        "node"
    )


def test_nothing_visible_or_nothing_wanted_is_the_cpu() -> None:
    assert assign({}, 0, "node", AUTO) == DeviceAssignment("node")
    masked = {"CUDA_VISIBLE_DEVICES": "1"}
    assert assign(masked, 0, "node", DeviceRequest("cpu"), UUIDS) == DeviceAssignment("node")


@given(ranks=st.integers(1, 12), gpus=st.integers(1, 12), masked=st.booleans())
def test_ranks_get_devices_of_their_own_while_there_are_any(
    ranks: int, gpus: int, masked: bool
) -> None:
    uuids = [f"GPU-{i}" for i in range(gpus)]
    mask = {"CUDA_VISIBLE_DEVICES": ",".join(str(i) for i in reversed(range(gpus)))}
    devices = [assign(mask if masked else {}, i, "n", AUTO, uuids) for i in range(ranks)]
    assert len({device.device_id for device in devices}) == min(ranks, gpus)
    if ranks <= gpus:
        assert check_devices(devices, CUDA) == ()
    else:
        with pytest.raises(BadInput) as refused:
            check_devices(devices, CUDA)
        assert str(refused.value.source).startswith(f"ranks 0, {gpus}")
        assert str(devices[0].device_id) in refused.value.problem
        assert check_devices(devices, DeviceRequest("cuda", "warn"))


def test_what_a_run_computes_on_is_said_with_names_and_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = [(uuid, "H100") for uuid in UUIDS]
    monkeypatch.setattr("tomoatlas.sweep.devices.nvidia_gpus", lambda *fields: listed)
    monkeypatch.setattr("tomoatlas.sweep.devices.cpu_name", lambda: "EPYC")
    on = [[assign({}, i, host, AUTO, UUIDS) for i in range(4)] for host in ("a", "b")]
    assert computing_on(identified(on[0], 4)) == "4 GPUs (H100)"
    assert computing_on(identified([*on[0], *on[1]], 4)) == "8 GPUs of 2 hosts (H100)"
    assert computing_on(identified([*on[0], *on[0]], 4)) == "4 GPUs (H100), 8 ranks"
    cpu = [DeviceAssignment("a")]
    assert computing_on(identified(cpu, 1), "worker") == "1 CPU worker (EPYC, 1 thread each)"
    mixed = [*identified(cpu, 1), *identified(cpu, 3)]
    assert computing_on(mixed) == "2 CPU ranks (EPYC, 1 to 3 threads each)"
    unnamed = assign({"CUDA_VISIBLE_DEVICES": "9"}, 0, "a", AUTO)
    assert computing_on(identified([unnamed], 1)) == "1 GPU"


def test_the_same_name_on_two_nodes_is_two_devices() -> None:
    devices = [DeviceAssignment(host, "CUDA_VISIBLE_DEVICES 0") for host in ("a", "b")]
    assert check_devices(devices, CUDA) == ()


def test_a_name_that_may_mean_two_devices_is_warned_about() -> None:
    devices = [DeviceAssignment("a", "ROCR_VISIBLE_DEVICES 0")] * 2
    (line,) = check_devices(devices, AUTO)
    assert line == (
        "ranks 0, 1 hold the same GPU of a, ROCR_VISIBLE_DEVICES 0, "
        "unless each sees its own under that name"
    )


def test_ranks_with_and_without_gpu_are_refused() -> None:
    devices = [DeviceAssignment("a", UUIDS[0], True), DeviceAssignment("b"), DeviceAssignment("c")]
    with pytest.raises(BadInput) as refused:
        check_devices(devices, AUTO)
    assert refused.value.source == "ranks 1, 2"
    for kind in ("cuda", "cuda-half"):
        with pytest.raises(BadInput) as refused:
            check_devices(devices, DeviceRequest(kind))
        assert refused.value.source == "ranks 1, 2"
        assert (refused.value.key, refused.value.value) == ("--device", kind)
    assert check_devices(devices[1:], AUTO) == ()


def test_a_gpu_that_the_programs_cannot_use_is_not_held() -> None:
    unusable = DeviceRequest("auto", gpu_problem="cupy cannot be imported")
    masked = {"CUDA_VISIBLE_DEVICES": "0"}
    devices = [assign(masked, i, "n", unusable, UUIDS) for i in range(2)]
    assert all(device.device_id is None and not device.child_environment for device in devices)
    (line,) = check_devices(devices, unusable)
    assert line.startswith("ranks 0, 1: trials run on the CPU, though there is a GPU: cupy cannot")
    assert all(extra in line for extra in ("gpu12", "gpu13"))
    without = [assign({}, i, "n", unusable) for i in range(2)]
    assert check_devices(without, unusable) == (), "where there is no GPU nothing is missing"


def test_a_gpu_that_is_asked_for_and_cannot_be_used_is_refused_with_the_reason() -> None:
    unusable = DeviceRequest("cuda", gpu_problem="cupy cannot be imported")
    devices = [assign({"CUDA_VISIBLE_DEVICES": "0"}, i, "n", unusable, UUIDS) for i in range(2)]
    with pytest.raises(BadInput) as refused:
        check_devices(devices, unusable)
    error = refused.value
    assert (error.source, error.key, error.value) == ("ranks 0, 1", "--device", "cuda")
    assert unusable.gpu_problem in error.problem
    assert "pip install" in str(error.accepted)


def test_ranks_whose_programs_differ_are_refused() -> None:
    masked = {"CUDA_VISIBLE_DEVICES": "0"}
    able = assign(masked, 0, "a", AUTO, UUIDS)
    unable = assign(
        masked, 0, "b", DeviceRequest("auto", gpu_problem="CUDA finds no device"), UUIDS
    )
    with pytest.raises(BadInput) as refused:
        check_devices([able, unable], AUTO)
    assert refused.value.source == "rank 1"


def test_a_request_that_cannot_be_is_named() -> None:
    with pytest.raises(BadInput) as refused:
        DeviceRequest("cpu", "allow")
    assert (refused.value.key, refused.value.value) == ("sharing", "allow")


@given(
    allowed=st.lists(st.sets(st.integers(0, 15), min_size=1), min_size=1, max_size=8),
)
def test_ranks_of_a_node_share_its_cores(allowed: list[set[int]]) -> None:
    shares = [share_of_cores(allowed, rank) for rank in range(len(allowed))]
    cores = len(set().union(*allowed))
    assert all(share >= 1 for share in shares)
    assert all(share <= len(mine) for share, mine in zip(shares, allowed, strict=True))
    if len(allowed) <= cores:
        assert sum(shares) <= cores


@pytest.mark.parametrize(
    ("ranks", "quota", "expected"), [(2, 8, 4), (2, None, 8), (3, 8, 2), (4, 2, 1), (2, 64, 8)]
)
def test_ranks_share_the_quota_of_their_node(ranks: int, quota: int | None, expected: int) -> None:
    allowed = [range(16)] * ranks
    assert {share_of_cores(allowed, rank, quota) for rank in range(ranks)} == {expected}


def test_gpus_are_asked_for_by_uuid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0, GPU-aa\\n1, GPU-bb\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert visible_uuids() == ("GPU-aa", "GPU-bb")
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert visible_uuids() == ()
    tool.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_uuids() == ()
