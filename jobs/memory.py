"""Whether the memory of this computer holds the trials that its workers evaluate together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from recon_core.cuda_kernels import check_shape
from recon_core.errors import BadInput
from recon_core.free_memory import available_bytes
from recon_core.memory import FLOAT, GIB, fused_bytes
from sweep.devices import MASKS, nvidia_gpus
from sweep.estimate import data_bytes, solve_size, trial_bytes
from sweep.study import Study

HALF = 2
MEBIBYTE = 2**20


def check_memory(study: Study, places: Sequence[Mapping[str, str]], device: str) -> None:
    """Refuse more workers of this computer than it has memory for, before any starts.

    Parameters
    ----------
    study : what they evaluate, its largest cell in each of them.
    places : for each worker the variables that show it its GPU; empty on the CPU.
    device : as the command line names it.

    Raises
    ------
    BadInput : naming what is needed, what is free and how many workers would fit; more elements or
        voxels than the kernels of a GPU take.
    """
    gpus = Counter(place[MASKS[0]] for place in places if MASKS[0] in place)
    cells = [study.at(cell) for cell in study.cells()]
    needed = max(map(data_bytes if gpus else trial_bytes, cells))
    _refuse_if_larger(len(places), needed, available_bytes(), "here")
    if not gpus:
        return
    sizes = [solve_size(at, HALF if device == "cuda-half" else FLOAT) for at in cells]
    for size in sizes:
        check_shape(size.shape, size.images)
    needed, free = max(map(fused_bytes, sizes)), _free_of_gpus()
    for gpu, workers in gpus.items():
        if gpu in free:
            _refuse_if_larger(workers, needed, free[gpu], f"on GPU {gpu}")


def memory_warnings(study: Study) -> list[str]:
    """That one worker of this computer would not have the memory; no or one line."""
    try:
        check_memory(study, [{}], "cpu")
    except BadInput as error:
        return [f"{error.problem}: tomoatlas run would refuse it on this computer's CPU"]
    return []


def _refuse_if_larger(workers: int, each: int, free: int, where: str) -> None:
    if workers * each <= free:
        return
    fitting = free // each
    need = f"{workers} worker{'s'[: workers > 1]} need{'s'[: workers == 1]}"
    apiece = f", {each / GIB:.3g} each" if workers > 1 else ""
    raise BadInput(
        f"{need} {workers * each / GIB:.3g} GiB of memory (estimated){apiece}; "
        f"{free / GIB:.3g} GiB are free {where}",
        key="--workers",
        value=workers,
        accepted=f"at most {fitting}" if fitting else "a smaller specimen.size, or more memory",
    )


def _free_of_gpus() -> dict[str, int]:
    """Free bytes of every GPU by its number and by its UUID; none without nvidia-smi."""
    rows = nvidia_gpus("index", "uuid", "memory.free")
    known = [row for row in rows if row[2].isdecimal()]
    return {name: int(mib) * MEBIBYTE for *names, mib in known for name in names}
