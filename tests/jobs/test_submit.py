from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_machine import Machine

from tomoatlas.jobs.cli import main
from tomoatlas.recon_core.errors import BadInput

Refusal = Callable[..., BadInput]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def here(study_file: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A login node with the tiny study, whose scheduler answers 78."""
    monkeypatch.chdir(machine.folder)
    monkeypatch.setenv("PATH", machine.environment()["PATH"])
    monkeypatch.setenv("EXTRA_ANSWER", "Job <78> is submitted\n78")
    return machine


ARGUMENTS = [
    "script",
    "tiny.toml",
    "--nodes",
    "1",
    "--walltime",
    "01:00:00",
    "--account",
    "A",
    "-q",
]


@pytest.mark.parametrize(
    ("site", "call"),
    [
        ("slurm", "sbatch --parsable tiny/job.sh"),
        ("pbs", "qsub tiny/job.sh"),
        ("lsf", "bsub "),
        ("thetagpu", "qsub tiny/job.sh"),
    ],
)
def test_submit_writes_submits_and_says_the_id(
    site: str, call: str, here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    if site in ("slurm", "pbs", "thetagpu"):
        os.environ["EXTRA_ANSWER"] = "78"
    argv = [*ARGUMENTS, "--site", site]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert main([*argv, "--submit"]) == 0
    assert capsys.readouterr().out == "78\n"
    assert Path("calls").read_text().splitlines() == [call]
    assert Path("tiny/job.sh").read_text() == printed
    assert os.access("tiny/job.sh", os.X_OK)
    if site == "lsf":
        assert Path("stdin").read_text() == printed


SUBMIT = ["--site", "slurm", "--submit"]
SITE = 'about = "x"\nscheduler = "slurm"\nworkers_per_node = 2\nlaunch = "srun"\n'


@pytest.mark.parametrize(
    ("argv", "key", "value"),
    [
        (["--site", "frotnier"], "--site", "frotnier"),
        (["--site", "frontier", "--nodes", "100"], "workers", 800),
        (["--site", "workstation", "--nodes", "2"], "--nodes", 2),
        (["--site", "workstation", "--submit"], "--submit", None),
        (["--site", "pbs", "--walltime", "1:30"], "--walltime", "1:30"),
        (["--site", "pbs", "--walltime", "00:00:00"], "--walltime", "00:00:00"),
        (["--site", "pbs", "--walltime", "01:75:00"], "--walltime", "01:75:00"),
        (["--site", "frontier", "--account", ""], "--account", None),
        (["--site", "pbs", "--account", ""], "--account", ""),
        (["--site", "pbs", "--account", "A\nrm -rf x"], "--account", "A\nrm -rf x"),
        (["--site", "pbs", "--queue", " "], "--queue", " "),
        (["--site", "pbs", "--queue", "a\x1b[2J"], "--queue", "a\x1b[2J"),
        (["--site", "pbs", "--out", "a\nreboot"], "--out", "a\nreboot"),
        (["--site", "tiny.toml"], "study", {"name": "tiny"}),
        (["--site", "own.toml"], "lanch", "srun"),
        (["--site", "odd.toml"], "launch", "{nods}"),
        (["--site", "torn.toml"], None, None),
        (["--site", "two.toml"], "launch", "srun\nreboot"),
        (["--site", "bad.toml"], "rank_environment.A B", "1"),
        (["--site", "row.toml"], "limits.0.walltime", "an hour"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    argv: list[str], key: str | None, value: object, here: Machine, refusal: Refusal
) -> None:
    Path("own.toml").write_text(SITE.replace("launch", "lanch"))
    Path("odd.toml").write_text(SITE.replace("srun", "srun -N{nods}"))
    Path("torn.toml").write_text(SITE + "[")
    Path("two.toml").write_text(SITE.replace("srun", "srun\\nreboot"))
    Path("bad.toml").write_text(SITE + 'rank_environment = { "A B" = "1" }\n')
    Path("row.toml").write_text(
        SITE + 'limits = [{ queue = "q", nodes = [1, 2], walltime = "an hour" }]\n'
    )
    error = refusal(*ARGUMENTS, *argv)
    assert (error.key, error.value) == (key, value)
    assert error.accepted
    assert error.source is None or str(error.source) == argv[1]
    assert not Path("tiny").exists()


@pytest.mark.parametrize(
    ("argv", "nodes"),
    [
        (["--site", "polaris"], "10 to 24 nodes for 03:00:00"),
        (["--site", "polaris", "--queue", "debug", "--walltime", "01:00:01"], "1 to 2 nodes"),
        (["--site", "frontier", "--walltime", "02:10:00"], "92 to 183 nodes for 06:00:00"),
    ],
)
def test_what_no_queue_takes_comes_with_what_one_would(
    argv: list[str], nodes: str, here: Machine, refusal: Refusal
) -> None:
    error = refusal(*ARGUMENTS, *argv)
    assert (error.key, error.value) == ("--nodes", 1)
    assert nodes in str(error.accepted)


@pytest.mark.parametrize("missing", ["--walltime", "--account"])
def test_what_a_site_needs_must_be_given(missing: str, here: Machine, refusal: Refusal) -> None:
    at = ARGUMENTS.index(missing)
    argv = ARGUMENTS[:at] + ARGUMENTS[at + 2 :]
    error = refusal(*argv, "--site", "frontier")
    assert (error.key, error.value) == (missing, None)
    assert error.accepted


def test_another_script_in_the_folder_is_not_replaced(here: Machine, refusal: Refusal) -> None:
    Path("tiny").mkdir()
    Path("tiny/job.sh").write_text("mine\n")
    assert refusal(*ARGUMENTS, *SUBMIT).source == Path("tiny/job.sh")
    assert Path("tiny/job.sh").read_text() == "mine\n"


def test_a_scheduler_that_refuses_or_is_not_here_is_quoted(
    here: Machine, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.fake("sbatch", "echo 'Invalid account' >&2; exit 1")
    error = refusal(*ARGUMENTS, *SUBMIT)
    assert error.source == "sbatch"
    assert "Invalid account" in error.problem
    assert not Path("tiny/job.sh").exists(), "so that the mended command is not refused for it"
    monkeypatch.setenv("PATH", "/nowhere")
    assert refusal(*ARGUMENTS, *SUBMIT).source == "sbatch"


def test_a_script_that_was_there_stays_when_its_job_is_refused(
    here: Machine, refusal: Refusal
) -> None:
    assert main([*ARGUMENTS, *SUBMIT]) == 0
    text = Path("tiny/job.sh").read_text()
    here.fake("sbatch", "exit 1")
    refusal(*ARGUMENTS, *SUBMIT)
    assert Path("tiny/job.sh").read_text() == text


def test_a_command_that_is_not_here_is_said(
    here: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = [word for word in ARGUMENTS if word != "-q"]
    assert main([*argv, "--site", "slurm"]) == 0
    out, err = capsys.readouterr()
    assert f"tomoatlas={shlex.quote(str(here.bin / 'tomoatlas'))}\n" in out
    assert "PATH" not in err
    (here.bin / "tomoatlas").unlink()
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("sys.executable", str(here.bin / "python"))
    assert main([*argv, "--site", "slurm"]) == 0
    out, err = capsys.readouterr()
    assert "\ntomoatlas=tomoatlas\n" in out
    assert "no tomoatlas here: the job will look for it on its PATH" in err


@pytest.mark.parametrize("argv", [[], ["--submit"]])
def test_the_file_that_lsf_needs_is_named(
    argv: list[str], here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*(word for word in ARGUMENTS if word != "-q"), "--site", "lsf", *argv]) == 0
    assert ("save this as tiny/job.sh" in capsys.readouterr().err) == (not argv)


@pytest.mark.parametrize("queue", ["debug", "debug-scaling", "preemptable", "by-invitation"])
def test_queues_that_take_the_job_or_are_not_known_are_accepted(queue: str, here: Machine) -> None:
    assert main([*ARGUMENTS, "--site", "polaris", "--queue", queue]) == 0


def test_own_sites_are_found_by_path(here: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.toml").write_text(
        SITE.replace('"srun"', '"srun -n{ranks} ${EXTRA}"') + 'directives = ["-q {queue}"]\n'
    )
    assert main([*ARGUMENTS, "--site", "own.toml"]) == 0
    plain = capsys.readouterr().out
    assert "srun -n2 ${EXTRA} " in plain
    assert "#SBATCH" not in plain
    assert main([*ARGUMENTS, "--site", "own.toml", "--queue", "fast"]) == 0
    assert "#SBATCH -q fast\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pmi", "line"),
    [('pmi = "pmix"\n', "srun --mpi=pmix --kill-on-bad-exit=1 -N1 -n4 "), ("", "mpiexec -n 4 ")],
)
def test_the_generic_slurm_site_takes_the_sites_own_mpi(
    pmi: str, line: str, here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "slurm", "--copy", "own.toml", "-q"]) == 0
    Path("own.toml").write_text(pmi + Path("own.toml").read_text())
    assert main([*ARGUMENTS, "--site", "own.toml"]) == 0
    assert line in capsys.readouterr().out


def test_check_warns_where_a_job_does_not_fit(
    here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = Path("tiny.toml").read_text()
    Path("large.toml").write_text(tiny.replace("size = 16", "size = 512").replace("20", "400"))
    job = ["--nodes", "1", "--walltime", "00:40:00"]
    assert main(["sites", "pbs", "--copy", "cpus.toml", "-q"]) == 0
    site = Path("cpus.toml").read_text()
    Path("cpus.toml").write_text(re.sub("(?m)^gpus_per_node = .*", "gpus_per_node = 0", site))
    assert main(["check", "large.toml", *job, "--site", "cpus.toml"]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert "on 4 workers (estimated) is more than one job of 40 min 0 s" in warning
    assert main(["check", "large.toml", "--nodes", "1", "--walltime", "00:00:05"]) == 0
    assert "it ends only where more cores or a GPU make it faster" in capsys.readouterr().err
    assert main(["check", "tiny.toml", *job, "--nodes", "50"]) == 0
    assert "50 workers, but never more than" in capsys.readouterr().err
    assert main(["check", "tiny.toml", *job]) == 0
    assert capsys.readouterr().err == ""
