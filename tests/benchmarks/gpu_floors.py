"""What an iteration must move and compute on an H200, and what the paper's map would take there.

Nothing is measured and no GPU is needed: the model is that of ``check``,
:mod:`tomoatlas.recon_core.gpu.cost`.
"""

from __future__ import annotations

from collections.abc import Iterator

from common import table

from tomoatlas.jobs import load_study
from tomoatlas.recon_core.gpu.cost import GPUS, LAUNCH_SECONDS, iteration_seconds, stages
from tomoatlas.recon_core.memory import SolveSize
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.estimate import solve_size

H200 = GPUS["H200"]
PAPER_HOURS = 1078


def print_floors(sizes: tuple[int, ...]) -> None:
    """Both tables; 47 HAADF and 9 chemical tilts of four elements, and the paper's whole map."""
    header = (
        "predicted for an H200: stage",
        "size",
        "bytes (GB)",
        "operations (GFLOP)",
        "floor (ms)",
        "predicted (ms)",
    )
    table(header, (row for size in sizes for row in stage_rows(size)))
    name = "predicted for an H200: fig4_nanocubes"
    table((name, "trials", "iterations", "ms / iteration", "GPU-hours"), study_rows())
    print("Without specimens, simulation, scores and the start at half the resolution.")


def stage_rows(size: int) -> Iterator[tuple[object, ...]]:
    """Every stage of a fused iteration, and their sum."""
    every = stages(SolveSize((4, size, size, size), 47, 9), Method.FUSED)
    for s in every:
        sums = f"{s.share * s.moved / 1e9:.3f}", f"{s.share * s.work / 1e9:.2f}"
        times = (f"{1e3 * t:.3f}" for t in (s.floor(H200), s.predicted(H200)))
        yield s.name, f"{size}³", *sums, *times
    yield "launches", f"{size}³", "", "", "", f"{1e3 * LAUNCH_SECONDS:.3f}"
    moved, work = (sum(s.share * getattr(s, name) for s in every) for name in ("moved", "work"))
    floor, predicted = sum(s.floor(H200) for s in every), sum(s.predicted(H200) for s in every)
    times = f"{1e3 * floor:.2f}", f"{1e3 * (predicted + LAUNCH_SECONDS):.2f}"
    yield "iteration", f"{size}³", f"{moved / 1e9:.2f}", f"{work / 1e9:.1f}", *times


def study_rows() -> Iterator[tuple[object, ...]]:
    """Trials, typical iterations and hours of each method in the paper's map."""
    study, hours = load_study("fig4_nanocubes"), 0.0
    for method in study.search.methods:
        sizes = [solve_size(study.at(cell)) for cell in study.cells()]
        seconds = [iteration_seconds(size, method, H200) for size in sizes]
        each = study.search.budget(method)
        iterations = min(method.traits.iterations, study.solver.max_iterations)
        taken = each * iterations * sum(seconds) / 3600
        hours += taken
        milliseconds = f"{1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f}"
        yield str(method), each * len(seconds), iterations, milliseconds, f"{taken:.2f}"
    yield "in all", "", "", "", f"{hours:.1f}; the paper's: {PAPER_HOURS:,}"
