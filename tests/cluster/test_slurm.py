"""Journeys of a study under a real Slurm, see ``beside.sh``: asserted is what Slurm says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from journeys import CLI, SECONDS, Login, StudyFolder, ended_in_time, out_of, until

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not shutil.which("sbatch"), reason="no Slurm: cluster/beside.sh slurm"),
]


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
    """The jobs of a study."""

    study: StudyFolder
    first: Job

    def jobs(self) -> list[Job]:
        """The jobs so far, in order."""
        said = out_of("scontrol", "show", "job", "-o")
        command = re.escape(str(self.study.out))
        found = re.findall(rf"JobId=(\d+) .*?Command={command}/job.sh ", said)
        return [Job(number) for number in sorted(map(int, found))]

    def records(self) -> list[dict[str, object]]:
        return self.study.records()

    def successor(self, of: Job) -> Job:
        """The job that another has submitted."""
        until(lambda: self.jobs()[-1].number > of.number)
        jobs = self.jobs()
        return jobs[jobs.index(of) + 1]

    def log(self, job: Job) -> str:
        return Path(job["StdOut"]).read_text()

    def check_complete(self, trials: int) -> None:
        self.study.check_complete(trials)


@dataclass(frozen=True)
class Cluster:
    """The login node."""

    login: Login

    def submit(
        self, name: str, trials: int, nap: float = 0.5, walltime: str = "00:20:00", **site: object
    ) -> Chain:
        study, job = self.login.submit(name, trials, nap, walltime, site)
        return Chain(study, Job(job))


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    # Slurm's own variables, of a job in which these tests may run, are no login node's.
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]
    folder = tmp_path_factory.mktemp("login")
    return Cluster(Login.at(folder, "slurm"))


@pytest.fixture(scope="module", autouse=True)
def drained(login: Cluster) -> Chain:
    """More trials than fit into three minutes: a chain of jobs, each asked to end in time."""
    return login.submit("drained", 100, nap=3.0, walltime="00:03:00")


@pytest.fixture(scope="module", autouse=True)
def overrun(login: Cluster, drained: Chain) -> Chain:
    """Trials that outlast their job."""
    return login.submit("overrun", 2, nap=600.0, walltime="00:01:00")


# Not by srun --mpi=pmi2: with MPICH 5 it mostly works, but Slurm 22.05 now and then misreads what
# ranks tell each other at their start ("value not properly terminated"), and all wait for ever.
def test_the_tasks_on_two_nodes_are_ranks_of_one_run(login: Cluster) -> None:
    chain = login.submit("ranks", 24, workers_per_node=2)
    successor = chain.successor(chain.first)
    assert chain.first.ended() == "COMPLETED"
    assert chain.first["NodeList"] == "n[1-2]"
    chain.check_complete(24)
    assert {record["worker"] for record in chain.records()} == {"0", "1", "2", "3"}
    assert (successor.ended(), successor.ever_ran) == ("CANCELLED", False)


def test_tasks_that_are_each_a_world_of_their_own_are_refused(login: Cluster) -> None:
    chain = login.submit("worlds", 4, pmi="none")
    successor = chain.successor(chain.first)
    assert (chain.first.ended(), chain.first.exit_code) == ("FAILED", 2)
    refusals = [line for line in chain.log(chain.first).splitlines() if "SLURM_STEP" in line]
    assert len(refusals) == 1
    assert "--mpi" in refusals[0]
    assert (successor.ended(), successor.ever_ran) == ("CANCELLED", False)
    assert not chain.records()


def test_a_killed_rank_ends_the_step_and_the_job_launches_again(login: Cluster) -> None:
    chain = login.submit("killed", 16, nap=1.0)
    until(lambda: bool(chain.records()))
    os.kill(chain.study.ranks()[-1], signal.SIGKILL)
    assert chain.first.ended() == "COMPLETED"
    assert "launching again" in chain.log(chain.first)
    chain.check_complete(16)
    assert len(chain.jobs()) == 2


def test_a_job_that_is_cancelled_takes_its_successor_with_it(login: Cluster) -> None:
    chain = login.submit("cancelled", 40, nap=2.0)
    until(lambda: len(chain.records()) >= 1)
    successor = chain.successor(chain.first)
    out_of("scancel", chain.first.number)
    assert chain.first.ended() == "CANCELLED"
    assert (successor.ended(), successor.ever_ran) == ("CANCELLED", False)
    assert chain.jobs() == [chain.first, successor]
    assert out_of("squeue", "-h", "-n", "ta_cancelled") == ""


def test_a_preempted_job_goes_back_into_the_queue_and_to_its_end(login: Cluster) -> None:
    chain = login.submit("preempted", 8, nap=4.0, queue="low")
    until(lambda: len(chain.records()) >= 1)
    before = len(chain.records())
    urgent = ["-p", "high", "-N2", "--exclusive", "-t1", "-o", "/dev/null", "--wrap", "sleep 1"]
    out_of("sbatch", *urgent)
    until(lambda: chain.first["Restarts"] == "1" and chain.first.state == "PENDING")
    # Slurm puts a requeued job off for two minutes.
    out_of("scontrol", "update", f"JobId={chain.first.number}", "StartTime=now")
    assert chain.first.ended() == "COMPLETED"
    assert len(chain.records()) > before
    chain.check_complete(8)
    assert [job.ended() for job in chain.jobs()] == ["COMPLETED", "CANCELLED", "CANCELLED"]
    assert not any(job.ever_ran for job in chain.jobs()[1:])


WALK = Path(__file__).parents[2] / "docs" / "cluster.md"


def test_the_walk_of_the_docs_goes_as_written(login: Cluster) -> None:
    folder = login.login.folder / "walk"
    folder.mkdir()
    environment = {**os.environ, "PATH": f"{CLI.parent}:{os.environ['PATH']}"}
    answers = {
        command: subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, timeout=SECONDS, check=True,
            stdout=subprocess.PIPE, text=True,
        ).stdout
        for command in re.findall(r"^    \$ (.+)$", WALK.read_text(), re.M)
    }  # fmt: skip
    (job,) = (Job(int(said)) for command, said in answers.items() if command.endswith("--submit"))
    assert job.ended() == "COMPLETED"
    assert "complete" in answers["tomoatlas status quickstart"]


def test_a_job_drains_at_its_signal_and_the_chain_goes_on_to_the_end(drained: Chain) -> None:
    until(lambda: drained.jobs()[-1].ended() == "CANCELLED")
    *ran, last = drained.jobs()
    assert len(ran) >= 2
    assert not last.ever_ran
    drained.check_complete(100)
    # On a machine under load a job may not end in time; those that do show as done, not as failed.
    in_time = [job for job in ran if ended_in_time(drained.log(job))]
    assert in_time
    assert {job.state for job in (*in_time, ran[-1])} == {"COMPLETED"}


def test_a_job_that_cannot_drain_is_ended_and_its_successor_starts(overrun: Chain) -> None:
    successor = overrun.successor(overrun.first)
    state = overrun.first.ended()
    # It gives its trials up by its own clock where Slurm, which looks twice a minute, is late.
    in_time = state == "COMPLETED" and ended_in_time(overrun.log(overrun.first))
    assert state == "TIMEOUT" or in_time
    until(lambda: successor.ever_ran)
    out_of("scancel", "-n", "ta_overrun")
