"""One device per rank: which one it is, told from the environment, and whether two have the same.

Nothing here starts MPI or a device; the functions are pure, but for those that ask the machine.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..recon_core.errors import BadInput
from ..recon_core.machine import DEVICES

LOCAL_RANKS = (
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "PALS_LOCAL_RANKID",
    "MPI_LOCALRANKID",
    "PMI_LOCAL_RANK",
    "PMIX_LOCAL_RANK",
    "MV2_COMM_WORLD_LOCAL_RANK",
    "JSM_NAMESPACE_LOCAL_RANK",
    "SLURM_LOCALID",
)
"""Open MPI, PALS, Hydra, Cray and other PMI, PMIx, MVAPICH, jsrun, srun.

Slurm's comes last: an ``mpirun`` inside a batch script hands it on as 0 to all of its ranks.
"""

MASKS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""NVIDIA's, AMD's and Intel's list of the devices that a process may see."""

INSTALL = "pip install 'tomoatlas[gpu]' on a machine with NVIDIA's driver"
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

    ``kind``: cpu, cuda, cuda-half, or auto for a GPU where the rank has one. ``sharing``: refuse
    or warn, where two ranks hold the same GPU. ``lacking``: why the programs here cannot use a GPU,
    None where they can.
    """

    kind: str = "cpu"
    sharing: str = "refuse"
    lacking: str | None = None

    def __post_init__(self) -> None:
        for name, choices in (("kind", DEVICES), ("sharing", ("refuse", "warn"))):
            if getattr(self, name) not in choices:
                value, accepted = getattr(self, name), ", ".join(choices)
                raise BadInput("unknown", key=name, value=value, accepted=accepted)


@dataclass(frozen=True)
class DeviceAssignment:
    """What one rank computes on.

    ``host``: its node. ``identity``: what is unique to a GPU of that node, None for the CPU.
    ``known``: whether the identity is the device's own; otherwise it is what the launcher calls
    it, and inside a container or control group two devices may both be called 0.
    ``variables``: what a child process must be told to see that device alone. ``lacking``: why a
    GPU that is there is not used.
    """

    host: str
    identity: str | None = None
    known: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    lacking: str | None = None


def local_rank(environment: Mapping[str, str]) -> int | None:
    """Number of this rank among those of its node, as its launcher says; None where it does not."""
    values = (environment.get(name, "") for name in LOCAL_RANKS)
    return next((int(value) for value in values if value.isdecimal()), None)


def agreed_local_rank(told: Sequence[int | None], split: int) -> int:
    """The local rank to go by.

    Parameters
    ----------
    told : what the launcher told each rank of this node.
    split : place of this rank in that list.
    """
    mine = told[split]
    return split if mine is None or len(set(told)) < len(told) else mine


def assign(
    environment: Mapping[str, str],
    local: int,
    host: str,
    request: DeviceRequest,
    uuids: Sequence[str] = (),
) -> DeviceAssignment:
    """The device of the rank with local rank ``local``; the CPU where it is to have, or has, none.

    A mask that the launcher has set is honoured: its only device, or the one at the local rank's
    place, counted round.

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
    mask = _mask(environment)
    seen = seen_devices(environment, uuids)
    if not seen or request.lacking:
        return DeviceAssignment(host, lacking=request.lacking if seen else None)
    entry = seen[local % len(seen)]
    variables = {mask or MASKS[0]: entry}
    if (mask or MASKS[0]) != MASKS[0]:
        return DeviceAssignment(host, f"{mask} {entry}", False, variables)
    variables["CUDA_DEVICE_ORDER"] = environment.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    uuid = _uuid(entry, uuids)
    return DeviceAssignment(host, uuid or f"{MASKS[0]} {entry}", uuid is not None, variables)


def seen_devices(environment: Mapping[str, str], uuids: Sequence[str] = ()) -> tuple[str, ...]:
    """The GPUs that a process with this environment may use, as its mask or their order calls them.

    ``uuids``: of all NVIDIA GPUs here, which are seen where there is no mask.
    """
    mask = _mask(environment)
    return _entries(environment[mask]) if mask else tuple(str(i) for i in range(len(uuids)))


def check_devices(
    devices: Sequence[DeviceAssignment], request: DeviceRequest, who: str = "rank"
) -> tuple[str, ...]:
    """What to warn about in the devices of all ranks, by rank; ``who``: what they are to be called.

    Raises
    ------
    BadInput : a rank has no GPU and is to have one, or others have one; two hold the same.
    """
    without = [rank for rank, device in enumerate(devices) if device.identity is None]
    if request.kind.startswith("cuda") and without:
        raise _no_gpu(devices, without, who, request.kind)
    if 0 < len(without) < len(devices):
        accepted = f"a GPU for every {who}, or --device cpu"
        problem = f"no GPU, where other {who}s have one"
        raise BadInput(problem, source=_named(without, who), accepted=accepted)
    warnings = _unused(devices, who)
    for ranks in _sharing(devices):
        device = devices[ranks[0]]
        problem = f"hold the same GPU of {device.host}, {device.identity}"
        if device.known and request.sharing == "refuse":
            accepted = f"one {who} per GPU, {_MORE[who]}; or --share-devices"
            raise BadInput(problem, source=_named(ranks, who), accepted=accepted)
        doubt = "" if device.known else ", unless each sees its own under that name"
        warnings.append(f"{_named(ranks, who)} {problem}{doubt}")
    return tuple(warnings)


def share_of_cores(allowed: Sequence[Collection[int]], rank: int) -> int:
    """Threads of a rank: its part of the cores that the ranks of its node may use together.

    Parameters
    ----------
    allowed : numbers of the cores that each rank of the node may use.
    rank : place of this rank in that list.
    """
    together = len(set().union(*allowed)) // len(allowed)
    return max(1, min(together, len(allowed[rank])))


def visible_uuids() -> tuple[str, ...]:
    """UUIDs of the NVIDIA GPUs here in the order of their PCI bus; none without nvidia-smi."""
    return tuple(uuid for index, uuid in nvidia_gpus("index", "uuid") if index.isdecimal())


def nvidia_gpus(*fields: str) -> list[tuple[str, ...]]:
    """What nvidia-smi says of every GPU here, one text for each of ``fields``; none without it."""
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
    # CUDA ignores everything after an entry that is none.
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
    lacking = next((devices[rank].lacking for rank in without if devices[rank].lacking), None)
    return BadInput(
        lacking or "no GPU is visible",
        key="--device",
        value=kind,
        source=_named(without, who),
        accepted=f"{INSTALL}, or --device cpu" if lacking else "an NVIDIA GPU, or --device cpu",
    )


def _unused(devices: Sequence[DeviceAssignment], who: str) -> list[str]:
    ranks = [rank for rank, device in enumerate(devices) if device.lacking]
    if not ranks:
        return []
    why = devices[ranks[0]].lacking
    return [
        f"{_named(ranks, who)}: trials run on the CPU, though there is a GPU: {why}; use it after "
        f"{INSTALL}, or say --device cpu"
    ]


def _sharing(devices: Sequence[DeviceAssignment]) -> list[list[int]]:
    holders: dict[tuple[str, str], list[int]] = defaultdict(list)
    for rank, device in enumerate(devices):
        if device.identity is not None:
            holders[device.host, device.identity].append(rank)
    return [ranks for ranks in holders.values() if len(ranks) > 1]


def _named(ranks: Sequence[int], who: str) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    return f"{who}{'s' if len(ranks) > 1 else ''} {shown}"
