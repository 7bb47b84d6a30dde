"""Several fused trials in one solve against one by one: trials per second, on a CPU or a GPU.

    python tests/benchmarks/batch.py [cpu|cuda] [SIZE ...]

1, 4 and 8 trials on a CPU at 32 and 64 voxels, 1, 8 and 32 on a GPU at 64, unless sizes are given;
47 HAADF and 9 chemical tilts. Each trial takes 60 iterations, so that both ways do the same work.
Ends with status 2 and one line where the device is missing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from common import condition, table

from tomoatlas.recon_core.device import Device
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.gpu import device_named
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct, reconstruct_batch

WORK = SolverSettings(tolerance=1e-12, max_iterations=60)
TRIALS = {"cpu": (1, 4, 8), "cuda": (1, 8, 32)}
SIZES = {"cpu": (32, 64), "cuda": (64,)}
REPEATS = 3
HEADER = ("size", "trials", "one by one (trials / s)", "one batch (trials / s)", "ratio")


def main(arguments: list[str]) -> int:
    """Print one row per size and number of trials; 2 where there is no such device."""
    names = [a for a in arguments if not a.isdigit()] or ["cpu"]
    try:
        device = device_named(names[0])
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    kind = "cpu" if device.xp is np else "cuda"
    sizes = [int(a) for a in arguments if a.isdigit()] or SIZES[kind]
    print(device.name)
    table(HEADER, (row for size in sizes for row in rows(device, size, TRIALS[kind])))
    return 0


def rows(device: Device, size: int, counts: tuple[int, ...]) -> Iterator[tuple[object, ...]]:
    """Trials per second both ways, best of three taken in turns."""
    series = condition(size, 47, 9)[1]
    reconstruct_batch(series, Method.FUSED, weights(2), WORK, device)  # compile
    for count in counts:
        chosen = weights(count)

        def one_by_one(chosen: list[Weights] = chosen) -> object:
            return [reconstruct(series, Method.FUSED, w, WORK, device=device) for w in chosen]

        def one_batch(chosen: list[Weights] = chosen) -> object:
            return reconstruct_batch(series, Method.FUSED, chosen, WORK, device)

        times = [(seconds(one_by_one), seconds(one_batch)) for _ in range(REPEATS)]
        alone, together = (min(column) for column in zip(*times, strict=True))
        rates = (f"{count / t:.2f}" for t in (alone, together))
        yield f"{size}³", count, *rates, f"{alone / together:.2f}"


def weights(count: int) -> list[Weights]:
    """Over the search space of the HAADF weight."""
    return [Weights(float(haadf), 0.7) for haadf in np.geomspace(0.01, 1.0, count)]


def seconds(run: Callable[[], object]) -> float:
    """Of one call; its volumes come to the host, so that nothing is left in flight."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
