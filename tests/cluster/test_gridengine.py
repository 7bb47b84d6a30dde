"""Journeys of a study under a real Grid Engine, see ``beside.sh``: that a scheduler is one table.

What is asserted is what its own accounting says.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from journeys import CLI, Login, StudyFolder, ended_in_time, out_of, until

from tomoatlas.sweep.study.tables import LimitsTable

pytestmark = [
    pytest.mark.gridengine,
    pytest.mark.skipif(
        not shutil.which("qconf"), reason="no Grid Engine: tests/cluster/beside.sh gridengine"
    ),
]


def waiting(name: str) -> list[int]:
    """Jobs of a name that run, or wait to."""
    lines = out_of("qstat", "-u", "*").splitlines()[2:]
    return sorted(int(line.split()[0]) for line in lines if line.split()[2] == name[:10])


def accounted(job: int) -> list[dict[str, str]]:
    """What the accounting has of a job that has run: a record of each of its parts."""
    asked = ["qacct", "-j", str(job)]
    done = subprocess.run(asked, check=False, capture_output=True, text=True)
    records = done.stdout.split("=" * 62)[1:]
    return [dict(re.findall(r"^(\w+) +(.*?) *$", record, re.M)) for record in records]


@dataclass(frozen=True)
class Chain:
    """The jobs of a study."""

    study: StudyFolder
    first: int

    @property
    def job_name(self) -> str:
        return f"ta_{self.study.out.name}"

    def successor(self, of: int) -> int:
        """The job that another has submitted, and that waits for it."""
        until(lambda: waiting(self.job_name)[-1:] > [of])
        job = waiting(self.job_name)[-1]
        assert re.search(rf"jid_predecessor_list.*: +{of}$", out_of("qstat", "-j", job), re.M)
        return job

    def ended(self, job: int) -> dict[str, str]:
        """The record of a job's script, once it has ended."""
        until(lambda: job not in waiting(self.job_name) and bool(accounted(job)))
        return accounted(job)[-1]

    def is_over(self) -> bool:
        return not waiting(self.job_name)

    def end(self) -> None:
        """Delete what is left of it, while its jobs may end by themselves and submit others."""

        def over() -> bool:
            for job in waiting(self.job_name):
                subprocess.run(["qdel", str(job)], check=False, stdout=subprocess.DEVNULL)
            return self.is_over()

        until(over)

    def logs(self) -> list[int]:
        """Jobs that have begun."""
        return sorted(int(log.suffix[2:]) for log in Path.cwd().glob(f"{self.job_name}.o*"))

    def log(self, job: int) -> str:
        return (self.study.out.parent / f"{self.job_name}.o{job}").read_text()


@dataclass(frozen=True)
class Cluster:
    """The login node."""

    login: Login

    def submit(
        self, name: str, trials: int, nap: float, walltime: str = "00:20:00", **site: object
    ) -> Chain:
        return Chain(*self.login.submit(name, trials, nap, walltime, site))


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(Login.at(tmp_path_factory.mktemp("login"), "gridengine"))


@pytest.fixture(scope="module", autouse=True)
def drained(login: Cluster) -> Chain:
    """More trials than fit into three minutes: a chain of jobs, each ends before its time."""
    return login.submit("drained", 90, nap=4.0, walltime="00:03:00")


@pytest.fixture(scope="module", autouse=True)
def overrun(login: Cluster, drained: Chain) -> Chain:
    """Trials that outlast their job."""
    return login.submit("overrun", 2, nap=600.0, walltime="00:01:00")


def test_the_tasks_on_two_nodes_are_ranks_of_one_run(login: Cluster) -> None:
    chain = login.submit("ranks", 24, nap=0.5, workers_per_node=2)
    successor = chain.successor(chain.first)
    record = chain.ended(chain.first)
    assert (record["failed"], record["exit_status"], record["slots"]) == ("0", "0", "4")
    assert {part["hostname"] for part in accounted(chain.first)} == {"n1", "n2"}
    chain.study.check_complete(24)
    assert {record["worker"] for record in chain.study.records()} == {"0", "1", "2", "3"}
    until(chain.is_over)
    assert not accounted(successor), "it never ran"
    assert "24 of 24" in out_of(CLI, "status", chain.study.out)


def test_a_killed_rank_ends_the_step_and_the_job_launches_again(login: Cluster) -> None:
    chain = login.submit("killed", 16, nap=1.0)
    until(lambda: bool(chain.study.records()))
    os.kill(chain.study.ranks()[-1], signal.SIGKILL)
    record = chain.ended(chain.first)
    assert (record["failed"], record["exit_status"]) == ("0", "0")
    assert "launching again" in chain.log(chain.first)
    chain.study.check_complete(16)
    until(chain.is_over)


def test_a_job_that_is_deleted_takes_its_successor_with_it(login: Cluster) -> None:
    chain = login.submit("deleted", 40, nap=2.0)
    until(lambda: len(chain.study.records()) >= 1)
    successor = chain.successor(chain.first)
    out_of("qdel", chain.first)
    until(chain.is_over)
    assert chain.ended(chain.first)
    assert not accounted(successor)
    assert len(chain.study.records()) < 40
    assert not (chain.study.out / "job.next").exists()


def test_a_job_drains_before_its_time_and_the_chain_goes_on_to_the_end(drained: Chain) -> None:
    until(drained.is_over)
    ran = drained.logs()
    assert len(ran) >= 2
    drained.study.check_complete(90)
    # On a machine under load a job may not end in time; those that do show as done, not as failed.
    in_time = [job for job in ran if ended_in_time(drained.log(job))]
    assert in_time
    assert {drained.ended(job)["exit_status"] for job in (*in_time, ran[-1])} == {"0"}


def test_a_job_that_cannot_drain_is_ended_and_its_successor_starts(overrun: Chain) -> None:
    # It gives its trials up by its own clock, and then reports: on a machine under load the notice
    # at h_rt comes before the report is there, and then it does not show as done.
    ended_by_clock = overrun.ended(overrun.first)["exit_status"] == "0"
    assert not ended_by_clock or ended_in_time(overrun.log(overrun.first))
    until(lambda: len(overrun.logs()) >= 2)
    overrun.end()
    assert overrun.ended(overrun.logs()[1])
    # A trial that no job has time for fails in the end, and the chain with it, but not at once.
    last = [record["attempt"] for record in overrun.study.records() if record["final"]]
    assert set(last) <= {LimitsTable().retries + 1}
