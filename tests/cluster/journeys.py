"""What journeys of a study under real schedulers share.

A trial takes as long as its specimen sleeps, so the jobs of several journeys can share a processor.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

SLEEPER = """
import time
from typing import Annotated

from pydantic import Field

from tomoatlas.phantoms.kinds import Parameters, SpecimenKind, make_specimen


class Nap(Parameters):
    nap: Annotated[float, Field(ge=0)] = 0.0


def build(size, seed, nap):
    time.sleep(nap)
    return make_specimen("nanocubes", size, seed)


SLEEPER = SpecimenKind("sleeper", ("Co", "Cu", "O", "Au"), build, "sleeps", Nap)
"""

STUDY = """
[study]
name = "{name}"
[specimen]
kind = "sleeper.py"
size = 8
nap = {nap}
[acquisition]
haadf_tilts = 5
chemical_tilts = 3
chemical_snr = 2.0
[solver]
max_iterations = 2
[search]
trials = 1
initial = 1
methods = ["fused"]
[axes]
"specimen.seed" = {seeds}
"""

NOT_HERE = {"slurm": r'^    "--exclusive",\n', "gridengine": r'^    "-l exclusive=true",\n'}
"""Lines of the shipped sites that the clusters of these tests do not take: here several journeys
share nodes, and no administrator has named a resource for those that do not."""

CLI = Path(sys.executable).with_name("tomoatlas")
SECONDS = 900.0
"""Longest wait for anything: far beyond what a machine takes on which much else runs."""


def out_of(*command: object) -> str:
    """What a command prints."""
    return subprocess.run(
        [str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def ended_in_time(log: str) -> bool:
    """Whether a job that a log is of has ended by itself with trials left."""
    return "resume with: tomoatlas run" in log


@dataclass(frozen=True)
class StudyFolder:
    """The folder of a study whose jobs a scheduler runs, by its path."""

    out: Path

    def records(self) -> list[dict[str, object]]:
        """The lines of its journal."""
        journal = self.out / "trials.jsonl"
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [json.loads(line) for line in lines]

    def check_complete(self, trials: int) -> None:
        """Every trial is there, once, and the report."""
        finished = [r["trial_id"] for r in self.records() if r["status"] == "ok"]
        assert len(finished) == len(set(finished)) == trials
        assert (self.out / "report" / "index.html").exists()

    def ranks(self) -> list[int]:
        """Processes of the ranks, without their children."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = folder.joinpath("cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            ours = str(CLI) in words and "run" in words and str(self.out) in words
            if ours and "python" in Path(words[0]).name:
                found.append(int(folder.name))
        return sorted(found)


@dataclass(frozen=True)
class Login:
    """A folder on the login node of a cluster.

    Parameters
    ----------
    folder : in which studies and their folders are put.
    site : the shipped site that fits its scheduler.
    """

    folder: Path
    site: str

    @classmethod
    def at(cls, folder: Path, site: str) -> Login:
        """Go to the folder, and have everything compiled there: once, not by all ranks of a job."""
        os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
        os.chdir(folder)
        (folder / "sleeper.py").write_text(SLEEPER)
        Path("warm.toml").write_text(STUDY.format(name="warm", nap=0.0, seeds=[0]))
        out_of(CLI, "run", "warm.toml", "--out", "warm", "--workers", 1, "--device", "cpu", "-q")
        return cls(folder, site)

    def submit(
        self, name: str, trials: int, nap: float, walltime: str, site: Mapping[str, object]
    ) -> tuple[StudyFolder, int]:
        """Submit a study by the command line as a person would; return the job's number."""
        study = self.folder / f"{name}.toml"
        study.write_text(STUDY.format(name=name, nap=nap, seeds=list(range(trials))))
        ours = self.folder / f"site-{name}.toml"
        out_of(CLI, "sites", self.site, "--copy", ours, "-q")
        text = re.sub(NOT_HERE[self.site], "", ours.read_text(), flags=re.M)
        values = {"gpus_per_node": 0, "cores_per_worker": 1, "workers_per_node": 1} | dict(site)
        for key, value in values.items():
            text = re.sub(rf"^{key} = \S+", f"{key} = {json.dumps(value)}", text, flags=re.M)
        lines = [f"{key} = {json.dumps(v)}" for key, v in site.items() if f"\n{key} = " not in text]
        ours.write_text("\n".join([*lines, text]))
        out = self.folder / name
        job = out_of(
            CLI, "script", study, "--site", ours, "--nodes", 2, "--walltime", walltime,
            "--out", out, "--submit", "-q",
        )  # fmt: skip
        return StudyFolder(out), int(job)
