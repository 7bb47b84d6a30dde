"""Journeys of a study under a real Slurm, see ``slurm.sh``; what is asserted is what Slurm says.

A trial takes as long as its specimen sleeps, so the jobs of several journeys can share a processor.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not shutil.which("sbatch"), reason="no Slurm: bash tests/cluster/slurm.sh"),
]

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

CLI = Path(sys.executable).with_name("tomoatlas")
SECONDS = 200.0
"""Longest wait for anything."""


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


@dataclass(frozen=True)
class Job:
    """A job, and what ``scontrol`` says of it."""

    number: int

    def __getitem__(self, key: str) -> str:
        said = out_of("scontrol", "show", "job", "-o", self.number)
        found = re.search(rf"\b{key}=(\S*)", said)
        assert found, said
        return found[1]

    @property
    def state(self) -> str:
        return self["JobState"]

    @property
    def exit_code(self) -> int:
        return int(self["ExitCode"].partition(":")[0])

    @property
    def ever_ran(self) -> bool:
        return self["NodeList"] not in ("", "(null)")

    def ended(self) -> str:
        """Its state, when it has ended."""
        until(lambda: self.state not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"))
        return self.state


@dataclass(frozen=True)
class Chain:
    """The jobs of a study, submitted in a folder of its own."""

    folder: Path
    name: str
    first: Job

    @property
    def out(self) -> Path:
        return self.folder / self.name

    def jobs(self) -> list[Job]:
        """The jobs so far, in order."""
        said = out_of("scontrol", "show", "job", "-o")
        found = re.findall(rf"JobId=(\d+) .*?Command={re.escape(str(self.out))}/job.sh ", said)
        return [Job(number) for number in sorted(map(int, found))]

    def records(self) -> list[dict[str, object]]:
        journal = self.out / "trials.jsonl"
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [json.loads(line) for line in lines]

    def successor(self, of: Job) -> Job:
        """The job that another has submitted."""
        until(lambda: self.jobs()[-1].number > of.number)
        jobs = self.jobs()
        return jobs[jobs.index(of) + 1]

    def log(self, job: Job) -> str:
        return Path(job["StdOut"]).read_text()

    def check_complete(self, trials: int) -> None:
        finished = [r["trial_id"] for r in self.records() if r["status"] == "ok"]
        assert len(finished) == len(set(finished)) == trials
        assert (self.out / "report" / "index.html").exists()


@dataclass(frozen=True)
class Login:
    """A folder on the login node, with a site file for this cluster."""

    folder: Path

    def submit(
        self,
        name: str,
        trials: int,
        nap: float = 0.5,
        walltime: str = "00:20:00",
        pmi: str | None = None,
        **site: object,
    ) -> Chain:
        """Submit a study by the command line as a person would."""
        (self.folder / "sleeper.py").write_text(SLEEPER)
        study = self.folder / f"{name}.toml"
        study.write_text(STUDY.format(name=name, nap=nap, seeds=list(range(trials))))
        ours = self.folder / f"site-{name}.toml"
        out_of(CLI, "sites", "slurm", "--copy", ours, "-q")
        text = ours.read_text().replace('    "--exclusive",\n', "")
        values = {"gpus_per_node": 0, "cores_per_worker": 1, "workers_per_node": 1} | site
        for key, value in values.items():
            text = re.sub(rf"^{key} = \S+", f"{key} = {json.dumps(value)}", text, flags=re.M)
        lines = [f'pmi = "{pmi}"'] if pmi else []
        lines += [f"{key} = {json.dumps(v)}" for key, v in site.items() if f"{key} = " not in text]
        ours.write_text("\n".join([*lines, text]))
        job = out_of(
            CLI, "script", study, "--site", ours, "--nodes", 2, "--walltime", walltime,
            "--out", self.folder / name, "--submit", "-q",
        )  # fmt: skip
        return Chain(self.folder, name, Job(int(job)))


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Login:
    # Slurm's own variables, of a job in which these tests may run, are no login node's.
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    folder = tmp_path_factory.mktemp("login")
    os.chdir(folder)
    # Compiled once, and not by all ranks of the first jobs.
    (folder / "sleeper.py").write_text(SLEEPER)
    Path("warm.toml").write_text(STUDY.format(name="warm", nap=0.0, seeds=[0]))
    out_of(CLI, "run", "warm.toml", "--out", "warm", "--workers", 1, "--device", "cpu", "-q")
    return Login(folder)


@pytest.fixture(scope="module", autouse=True)
def drained(login: Login) -> Chain:
    """More trials than fit into two minutes: jobs in a chain, each asked to end before its time."""
    return login.submit("drained", 80, nap=3.0, walltime="00:02:00")


@pytest.fixture(scope="module", autouse=True)
def overrun(login: Login, drained: Chain) -> Chain:
    """Trials that outlast their job."""
    return login.submit("overrun", 2, nap=600.0, walltime="00:01:00")


# Not by srun --mpi=pmi2: with MPICH 5 it mostly works, but Slurm 22.05 now and then misreads what
# ranks tell each other at their start ("value not properly terminated"), and all wait for ever.
def test_the_tasks_on_two_nodes_are_ranks_of_one_run(login: Login) -> None:
    chain = login.submit("ranks", 24, workers_per_node=2)
    successor = chain.successor(chain.first)
    assert chain.first.ended() == "COMPLETED"
    assert chain.first["NodeList"] == "n[1-2]"
    chain.check_complete(24)
    assert {record["worker"] for record in chain.records()} == {"0", "1", "2", "3"}
    assert (successor.ended(), successor.ever_ran) == ("CANCELLED", False)


def test_tasks_that_are_each_a_world_of_their_own_are_refused(login: Login) -> None:
    chain = login.submit("worlds", 4, pmi="none")
    successor = chain.successor(chain.first)
    assert (chain.first.ended(), chain.first.exit_code) == ("FAILED", 2)
    refusals = [line for line in chain.log(chain.first).splitlines() if "SLURM_STEP" in line]
    assert len(refusals) == 1
    assert "--mpi" in refusals[0]
    assert (successor.ended(), successor.ever_ran) == ("CANCELLED", False)
    assert not chain.records()


def ranks_of(chain: Chain) -> list[int]:
    """Processes of the ranks, without their children."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = folder.joinpath("cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        ours = str(CLI) in words and "run" in words and str(chain.out) in words
        if ours and "python" in Path(words[0]).name:
            found.append(int(folder.name))
    return sorted(found)


def test_a_killed_rank_ends_the_step_and_the_job_launches_again(login: Login) -> None:
    chain = login.submit("killed", 12, nap=1.0)
    until(lambda: len(chain.records()) >= 2)
    os.kill(ranks_of(chain)[-1], signal.SIGKILL)
    assert chain.first.ended() == "COMPLETED"
    assert "launching again" in chain.log(chain.first)
    chain.check_complete(12)
    assert len(chain.jobs()) == 2


def test_a_job_that_is_cancelled_takes_its_successor_with_it(login: Login) -> None:
    chain = login.submit("cancelled", 40, nap=2.0)
    until(lambda: len(chain.records()) >= 1)
    successor = chain.successor(chain.first)
    out_of("scancel", chain.first.number)
    assert chain.first.ended() == "CANCELLED"
    assert (successor.ended(), successor.ever_ran) == ("CANCELLED", False)
    assert chain.jobs() == [chain.first, successor]
    assert out_of("squeue", "-h", "-n", "ta_cancelled") == ""


def test_a_preempted_job_goes_back_into_the_queue_and_to_its_end(login: Login) -> None:
    chain = login.submit("preempted", 16, nap=1.0, queue="low")
    until(lambda: len(chain.records()) >= 1)
    before = len(chain.records())
    urgent = ["-p", "high", "-N2", "--exclusive", "-t1", "-o", "/dev/null", "--wrap", "sleep 1"]
    out_of("sbatch", *urgent)
    until(lambda: chain.first["Restarts"] == "1" and chain.first.state == "PENDING")
    # Slurm puts a requeued job off for two minutes.
    out_of("scontrol", "update", f"JobId={chain.first.number}", "StartTime=now")
    assert chain.first.ended() == "COMPLETED"
    assert len(chain.records()) > before
    chain.check_complete(16)
    assert [job.ended() for job in chain.jobs()] == ["COMPLETED", "CANCELLED", "CANCELLED"]
    assert not any(job.ever_ran for job in chain.jobs()[1:])


def test_a_job_drains_at_its_signal_and_the_chain_goes_on_to_the_end(drained: Chain) -> None:
    until(lambda: drained.jobs()[-1].ended() == "CANCELLED")
    *ran, last = drained.jobs()
    assert len(ran) >= 2
    assert {job.state for job in ran} == {"COMPLETED"}, "none shows as failed"
    assert not last.ever_ran
    drained.check_complete(80)
    assert any("resume with: tomoatlas run" in drained.log(job) for job in ran[:-1])


def test_a_job_that_cannot_drain_is_ended_and_its_successor_starts(overrun: Chain) -> None:
    successor = overrun.successor(overrun.first)
    assert overrun.first.ended() == "TIMEOUT"
    until(lambda: successor.ever_ran)
    out_of("scancel", "-n", "ta_overrun")
