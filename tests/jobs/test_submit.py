from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_machine import Machine

from tomoatlas.jobs.cli import main


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


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main([*ARGUMENTS, *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


SITE = 'about = "x"\nscheduler = "slurm"\nworkers_per_node = 2\nlaunch = "srun"\n'


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--site", "frotnier"], "did you mean frontier?"),
        (["--site", "nowhere"], "accepted: aurora, frontier, lsf"),
        (["--site", "frontier", "--nodes", "100"], "workers = 800: more workers than the study"),
        (["--site", "workstation", "--nodes", "2"], "--nodes = 2"),
        (["--site", "workstation", "--submit"], "--submit: nothing to submit to"),
        (["--site", "pbs", "--walltime", "1:30"], "--walltime = '1:30': not a walltime; accepted"),
        (["--site", "pbs", "--walltime", "00:00:00"], "not a walltime"),
        (["--site", "pbs", "--walltime", "01:75:00"], "not a walltime"),
        (["--site", "pbs", "--nodes", "0"], "0 is not in the range"),
        (["--site", "tiny.toml"], "tiny.toml: study"),
        (["--site", "own.toml"], "own.toml: lanch = 'srun': unknown key, did you mean launch?"),
        (["--site", "odd.toml"], "launch = '{nods}': unknown placeholder; accepted: {nodes}"),
        (["--site", "torn.toml"], "torn.toml: not TOML"),
        (["--site", "frontier", "--account", ""], "--account: missing"),
        (["--site", "pbs", "--account", ""], "--account = '': not acceptable; accepted: one"),
        (["--site", "pbs", "--account", "A\nrm -rf x"], "--account = 'A\\nrm -rf x': not acc"),
        (["--site", "pbs", "--queue", " "], "--queue = ' ': not acceptable"),
        (["--site", "pbs", "--queue", "a\x1b[2J"], "--queue = 'a\\x1b[2J': not acceptable"),
        (["--site", "pbs", "--out", "a\nreboot"], "--out = 'a\\nreboot': not acceptable"),
        (["--site", "two.toml"], "two.toml: launch = 'srun\\nreboot': not acceptable; acc"),
        (["--site", "bad.toml"], "bad.toml: rank_environment"),
        (["--site", "polaris"], "--nodes = 1: no job for 01:00:00 that the queue prod takes"),
        (["--site", "polaris", "--queue", "debug", "--walltime", "01:00:01"], "1 to 2 nodes for"),
        (["--site", "frontier", "--walltime", "02:10:00"], "1 to 91 nodes for 02:00:00; 92 to 183"),
        (["--site", "row.toml"], "row.toml: limits.0.walltime = '1 h': not acceptable; acc"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    argv: list[str], said: str, here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.toml").write_text(SITE.replace("launch", "lanch"))
    Path("odd.toml").write_text(SITE.replace("srun", "srun -N{nods}"))
    Path("torn.toml").write_text(SITE + "[")
    Path("two.toml").write_text(SITE.replace("srun", "srun\\nreboot"))
    Path("bad.toml").write_text(SITE + 'rank_environment = { "A B" = "1" }\n')
    Path("row.toml").write_text(
        SITE + 'limits = [{ queue = "q", nodes = [1, 2], walltime = "1 h" }]\n'
    )
    assert said in refused(capsys, *argv)
    assert not Path("tiny").exists()


@pytest.mark.parametrize("missing", ["--walltime", "--account"])
def test_what_a_site_needs_must_be_given(
    missing: str, here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ARGUMENTS.index(missing)
    argv = ARGUMENTS[:at] + ARGUMENTS[at + 2 :]
    assert main([*argv, "--site", "frontier"]) == 2
    assert capsys.readouterr().err.startswith(f"{missing}: missing; accepted: ")


def test_another_script_in_the_folder_is_not_replaced(
    here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("tiny").mkdir()
    Path("tiny/job.sh").write_text("mine\n")
    assert "exists already" in refused(capsys, "--site", "slurm", "--submit")
    assert Path("tiny/job.sh").read_text() == "mine\n"


def test_a_scheduler_that_refuses_or_is_not_here_is_quoted(
    here: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here.fake("sbatch", "echo 'Invalid account' >&2; exit 1")
    expected = "sbatch: refused the job: Invalid account"
    assert expected in refused(capsys, "--site", "slurm", "--submit")
    assert not Path("tiny/job.sh").exists(), "so that the mended command is not refused for it"
    monkeypatch.setenv("PATH", "/nowhere")
    assert "sbatch: no such scheduler here" in refused(capsys, "--site", "slurm", "--submit")


def test_a_script_that_was_there_stays_when_its_job_is_refused(
    here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS, "--site", "slurm", "--submit"]) == 0
    text = Path("tiny/job.sh").read_text()
    here.fake("sbatch", "exit 1")
    capsys.readouterr()
    refused(capsys, "--site", "slurm", "--submit")
    assert Path("tiny/job.sh").read_text() == text


def test_a_command_that_is_not_here_is_said(
    here: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = [word for word in ARGUMENTS if word != "-q"]
    assert main([*argv, "--site", "slurm"]) == 0
    out, err = capsys.readouterr()
    assert f"tomoatlas={here.bin}/tomoatlas\n" in out
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


def test_check_warns_where_a_job_does_not_fit(
    here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = Path("tiny.toml").read_text()
    Path("large.toml").write_text(tiny.replace("size = 16", "size = 512").replace("20", "400"))
    job = ["--nodes", "1", "--walltime", "00:40:00"]
    assert main(["check", "large.toml", *job, "--site", "pbs"]) == 0
    assert "on 4 workers (estimated) is more than one job of 40 min 0 s" in capsys.readouterr().err
    assert main(["check", "large.toml", "--nodes", "1", "--walltime", "00:00:05"]) == 0
    assert "it ends only where more cores or a GPU make it faster" in capsys.readouterr().err
    assert main(["check", "tiny.toml", *job, "--nodes", "50"]) == 0
    assert "50 workers, but never more than" in capsys.readouterr().err
    assert main(["check", "tiny.toml", *job]) == 0
    assert capsys.readouterr().err == ""
