"""One device per rank: which one each gets, and whether two ranks hold the same.

Nothing here starts MPI or a device; the functions are pure, but for those that run nvidia-smi.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..recon_core.errors import BadInput
from ..recon_core.machine import DEVICES, cpu_name

MASKS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""NVIDIA's, AMD's and Intel's list of the devices that a process may see."""

ALLOCATED = ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS")
"""Set in a job that has been given GPUs."""

INSTALL = "pip install 'tomoatlas[gpu13]' (gpu12 with a driver of CUDA 12)"
_MORE = {
    "rank": "see the launcher's binding options",
    "worker": "fewer --workers",
    "thread": "fewer threads",
}
NO_DEVICE = ("", "-1", "NoDevFiles")
QUERY_SECONDS = 60


@dataclass(frozen=True)
class DeviceRequest:
    """What the ranks are to compute on.

    Parameters
    ----------
    kind : name of the device: cpu, cuda, cuda-half, or auto for a GPU if the rank has one.
    sharing : refuse or warn, if two ranks hold the same GPU.
    gpu_problem : why the programs here cannot use a GPU; None if they can.

    Raises
    ------
    BadInput : another kind or sharing.
    """

    kind: str = "cpu"
    sharing: str = "refuse"
    gpu_problem: str | None = None

    def __post_init__(self) -> None:
        for name, choices in (("kind", DEVICES), ("sharing", ("refuse", "warn"))):
            if getattr(self, name) not in choices:
                value, accepted = getattr(self, name), ", ".join(choices)
                raise BadInput("unknown", key=name, value=value, accepted=accepted)


@dataclass(frozen=True)
class DeviceAssignment:
    """What one rank computes on.

    Parameters
    ----------
    host : name of its node.
    device_id : unique among the GPUs of that node; None for the CPU.
    is_uuid : whether ``device_id`` is the device's own UUID. Otherwise it is the launcher's name
        for it, and in a container or control group two devices may both be called 0.
    child_environment : variables that make this device the only one a child process sees.
    gpu_problem : why a GPU that is present is not used.
    allocated : the variable by which the job's scheduler has promised the rank a GPU.
    hardware : name of the GPU or of the processor; empty if unknown.
    threads : of the processor that the rank's child uses.
    """

    host: str
    device_id: str | None = None
    is_uuid: bool = False
    child_environment: Mapping[str, str] = field(default_factory=dict)
    gpu_problem: str | None = None
    allocated: str | None = None
    hardware: str = ""
    threads: int = 1


def assign(
    environment: Mapping[str, str],
    local: int,
    host: str,
    request: DeviceRequest,
    uuids: Sequence[str] = (),
) -> DeviceAssignment:
    """Choose the device of a rank; the CPU if that is asked for or no GPU is visible.

    A mask that the launcher has set is honoured: the rank gets its only device, or the one at the
    local rank's place, counted round.

    Parameters
    ----------
    environment : variables of the rank.
    local : number of the rank on its node.
    host : name of the node.
    request : what to compute on.
    uuids : of all NVIDIA GPUs that the rank can see, in the order of their PCI bus.
    """
    if request.kind == "cpu":
        return DeviceAssignment(host)
    mask = _mask(environment) or MASKS[0]
    seen = seen_devices(environment, uuids)
    if not seen or request.gpu_problem:
        allocated = next((n for n in ALLOCATED if environment.get(n, "0") not in ("", "0")), None)
        problem = request.gpu_problem if seen or allocated else None
        return DeviceAssignment(host, gpu_problem=problem, allocated=allocated)
    # Counted round: with more ranks than GPUs some share, which check_devices then judges.
    entry = seen[local % len(seen)]
    if mask != MASKS[0]:
        return DeviceAssignment(host, f"{mask} {entry}", False, {mask: entry})
    # By default CUDA numbers the fastest GPU first; nvidia-smi counts along the PCI bus.
    order = environment.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    variables = {mask: entry, "CUDA_DEVICE_ORDER": order}
    uuid = _uuid(entry, uuids)
    return DeviceAssignment(host, uuid or f"{mask} {entry}", uuid is not None, variables)


def seen_devices(environment: Mapping[str, str], uuids: Sequence[str] = ()) -> tuple[str, ...]:
    """The GPUs that a process may use, as its mask names them, or by number without a mask.

    Parameters
    ----------
    environment : variables of the process.
    uuids : of all NVIDIA GPUs of the machine.
    """
    mask = _mask(environment)
    return _entries(environment[mask]) if mask else tuple(str(i) for i in range(len(uuids)))


def check_devices(
    devices: Sequence[DeviceAssignment], request: DeviceRequest, who: str = "rank"
) -> tuple[str, ...]:
    """Check that the devices of all ranks satisfy the request; return warnings.

    Parameters
    ----------
    devices : of all ranks, in their order.
    request : what was asked for.
    who : what messages call a rank.

    Raises
    ------
    BadInput : a rank has no GPU though one was asked for, its job has one or other ranks do; or two
        ranks hold the same GPU.
    """
    without = [rank for rank, device in enumerate(devices) if device.device_id is None]
    wanted = request.kind.startswith("cuda") or any(device.allocated for device in devices)
    if wanted and without:
        raise _no_gpu(devices, without, who, request.kind)
    if 0 < len(without) < len(devices):
        accepted = f"a GPU for every {who}, or --device cpu"
        problem = f"no GPU, where other {who}s have one"
        raise BadInput(problem, source=_named(without, who), accepted=accepted)
    warnings = _unused(devices, who)
    for ranks in _sharing(devices):
        device = devices[ranks[0]]
        problem = f"hold the same GPU of {device.host}, {device.device_id}"
        if device.is_uuid and request.sharing == "refuse":
            accepted = f"one {who} per GPU, {_MORE[who]}; or --share-devices"
            raise BadInput(problem, source=_named(ranks, who), accepted=accepted)
        doubt = "" if device.is_uuid else ", unless each sees its own under that name"
        warnings.append(f"{_named(ranks, who)} {problem}{doubt}")
    return tuple(warnings)


def identified(devices: Sequence[DeviceAssignment], threads: int) -> list[DeviceAssignment]:
    """Add the names of the hardware, for :func:`computing_on`; asked of the machine it is in.

    Parameters
    ----------
    devices : of ranks of this node.
    threads : of the processor that the child of each uses.
    """
    asked = nvidia_gpus("uuid", "name") if any(d.is_uuid for d in devices) else []
    names = {row[0]: row[1] for row in asked}
    cpu = cpu_name()
    return [
        replace(d, hardware=names.get(d.device_id, "") if d.device_id else cpu, threads=threads)
        for d in devices
    ]


def computing_on(devices: Sequence[DeviceAssignment], who: str = "rank") -> str:
    """What a run computes on and how many of them there are, in a few words.

    Parameters
    ----------
    devices : of all ranks, see :func:`identified`.
    who : what the words call a rank.

    Examples
    --------
    >>> cpus = [DeviceAssignment("node", hardware="AMD EPYC 7763", threads=4)] * 2
    >>> computing_on(cpus, "worker")
    '2 CPU workers (AMD EPYC 7763, 4 threads each)'
    >>> gpus = [DeviceAssignment("node", f"GPU-{i}", True, hardware="A100") for i in (0, 1, 0)]
    >>> computing_on(gpus)
    '2 GPUs (A100), 3 ranks'
    """
    hosts = len({device.host for device in devices})
    held = {(device.host, device.device_id) for device in devices if device.device_id}
    names = ", ".join(sorted({device.hardware for device in devices} - {""}))
    where = f" of {hosts} hosts" if hosts > 1 else ""
    if held:
        kind = f" ({names})" if names else ""
        shared = f", {len(devices)} {who}s" if len(devices) > len(held) else ""
        return f"{_counted(len(held), 'GPU')}{where}{kind}{shared}"
    least, most = min(d.threads for d in devices), max(d.threads for d in devices)
    threads = _counted(most, "thread") if least == most else f"{least} to {most} threads"
    each = ", ".join(filter(None, [names, f"{threads} each"]))
    return f"{_counted(len(devices), f'CPU {who}')}{where} ({each})"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s'[: count != 1]}"


def share_of_cores(allowed: Sequence[Collection[int]], rank: int, quota: int | None = None) -> int:
    """Number of threads of a rank: its part of the cores that the ranks of its node may use.

    Parameters
    ----------
    allowed : numbers of the cores that each rank of the node may use.
    rank : place of this rank in that list.
    quota : cores of processor time that the ranks of the node get together; None if unlimited.
    """
    cores = len(set().union(*allowed))
    # A container may allow all cores and grant the time of a few: threads beyond it are throttled.
    together = min(cores, quota or cores) // len(allowed)
    return max(1, min(together, len(allowed[rank])))


def visible_uuids() -> tuple[str, ...]:
    """UUIDs of the NVIDIA GPUs here in the order of their PCI bus; none without nvidia-smi."""
    return tuple(uuid for index, uuid in nvidia_gpus("index", "uuid") if index.isdecimal())


def nvidia_gpus(*fields: str) -> list[tuple[str, ...]]:
    """What nvidia-smi reports of every GPU here: a text for each of ``fields``.

    Returns
    -------
    list : one tuple per GPU; empty without nvidia-smi, or if it fails.
    """
    query = ("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(
            query, capture_output=True, text=True, timeout=QUERY_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (tuple(part.strip() for part in line.split(",")) for line in done.stdout.splitlines())
    return [row for row in rows if len(row) == len(fields)]


def _mask(environment: Mapping[str, str]) -> str | None:
    return next((name for name in MASKS if name in environment), None)


def _entries(mask: str) -> tuple[str, ...]:
    entries = [entry.strip() for entry in mask.split(",")]
    # CUDA ignores everything from the first invalid entry on.
    end = next((i for i, entry in enumerate(entries) if entry in NO_DEVICE), len(entries))
    return tuple(entries[:end])


def _uuid(entry: str, uuids: Sequence[str]) -> str | None:
    if entry.isdecimal():
        return uuids[int(entry)] if int(entry) < len(uuids) else None
    # A UUID may be cut short; an instance of MIG has a UUID of its own, not among the GPUs'.
    matching = [uuid for uuid in uuids if uuid.startswith(entry)]
    return matching[0] if len(matching) == 1 else entry if entry.startswith("MIG-") else None


def _no_gpu(
    devices: Sequence[DeviceAssignment], without: Sequence[int], who: str, kind: str
) -> BadInput:
    problem = next((p for rank in without if (p := devices[rank].gpu_problem)), None)
    allocated = next((a for rank in without if (a := devices[rank].allocated)), None)
    promised = f", though {allocated} says that this job has GPUs" if allocated else ""
    return BadInput(
        (problem or "no GPU is visible") + promised,
        key="--device",
        value=kind,
        source=_named(without, who),
        accepted=f"{INSTALL}, or --device cpu" if problem else "an NVIDIA GPU, or --device cpu",
    )


def _unused(devices: Sequence[DeviceAssignment], who: str) -> list[str]:
    ranks = [rank for rank, device in enumerate(devices) if device.gpu_problem]
    if not ranks:
        return []
    why = devices[ranks[0]].gpu_problem
    return [
        f"{_named(ranks, who)}: trials run on the CPU, though there is a GPU: {why}; use it after "
        f"{INSTALL}, or say --device cpu"
    ]


def _sharing(devices: Sequence[DeviceAssignment]) -> list[list[int]]:
    holders: dict[tuple[str, str], list[int]] = defaultdict(list)
    for rank, device in enumerate(devices):
        if device.device_id is not None:
            holders[device.host, device.device_id].append(rank)
    return [ranks for ranks in holders.values() if len(ranks) > 1]


def _named(ranks: Sequence[int], who: str) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    return f"{who}{'s' if len(ranks) > 1 else ''} {shown}"
