from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.schedulers import CARRIED, SCHEDULERS
from jobs.scripts import Request, script
from jobs.sites import find_site, shipped_sites

GOLDEN = Path(__file__).parent / "golden"
REQUEST = Request("fig4.toml", "fig4", Path("fig4 out"), 2, 7200, "ABC123")
"""A folder with a space in its name, which every line must survive."""

ONE_NODE = Request("fig4.toml", "fig4", Path("fig4 out"), 1)
BY_SCHEDULER = {"slurm": "frontier", "pbs": "polaris", "lsf": "summit", "cobalt": "thetagpu"}


def text_of(site: str) -> str:
    return script(find_site(site), ONE_NODE if site == "workstation" else REQUEST)


@pytest.mark.parametrize("site", shipped_sites())
def test_every_site_gives_the_script_that_was_looked_over(site: str) -> None:
    assert text_of(site) == (GOLDEN / f"{site}.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize("site", shipped_sites())
def test_every_script_is_sound_bash(site: str) -> None:
    golden = GOLDEN / f"{site}.sh"
    subprocess.run(["bash", "-n", golden], check=True)
    if shellcheck := shutil.which("shellcheck"):
        done = subprocess.run(
            [shellcheck, "--severity=warning", golden], stdout=subprocess.PIPE, check=False
        )
        assert done.stdout.decode() == ""


@pytest.mark.parametrize("site", [s for s in shipped_sites() if s != "workstation"])
def test_directives_follow_the_first_line_without_a_gap(site: str) -> None:
    lines = text_of(site).splitlines()
    prefix = SCHEDULERS[find_site(site).scheduler].prefix
    marked = [i for i, line in enumerate(lines) if line.startswith(prefix)]
    assert marked == list(range(1, len(marked) + 1))


class Machine:
    """A scheduler and a launcher that write down what they are asked, and a tomoatlas that ends
    with the given codes, recording a trial with those that are marked so."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        for name in ("sbatch", "qsub", "bsub"):
            self.fake(name, f'echo "{name} $*" >>calls; echo "$EXTRA_ANSWER"')
        for name in ("scancel", "qdel", "bkill"):
            self.fake(name, f'echo "{name} $*" >>calls')
        run = 'while [ "$1" != tomoatlas ] && [ "$1" != bash ]; do shift; done; exec "$@"'
        for name in ("srun", "mpiexec", "jsrun", "mpirun"):
            self.fake(name, f'echo "{name}" >>calls; {run}')
        self.fake("sleep", "")
        self.fake(
            "tomoatlas",
            'echo "$*" >>runs; code=$(head -n 1 codes); sed -i 1d codes\n'
            'case $code in *+) echo "{}" >>"fig4 out/trials.jsonl" ;; esac\n'
            "exit ${code%+}",
        )

    def fake(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        here = {scheduler.folder: str(self.folder) for scheduler in SCHEDULERS.values()}
        ids = {f"{name}_JOBID": "77" for name in ("PBS", "LSB", "COBALT")}
        ids |= {"SLURM_JOB_ID": "77", "COBALT_NODEFILE": "nodes"}
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **here, **ids, "PATH": path, **more}

    def run(self, site: str, *codes: str, **environment: str) -> tuple[int, list[str], str]:
        """Exit code, calls of scheduler and launcher, and stderr of a job."""
        (self.folder / "codes").write_text("".join(f"{code}\n" for code in codes))
        job = self.folder / "submitted.sh"
        job.write_text(text_of(site))
        answer = "Job <78> is submitted to queue <batch>." if site == "summit" else "78"
        done = subprocess.run(
            ["bash", job],
            cwd=self.folder,
            env=self.environment(EXTRA_ANSWER=answer, **environment),
            capture_output=True,
            text=True,
            check=False,
        )
        calls = self.folder / "calls"
        return (
            done.returncode,
            calls.read_text().splitlines() if calls.exists() else [],
            done.stderr,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


FOLLOWS = {
    "slurm": "sbatch --parsable --dependency=afterany:77 --export=ALL,{0} fig4 out/job.sh",
    "pbs": "qsub -W depend=afterany:77 -v {0} fig4 out/job.sh",
    "lsf": "bsub -w ended(77) -env all,{0}",
    "cobalt": "qsub --dependencies 77 --env {1} fig4 out/job.sh",
}
LAUNCHERS = {"slurm": "srun", "pbs": "mpiexec", "lsf": "jsrun", "cobalt": "mpirun"}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_job_submits_its_successor_and_leaves_it_when_time_is_up(
    scheduler: str, machine: Machine
) -> None:
    code, calls, stderr = machine.run(BY_SCHEDULER[scheduler], "4+")
    carried = [f"{name}=0" for name in CARRIED]
    follows = FOLLOWS[scheduler].format(",".join(carried), ":".join(carried))
    assert calls == [follows, LAUNCHERS[scheduler]]
    assert code == SCHEDULERS[scheduler].time_is_up
    assert stderr == ""
    assert (machine.folder / "fig4 out" / "job.sh").read_text() == text_of(BY_SCHEDULER[scheduler])
    (run,) = (machine.folder / "runs").read_text().splitlines()
    assert run.startswith("run fig4.toml --out fig4 out --device auto --walltime 0")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("ended", ["0+", "3+", "2", "130"])
def test_the_chain_ends_with_the_study(scheduler: str, ended: str, machine: Machine) -> None:
    code, calls, _ = machine.run(BY_SCHEDULER[scheduler], ended)
    assert calls[-1] == f"{SCHEDULERS[scheduler].cancel} 78"
    assert code == int(ended.rstrip("+"))


@pytest.mark.parametrize("site", [*BY_SCHEDULER.values(), "workstation"])
def test_a_lost_rank_is_launched_again(site: str, machine: Machine) -> None:
    code, _, stderr = machine.run(site, "137+", "1", "1", "137+", "0")
    assert code == 0
    assert len((machine.folder / "runs").read_text().splitlines()) == 5
    assert stderr.count("launching again") == 4


def test_launches_without_any_record_are_given_up(machine: Machine) -> None:
    code, calls, stderr = machine.run("frontier", "137+", "1", "1", "9", "0")
    assert code == 9
    assert "given up: three launches in a row recorded no trial, the last ended with 9" in stderr
    assert not [call for call in calls if call.startswith("scancel")]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_chain_that_records_nothing_ends(scheduler: str, machine: Machine) -> None:
    carried = dict(zip(CARRIED, ("0", "1"), strict=True))
    code, calls, stderr = machine.run(BY_SCHEDULER[scheduler], "0", **carried)
    assert (code, calls) == (1, [])
    assert "the chain ends: 2 jobs in a row recorded no trial" in stderr


def test_a_chain_that_gets_on_forgets_a_fruitless_job(machine: Machine) -> None:
    (machine.folder / "fig4 out").mkdir()
    (machine.folder / "fig4 out" / "trials.jsonl").write_text("{}\n")
    carried = dict(zip(CARRIED, ("0", "1"), strict=True))
    _, calls, _ = machine.run("frontier", "4", **carried)
    assert "TOMOATLAS_RECORDED=1,TOMOATLAS_FRUITLESS=0" in calls[0]
    _, calls, _ = machine.run("frontier", "4", TOMOATLAS_RECORDED="1", TOMOATLAS_FRUITLESS="0")
    assert "TOMOATLAS_RECORDED=1,TOMOATLAS_FRUITLESS=1" in calls[2]


def test_a_site_where_jobs_may_not_submit_is_told_so(machine: Machine) -> None:
    machine.fake("sbatch", "echo 'not from here' >&2; exit 1")
    code, calls, stderr = machine.run("frontier", "0+")
    assert (code, calls) == (0, ["srun"])
    assert "no successor: submit fig4 out/job.sh again" in stderr


def test_each_rank_fills_in_its_own_device(machine: Machine) -> None:
    machine.fake("tomoatlas", 'echo "$CUDA_VISIBLE_DEVICES" >seen; exit 0')
    machine.run("perlmutter", SLURM_LOCALID="1")
    assert (machine.folder / "seen").read_text() == "2\n"
    machine.run("polaris", PMI_LOCAL_RANK="7")
    assert (machine.folder / "seen").read_text() == "0\n"


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
    monitored = here.bin / "bsub"
    monitored.write_text(monitored.read_text() + "cat >stdin\n")
    if site in ("slurm", "pbs", "thetagpu"):
        os.environ["EXTRA_ANSWER"] = "78"
    argv = [*ARGUMENTS, "--site", site]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert main([*argv, "--submit"]) == 0
    assert capsys.readouterr().out == "78\n"
    assert Path("calls").read_text().splitlines() == [call]
    assert Path("tiny/job.sh").read_text() == printed
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
        (["--site", "frontier", "--nodes", "100"], "workers = 800: more workers than this study"),
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
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    argv: list[str], said: str, here: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.toml").write_text(SITE.replace("launch", "lanch"))
    Path("odd.toml").write_text(SITE.replace("srun", "srun -N{nods}"))
    Path("torn.toml").write_text(SITE + "[")
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
    Path("tiny/job.sh").unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    assert "sbatch: no such scheduler here" in refused(capsys, "--site", "slurm", "--submit")


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
    assert "such trials never finish" in capsys.readouterr().err
    assert main(["check", "tiny.toml", *job, "--nodes", "50"]) == 0
    assert "50 workers, but never more than" in capsys.readouterr().err
    assert main(["check", "tiny.toml", *job]) == 0
    assert capsys.readouterr().err == ""
