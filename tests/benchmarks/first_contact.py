"""Everything that a first half hour on a GPU can tell, in one command.

    python tests/benchmarks/first_contact.py --out contact [--minutes 30]

Runs, one after the other: the tests that need a GPU, NVIDIA's sanitizer over the kernels, the
device's results against the CPU's and a batch against its trials, the times of projectors,
kernels, iterations, trials and batches beside what was predicted, a study with batches and
without, and with the time that is left the paper's map. Each step has a time limit and a file of
its own below ``--out``, and whatever becomes of one, the next one runs. At the end the summary is
printed, and ``contact.tar.gz`` is what to send. Needs ``tomoatlas[gpu13]`` (or ``gpu12``), pytest
and hypothesis; nothing is fetched. ``--emulated`` tries the same without a GPU, on the kernels
compiled by g++: no times, but the same comparisons.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from common import condition, score, table
from numpy.typing import NDArray

from tomoatlas.recon_core.device import CPU, Device
from tomoatlas.recon_core.gpu import CudaDevice, device_named
from tomoatlas.recon_core.gpu.cost import GPUS, Gpu, iteration_seconds, stages
from tomoatlas.recon_core.gpu.cupy import device_problem
from tomoatlas.recon_core.memory import SolveSize
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings, newest_settings
from tomoatlas.recon_core.solver import reconstruct, reconstruct_batch
from tomoatlas.sweep.evaluate import evaluate, evaluate_together
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult, to_record

HERE = Path(__file__).parent
TESTS = HERE.parent / "recon_core"
SELF, PYTHON = (sys.executable, str(Path(__file__))), (sys.executable,)
RUN = (*PYTHON, "-m", "tomoatlas", "run")
PYTEST = (*PYTHON, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider")
KERNELS = (*PYTEST, str(TESTS / "test_gpu_kernels.py"))
SIZES = ("64", "128", "256")

WEIGHTS = (Weights(0.03, 0.5), Weights(0.1, 0.2), Weights(0.3, 1.0))
CLOSE = 1e-4
"""Largest relative difference of an objective on two devices."""

STUDY = """
[study]
name = "contact"
edition = 2
[specimen]
kind = "nanocubes"
size = {size}
[acquisition]
haadf_tilts = 9
chemical_tilts = 5
[solver]
max_iterations = {iterations}
"""


@dataclass(frozen=True)
class Step:
    """One command, its time limit in seconds, and the program that it needs."""

    name: str
    limit: float
    command: tuple[str, ...]
    program: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a step ended; ``code`` is None if it was not run or ran out of time."""

    name: str
    seconds: float
    code: int | None
    note: str = ""

    @property
    def row(self) -> tuple[object, ...]:
        """Of the summary."""
        ended = self.note or ("passed" if self.code == 0 else f"exit code {self.code}")
        return self.name, ended, f"{self.seconds:.0f}"


def steps(out: Path) -> tuple[Step, ...]:
    """In the order of what matters most."""
    sanitizer = "compute-sanitizer"
    check = (sanitizer, "--error-exitcode", "9", "--tool")
    return (
        Step("card", 30, ("nvidia-smi",), "nvidia-smi"),
        Step("equality", 180, (*SELF, "--step", "equality")),
        Step("tests", 420, (*PYTEST, str(TESTS))),
        Step("iterations", 180, (*SELF, "--step", "iterations")),
        Step("kernels", 240, (*PYTHON, str(HERE / "gpu.py"), *SIZES)),
        Step("batches", 120, (*PYTHON, str(HERE / "batch.py"), "cuda", "32", "64", "128")),
        Step("study", 180, (*RUN, "quickstart", "--out", str(out / "study"), "--device", "cuda")),
        Step("singly", 180, (*RUN, "quickstart", "--out", str(out / "singly"), "--device", "cuda",
                             "--batch", "1")),
        Step("the same study", 20, (*SELF, "--step", "same", "--out", str(out))),
        Step("memcheck", 240, (*check, "memcheck", *KERNELS), sanitizer),
        Step("racecheck", 240, (*check, "racecheck", *KERNELS), sanitizer),
        Step("tilings", 120, (*PYTHON, str(HERE / "gpu.py"), "256", "--tilings")),
    )  # fmt: skip


def emulated_steps() -> tuple[Step, ...]:
    """What can be done without a GPU."""
    return (
        Step("predicted", 60, (*PYTHON, str(HERE / "gpu.py"), *SIZES, "--floors")),
        Step("equality", 600, (*SELF, "--step", "equality", "--emulated")),
        Step("card", 30, ("nvidia-smi",), "nvidia-smi"),
    )


def main(arguments: Sequence[str]) -> int:
    """Run all steps, or one; 1 if a step has failed, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description="First contact with a GPU.")
    parser.add_argument("--out", type=Path, default=Path("contact"))
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--emulated", action="store_true")
    parser.add_argument("--step", choices=["equality", "iterations", "same"])
    asked = parser.parse_args(arguments)
    if asked.step == "same":
        return same_study(asked.out)
    if not asked.emulated and (problem := device_problem()):
        print(f"{problem}; --emulated tries the same without a GPU", file=sys.stderr)
        return 2
    if asked.step:
        device = emulation() if asked.emulated else device_named("cuda")
        return equality(device) if asked.step == "equality" else iterations(device)
    if asked.out.exists():
        print(f"{asked.out} exists already", file=sys.stderr)
        return 2
    asked.out.mkdir(parents=True)
    until = time.monotonic() + 60 * asked.minutes
    planned = emulated_steps() if asked.emulated else steps(asked.out)
    outcomes = list(run_all(planned, asked.out, until))
    if not asked.emulated and until - time.monotonic() > 120:
        left = until - time.monotonic()
        walltime = time.strftime("%H:%M:%S", time.gmtime(left - 60))
        folder = ("--out", str(asked.out / "map"), "--walltime", walltime)
        command = (*RUN, "fig4_nanocubes", *folder, "--device", "cuda", "--no-slices")
        outcomes.append(run_step(Step("map", left, command), asked.out / "99_map.txt"))
    summarise(outcomes, asked.out)
    return int(any(outcome.code not in (0, None) for outcome in outcomes[: len(planned)]))


def run_all(planned: Sequence[Step], out: Path, until: float) -> Iterator[Outcome]:
    """Each step within its own limit and the time that there is in all."""
    for number, step in enumerate(planned):
        left = until - time.monotonic()
        file = out / f"{number:02d}_{step.name.replace(' ', '_')}.txt"
        if left <= 0:
            yield Outcome(step.name, 0.0, None, "no time left")
        elif step.program and not shutil.which(step.program):
            yield Outcome(step.name, 0.0, None, f"no {step.program} here")
        else:
            outcome = run_step(replace(step, limit=min(step.limit, left)), file)
            print(*outcome.row, sep="\t", flush=True)
            yield outcome


def run_step(step: Step, file: Path) -> Outcome:
    """Run a step into its file."""
    begun = time.monotonic()
    with file.open("w", encoding="utf-8") as text:
        text.write(f"$ {' '.join(step.command)}\n\n")
        text.flush()
        try:
            done = subprocess.run(
                step.command, stdout=text, stderr=subprocess.STDOUT, timeout=step.limit, check=False
            )
        except subprocess.TimeoutExpired:
            return Outcome(step.name, step.limit, None, f"cut short after {step.limit:.0f} s")
        except OSError as error:
            return Outcome(step.name, 0.0, 127, f"cannot start: {error}")
    return Outcome(step.name, time.monotonic() - begun, done.returncode)


def summarise(outcomes: Sequence[Outcome], out: Path) -> None:
    """Print and keep the summary, and pack everything that is worth sending."""
    lines = ["| step | ended | seconds |", "|---|---|---|"]
    lines += ["| " + " | ".join(map(str, outcome.row)) + " |" for outcome in outcomes]
    text = "\n".join(lines)
    (out / "summary.md").write_text(f"{text}\n", encoding="utf-8")
    print(f"\n{text}")
    packed = out.with_name(f"{out.name}.tar.gz")
    with tarfile.open(packed, "w:gz") as archive:
        for file in sorted([*out.glob("*.txt"), *out.glob("*.md"), *out.glob("*/*.jsonl")]):
            archive.add(file, file.relative_to(out.parent))
    print(f"\nTo be sent: {packed}")


def emulation() -> CudaDevice:
    """The kernels, compiled by g++ and run by this computer."""
    sys.path.insert(0, str(HERE.parent / "cuda_host"))
    from host_launcher import HostLauncher

    return CudaDevice(HostLauncher(), "emulation")


def equality(device: Device) -> int:
    """Tables of the device against the CPU and of batches against trials; 1 if any differs."""
    small = device.name == "emulation"
    size, limit = (8, 5) if small else (48, 60)
    print(f"{device.name}, {size}³, {limit} iterations\n")
    compared = list(against_cpu(device, size, limit))
    table(("method", "objective off by", "volumes off by", "NRMSE: CPU", "device", ""), compared)
    batches = list(against_singles(device, size, limit))
    table(("batch of 3", "volumes equal to the bit", "records equal", ""), batches)
    return int(any(row[-1] != "same" for row in (*compared, *batches)))


def cases(limit: int) -> dict[str, tuple[Method, SolverSettings]]:
    """Methods and settings that are compared."""
    old = SolverSettings(max_iterations=limit, tolerance=1e-9)
    new = newest_settings().model_copy(update={"max_iterations": limit, "tolerance": 1e-9})
    return {
        "fused, edition 1": (Method.FUSED, old),
        "fused, newest edition": (Method.FUSED, new),
        "chemistry + TV": (Method.CHEMISTRY_TV, old),
        "ML": (Method.ML, old),
    }


def against_cpu(device: Device, size: int, limit: int) -> Iterator[tuple[object, ...]]:
    """Differences of one trial of every method."""
    specimen, series = condition(size, 9, 5)
    for name, (method, settings) in cases(limit).items():
        args = series, method, WEIGHTS[0], settings
        ours, theirs = reconstruct(*args, device=device), reconstruct(*args, device=CPU)
        objective = relative(ours.history.objective, theirs.history.objective)
        volumes = relative(ours.volumes, theirs.volumes)
        scores = (f"{score(v.volumes, specimen):.4f}" for v in (theirs, ours))
        verdict = "same" if objective < CLOSE else "DIFFERENT"
        yield name, f"{objective:.0e}", f"{volumes:.0e}", *scores, verdict


def relative(ours: object, theirs: object) -> float:
    """Largest difference over the largest value."""
    a, b = (np.asarray(each, np.float64) for each in (ours, theirs))
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def against_singles(device: Device, size: int, limit: int) -> Iterator[tuple[object, ...]]:
    """Whether trials solved together are those solved alone, volumes and records."""
    series = condition(size, 9, 5)[1]
    study = parse_study(STUDY.format(size=size, iterations=limit))
    for method in (Method.FUSED, Method.CHEMISTRY_TV):
        settings = cases(limit)["fused, edition 1"][1]
        together = reconstruct_batch(series, method, WEIGHTS, settings, device)
        alone = [reconstruct(series, method, w, settings, device=device) for w in WEIGHTS]
        bits = all(same(a.volumes, b.volumes) for a, b in zip(together, alone, strict=True))
        trials = [study.trial(study.cells()[0], method, i, w) for i, w in enumerate(WEIGHTS)]
        tasks = [(study, trial) for trial in trials]
        found = dict(pair for solve in evaluate_together(tasks, device) for pair in solve)
        records = all(
            timeless(t, found[i]) == timeless(t, evaluate(study, t, device))
            for i, t in enumerate(trials)
        )
        yield str(method), bits, records, "same" if bits and records else "DIFFERENT"


def same(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> bool:
    """To the bit."""
    return ours.tobytes() == theirs.tobytes()


def timeless(trial: Trial, result: TrialResult) -> object:
    """What a record says but for times."""
    return to_record(trial, replace(result, seconds=0.0, started=""))


def iterations(device: Device) -> int:
    """Milliseconds of a fused iteration beside what was predicted."""
    from gpu_trial import CHEMICAL, HAADF
    from gpu_trial import iteration_seconds as measured

    gpu = next((g for g in GPUS.values() if g.name.split("-")[0] in device.name), GPUS["H200"])
    print(f"{device.name}; predicted for {gpu.name}\n")
    rows = []
    for size in map(int, SIZES):
        solve = SolveSize((4, size, size, size), HAADF, CHEMICAL)
        taken = measured(condition(size, HAADF, CHEMICAL)[1], device)  # type: ignore[arg-type]
        predicted = iteration_seconds(solve, Method.FUSED, gpu)
        times = (f"{1e3 * t:.2f}" for t in (floor(solve, gpu), predicted, taken))
        rows.append((f"{size}³", *times, f"{taken / predicted:.2f}"))
    table(("fused iteration", "floor (ms)", "predicted", "measured", "over predicted"), rows)
    return 0


def floor(solve: SolveSize, gpu: Gpu) -> float:
    """Seconds of a fused iteration, at the least."""
    return sum(stage.floor(gpu) for stage in stages(solve, Method.FUSED))


def same_study(out: Path) -> int:
    """Whether a study with batches has the trials of the one without; 1 if not."""
    found = [trials(out / name / "trials.jsonl") for name in ("study", "singly")]
    alike = found[0] == found[1] and bool(found[0])
    print(f"{len(found[0])} trials in batches, {len(found[1])} singly:", alike or "DIFFERENT")
    return int(not alike)


def trials(journal: Path) -> dict[str, tuple[object, ...]]:
    """Score and iterations of every trial of a journal."""
    records = []
    with suppress(FileNotFoundError):
        records = [json.loads(line) for line in journal.read_text().splitlines()]
    return {r["trial_id"]: (r["status"], r["nrmse"], r["iterations"]) for r in records}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
