"""Do the accuracies that a plan promises hold on specimens and noise that it has not seen?

For each specimen and dose a plan is made, as `tomoatlas plan` does, in this process. The
acquisition that it chooses is then solved with its weights on other seeds, and the results within
the promised interval are counted. "Needed" is the half width that holds nine in ten of the results
around their own mean: no plan that holds could promise a narrower one. Run:

    python tests/benchmarks/plan.py [--size 32] [--fresh 10]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence

import numpy as np
from common import table

from tomoatlas.analysis.plan import FIRST_SEED, SEEDS, Limits, Plan, planned
from tomoatlas.jobs.plan import study_of
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.evaluate import evaluate
from tomoatlas.sweep.search.context import SPECIMEN_SEED
from tomoatlas.sweep.study import Study, Task
from tomoatlas.sweep.study.axes import NOISE_SEED
from tomoatlas.sweep.study.trial import Cell, TrialResult

NINE_IN_TEN = 1.645  # standard deviations of a normal distribution, on either side
SIGNALS = {"signal": "edx"}
QUESTIONS = (
    ("co3o4-mn3o4", 1e5, 70.0),
    ("co3o4-mn3o4", 1e4, 60.0),
    ("cu-sic", 5e4, 70.0),
    ("zns-cus", 5e4, 60.0),
    ("c-tio2", 2e4, 70.0),
    ("nanocubes", 5e4, 70.0),
)
"""Specimen, dose in e/Å², and half range of tilts in degrees."""
HEADER = ("specimen", "e/Å²", "tilts", "images / maps / share", "promised", "found, mean", "within",
          "needed", "alone", "scatter", "trials, time")  # fmt: skip


def in_process(tasks: Sequence[Task]) -> list[TrialResult]:
    return [evaluate(study, trial) for study, trial in tasks]


def fresh(study: Study, plan: Plan, count: int) -> list[float]:
    """NRMSE of the chosen acquisition on seeds that the plan has not seen."""
    found = []
    for number in range(count):
        seed = FIRST_SEED + SEEDS + 1000 + number
        values = {**plan.choice.values(), SPECIMEN_SEED: seed, NOISE_SEED: seed}
        axes = {path: (value,) for path, value in values.items()}
        at = study.model_copy(update={"axes": axes}).at(Cell(0, tuple(values.items())))
        found.append(evaluate(at, at.trial(Cell(0), Method.FUSED, 0, plan.weights)).nrmse)
    return found


def rows(size: int, count: int, inside: list[int]) -> Iterator[list[str]]:
    """A line for each question; how many of the fresh results its plan holds goes to ``inside``."""
    for kind, dose, half in QUESTIONS:
        begun = time.perf_counter()
        acquisition = {"tilt_range_deg": [-half, half], "microscope": SIGNALS}
        study = study_of(kind, dose, acquisition, size)
        plan = planned(study, Limits(), in_process)
        seconds = time.perf_counter() - begun
        found = np.array(fresh(study, plan, count))
        expected, choice = plan.expected, plan.choice
        inside.append(int(((expected.low <= found) & (found <= expected.high)).sum()))
        wide = (expected.high / expected.low) ** 0.5 - 1
        yield [
            kind,
            f"{dose:.0e}",
            f"± {half:g}°",
            f"{choice.images} / {choice.maps} / {choice.share:.0%}",
            f"{expected.nrmse:.3f} ± {wide:.1%}",
            f"{found.mean():.3f}",
            f"{inside[-1]} of {count}",
            f"± {NINE_IN_TEN * np.log(found).std(ddof=1):.1%}",
            f"{plan.chemistry_alone:.2f}",
            f"{plan.surface.scatter:.1%}",
            f"{plan.trials}, {seconds:.0f} s",
        ]


def main() -> None:
    """Print the table and how many results lie within their intervals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--fresh", type=int, default=10)
    given = parser.parse_args()
    inside: list[int] = []
    table(HEADER, rows(given.size, given.fresh, inside))
    print(f"{sum(inside)} of {given.fresh * len(inside)} within their intervals")


if __name__ == "__main__":
    main()
