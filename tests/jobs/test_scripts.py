from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from fake_machine import Machine
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas.jobs.batch import CARRIED, SCHEDULERS
from tomoatlas.jobs.batch.scripts import JobRequest, script
from tomoatlas.jobs.batch.sites import Site, find_site, site_file, site_files

GOLDEN = Path(__file__).parent / "golden"
REQUEST = JobRequest("fig4.toml", "fig4", Path("fig4 out"), 2, 7200, "ABC123")
"""A folder with a space in its name, which every line must survive."""

ONE_NODE = JobRequest("fig4.toml", "fig4", Path("fig4 out"), 1)
SITES = tuple(found.name for found in site_files() if found.origin == "shipped")
BY_SCHEDULER = {
    "slurm": "frontier",
    "pbs": "polaris",
    "lsf": "summit",
    "gridengine": "gridengine",
    "cobalt": "thetagpu",
}


def text_of(site: str) -> str:
    special = {"workstation": ONE_NODE, "polaris": replace(REQUEST, nodes=10)}
    return script(find_site(site), special.get(site, REQUEST))


@pytest.mark.parametrize("site", SITES)
def test_every_site_gives_the_script_that_was_looked_over(site: str) -> None:
    assert text_of(site) == (GOLDEN / f"{site}.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize("site", SITES)
def test_every_script_is_sound_bash(site: str) -> None:
    golden = GOLDEN / f"{site}.sh"
    subprocess.run(["bash", "-n", golden], check=True)
    if shellcheck := shutil.which("shellcheck"):
        done = subprocess.run(
            [shellcheck, "--severity=warning", golden], stdout=subprocess.PIPE, check=False
        )
        assert done.stdout.decode() == ""


@pytest.mark.parametrize("site", [s for s in SITES if s != "workstation"])
def test_directives_follow_the_first_line_without_a_gap(site: str) -> None:
    lines = text_of(site).splitlines()
    prefix = SCHEDULERS[find_site(site).scheduler].prefix
    marked = [i for i, line in enumerate(lines) if line.startswith(prefix)]
    assert marked == list(range(1, len(marked) + 1))


@pytest.mark.parametrize("site", ["slurm", "frontier", "perlmutter"])
@given(walltime=st.integers(60, 7200))
@settings(max_examples=20, deadline=None)
def test_no_job_is_told_to_drain_before_most_of_its_time_is_used(site: str, walltime: int) -> None:
    text = script(find_site(site), replace(REQUEST, walltime=walltime))
    (notice,) = re.findall(r"^#SBATCH --signal=USR1@(\d+)$", text, re.MULTILINE)
    assert int(notice) == min(300, walltime // 10)


def test_sites_with_nvidia_gpus_ask_for_them_and_those_without_say_so() -> None:
    devices = {site: find_site(site).device for site in SITES}
    assert {site for site, device in devices.items() if device == "cuda"} == {
        "perlmutter", "polaris", "summit", "thetagpu", *GENERIC,
    }  # fmt: skip
    assert {site for site, device in devices.items() if device == "cpu"} == {"aurora", "frontier"}
    for site in ("aurora", "frontier"):
        assert "computes on the CPU cores of" in text_of(site)


GENERIC = {
    "slurm": ("-c 8", "--gpus-per-node=4", "--mem=0", "--exclusive", "-o ta_fig4.%j.out"),
    "pbs": ("select=2:ncpus=32:mpiprocs=4:ngpus=4", "place=scatter:excl"),
    "gridengine": (
        "-pe mpi 64",
        "-l gpu=4",
        "-l exclusive=true",
        "-j y",
        "-l h_rt=02:00:00",
        "-notify",
    ),
    "lsf": ("affinity[core(8)]", '-gpu "num=4/host"', "-x", "-o ta_fig4.%J.out"),
}


def directives_of(site: Site) -> str:
    prefix = SCHEDULERS[site.scheduler].prefix
    return "\n".join(s for s in script(site, REQUEST).splitlines() if s.startswith(prefix))


@pytest.mark.parametrize("name", GENERIC)
def test_a_generic_site_asks_for_all_that_its_ranks_need(name: str) -> None:
    asked = directives_of(find_site(name))
    assert [what for what in GENERIC[name] if what not in asked] == []
    assert "<" not in asked


@pytest.mark.parametrize("name", GENERIC)
def test_nodes_without_gpus_are_asked_for_none(name: str) -> None:
    text = site_file(name).text().replace("gpus_per_node = 4", "gpus_per_node = 0")
    site = Site.model_validate(tomllib.loads(text))
    assert site.device == "auto"
    assert "gpu" not in directives_of(site)
    assert directives_of(site).count("\n") >= 4, "the other directives stay"


def test_memory_is_asked_for_where_the_site_gives_it() -> None:
    for name in ("pbs", "lsf", "gridengine"):
        site = find_site(name)
        more = site.model_copy(update={"memory_per_node": "500gb"})
        assert "mem" not in directives_of(site)
        assert re.search(r"mem\w*=500gb", directives_of(more))


@pytest.mark.parametrize("site", ["polaris", "slurm"])
def test_a_job_of_a_gpu_site_that_sees_no_gpu_ends_the_chain_with_2(
    site: str, machine: Machine, study_file: Path
) -> None:
    """The real command, on this machine without a GPU; nothing of the study is begun."""
    machine.fake("tomoatlas", f'exec {sys.executable} -P -m tomoatlas "$@"')
    at = find_site(site).model_copy(update={"limits": ()})
    request = replace(REQUEST, study=str(study_file))
    code, calls, stderr = machine.run(script(at, request), CUDA_VISIBLE_DEVICES="")
    assert code == 2
    assert "--device" in stderr
    assert calls[-1].endswith(" 78"), "its successor is cancelled"
    assert not (machine.folder / "fig4 out" / "trials.jsonl").exists()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


FOLLOWS = {
    "slurm": "sbatch --parsable --dependency=afterany:77 --export=ALL,{0} fig4 out/job.sh",
    "pbs": "qsub -W depend=afterany:77 -v {0} fig4 out/job.sh",
    "lsf": "bsub -w ended(77) -env all,{0}",
    "gridengine": "qsub -terse -hold_jid 77 -v {0} fig4 out/job.sh",
    "cobalt": "qsub --dependencies 77 --env {1} fig4 out/job.sh",
}
LAUNCHERS = {
    "slurm": "srun",
    "pbs": "mpiexec",
    "lsf": "jsrun",
    "gridengine": "mpiexec",
    "cobalt": "mpirun",
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_job_submits_its_successor_and_leaves_it_when_time_is_up(
    scheduler: str, machine: Machine
) -> None:
    code, calls, stderr = machine.run(text_of(BY_SCHEDULER[scheduler]), "4+")
    carried = [f"{name}=0" for name in CARRIED]
    follows = FOLLOWS[scheduler].format(",".join(carried), ":".join(carried))
    assert calls == [follows, LAUNCHERS[scheduler]]
    assert code == 0, "a job that has drained has not failed"
    assert stderr == ""
    assert (machine.folder / "fig4 out" / "job.sh").read_text() == text_of(BY_SCHEDULER[scheduler])
    (run,) = (machine.folder / "runs").read_text().splitlines()
    device = "cpu" if scheduler == "slurm" else "cuda"
    assert run.startswith(f"run fig4.toml --out fig4 out --device {device} --walltime 0")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("ended", ["0+", "3+", "2", "130"])
def test_the_chain_ends_with_the_study(scheduler: str, ended: str, machine: Machine) -> None:
    code, calls, _ = machine.run(text_of(BY_SCHEDULER[scheduler]), ended)
    assert calls[-1] == f"{SCHEDULERS[scheduler].cancel} 78"
    assert code == int(ended.rstrip("+"))


@pytest.mark.parametrize("site", [*BY_SCHEDULER.values(), "workstation"])
def test_a_lost_rank_is_launched_again(site: str, machine: Machine) -> None:
    code, _, stderr = machine.run(text_of(site), "137+", "1", "1", "137+", "0")
    assert code == 0
    assert len((machine.folder / "runs").read_text().splitlines()) == 5
    assert stderr.count("launching again") == 4


@pytest.mark.parametrize(("site", "code"), [("thetagpu", 0), ("polaris", 137)])
def test_a_run_lost_near_the_end_leaves_the_rest_to_the_successor(
    site: str, code: int, machine: Machine
) -> None:
    text = script(find_site(site), replace(REQUEST, nodes=10, walltime=100))
    ended, calls, _ = machine.run(text, "137+")
    assert ended == code, "Cobalt starts a successor after 0 alone"
    assert not [call for call in calls if call.startswith("qdel")]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_job_that_is_put_back_into_the_queue_keeps_its_successor(
    scheduler: str, machine: Machine
) -> None:
    text = text_of(BY_SCHEDULER[scheduler])
    machine.run(text, "4+")
    _, calls, _ = machine.run(text, "4+")
    assert calls[-1] == LAUNCHERS[scheduler]
    assert len(calls) == 3, "one successor, two launches"
    code, calls, _ = machine.run(text, "0")
    assert calls[-1] == f"{SCHEDULERS[scheduler].cancel} 78"
    assert code == 0


def ended_by(machine: Machine, text: str) -> list[str]:
    """Calls of a job to which TERM is sent while it runs."""
    machine.fake("tomoatlas", "kill -TERM $(ps -o ppid= $PPID) $PPID; /bin/sleep 0.3; exit 143")
    run = 'while [ "$1" != tomoatlas ]; do shift; done; "$@"; exit'
    for name in ("srun", "mpiexec"):
        machine.fake(name, f'trap : TERM; echo "{name}" >>calls; {run}')
    return machine.run(text)[1]


def answer(preempted: str) -> str:
    return f'echo "JobState=COMPLETING PreemptTime={preempted}"'


def test_a_job_that_is_cancelled_takes_its_successor_with_it(machine: Machine) -> None:
    machine.fake("scontrol", answer("None"))
    calls = ended_by(machine, text_of("frontier"))
    assert calls[1:] == ["srun", "scancel 78"], "and nothing is launched again"
    assert not (machine.folder / "fig4 out" / "job.next").exists()


def test_a_job_that_makes_room_for_another_goes_on_by_its_successor(machine: Machine) -> None:
    machine.fake("scontrol", answer("2026-11-28T14:40:29"))
    assert ended_by(machine, text_of("frontier"))[1:] == ["srun"]


def test_a_job_that_is_ended_at_its_time_goes_on_by_its_successor(machine: Machine) -> None:
    machine.fake("scontrol", answer("None"))
    text = script(find_site("frontier"), replace(REQUEST, walltime=1))
    assert ended_by(machine, text)[1:] == ["srun"]


SIGNALLED = """\
for name in TERM USR1; do trap "echo $name >>got; exit 4" $name; done
trap "echo INT >>got; exit 130" INT
echo $$ >>pids
while :; do /bin/sleep 0.02; done
"""


def signalled(machine: Machine, number: str, **environment: str) -> int:
    """Exit code of a workstation's script that gets a signal when its run can hear it."""
    machine.fake("tomoatlas", SIGNALLED)
    job = machine.folder / "job.sh"
    job.write_text(text_of("workstation"))
    started = subprocess.Popen(
        ["bash", job], cwd=machine.folder, env=machine.environment(**environment)
    )
    pids = machine.folder / "pids"
    while not (pids.exists() and pids.read_text().endswith("\n")):
        assert started.poll() is None
        time.sleep(0.01)
    started.send_signal(signal.Signals[f"SIG{number}"])
    return started.wait(timeout=600)


@pytest.mark.parametrize(("number", "code"), [("TERM", 4), ("USR1", 4), ("INT", 130)])
def test_a_signal_to_a_workstations_script_ends_the_run(
    number: str, code: int, machine: Machine
) -> None:
    assert signalled(machine, number) == code
    assert (machine.folder / "got").read_text() == f"{number}\n"
    (pid,) = (machine.folder / "pids").read_text().split()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_signal_at_once_after_a_launch_reaches_the_run(machine: Machine) -> None:
    pause = "unset BASH_ENV; trap '[[ $BASH_COMMAND != run=* ]] || /bin/sleep 0.5' DEBUG\n"
    (machine.folder / "pause").write_text(pause)
    assert signalled(machine, "TERM", BASH_ENV=str(machine.folder / "pause")) == 4
    assert (machine.folder / "got").read_text() == "TERM\n"


def test_a_signal_between_launches_ends_a_workstations_script(machine: Machine) -> None:
    machine.fake("sleep", "kill -TERM $PPID")
    code, _, _ = machine.run(text_of("workstation"), "137+", "0")
    assert code == 137
    assert len((machine.folder / "runs").read_text().splitlines()) == 1


@pytest.mark.parametrize("site", [*BY_SCHEDULER.values(), "workstation"])
def test_trouble_of_the_machine_is_launched_again_and_keeps_the_chain(
    site: str, machine: Machine
) -> None:
    code, calls, stderr = machine.run(text_of(site), "5", "5", "4+")
    assert code == (4 if site == "workstation" else 0)
    assert stderr.count("ended with 5") == 2
    assert not [call for call in calls if call.split()[0] in ("scancel", "qdel", "bkill")]


def test_launches_without_any_record_are_given_up(machine: Machine) -> None:
    code, calls, stderr = machine.run(text_of("frontier"), "137+", "1", "1", "9", "0")
    assert code == 9
    assert "given up: three launches in a row recorded no trial, the last ended with 9" in stderr
    assert not [call for call in calls if call.startswith("scancel")]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_chain_that_records_nothing_ends(scheduler: str, machine: Machine) -> None:
    carried = dict(zip(CARRIED, ("0", "1"), strict=True))
    code, calls, stderr = machine.run(text_of(BY_SCHEDULER[scheduler]), "0", **carried)
    assert (code, calls) == (1, [])
    assert "the chain ends: 2 jobs in a row recorded no trial" in stderr


def test_a_chain_that_gets_on_forgets_a_fruitless_job(machine: Machine) -> None:
    (machine.folder / "fig4 out").mkdir()
    (machine.folder / "fig4 out" / "trials.jsonl").write_text("{}\n")
    carried = dict(zip(CARRIED, ("0", "1"), strict=True))
    _, calls, _ = machine.run(text_of("frontier"), "4", **carried)
    assert "TOMOATLAS_RECORDED=1,TOMOATLAS_FRUITLESS=0" in calls[0]
    (machine.folder / "fig4 out" / "job.next").unlink()
    _, calls, _ = machine.run(
        text_of("frontier"), "4", TOMOATLAS_RECORDED="1", TOMOATLAS_FRUITLESS="0"
    )
    assert "TOMOATLAS_RECORDED=1,TOMOATLAS_FRUITLESS=1" in calls[2]


def test_the_successor_of_an_lsf_job_is_read_from_the_job(machine: Machine) -> None:
    text = text_of("summit")
    code, _, stderr = machine.run(text, "4+")
    assert (code, stderr) == (0, "")
    assert (machine.folder / "stdin").read_text() == text


@pytest.mark.parametrize("other", ["", "#!/bin/bash\necho of another study\n"])
def test_an_lsf_job_that_is_not_in_its_place_has_no_successor(other: str, machine: Machine) -> None:
    (machine.folder / "fig4 out").mkdir()
    (machine.folder / "fig4 out" / "job.sh").write_text(other)
    code, calls, stderr = machine.run(text_of("summit"), "4+")
    assert (code, calls) == (4, ["jsrun"])
    assert "fig4 out/job.sh is missing or another script: save this one there" in stderr


def test_a_job_of_an_older_request_is_set_aside_by_a_first_job(machine: Machine) -> None:
    out = machine.folder / "fig4 out"
    out.mkdir()
    older = script(find_site("frontier"), replace(REQUEST, account="OLDER"))
    (out / "job.sh").write_text(older)
    _, calls, stderr = machine.run(text_of("frontier"), "4+")
    assert calls[0].endswith("fig4 out/job.sh")
    assert (out / "job.sh").read_text() == text_of("frontier")
    assert os.access(out / "job.sh", os.X_OK)
    assert (out / "job.sh.old").read_text() == older
    assert "fig4 out/job.sh was another script, and is fig4 out/job.sh.old now" in stderr


def test_a_job_that_was_edited_for_its_successors_stays(machine: Machine) -> None:
    out = machine.folder / "fig4 out"
    out.mkdir()
    (out / "job.sh").write_text(text_of("frontier") + "# edited\n")
    carried = dict(zip(CARRIED, ("7", "0"), strict=True))
    machine.run(text_of("frontier"), "4+", **carried)
    assert (out / "job.sh").read_text().endswith("# edited\n")


@given(
    note=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20),
    account=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1),
)
@settings(max_examples=30, deadline=None)
def test_any_printable_values_give_sound_bash(note: str, account: str) -> None:
    fields = find_site("frontier").model_dump() | {
        "rank_environment": {"NOTE": note.replace("$", "")},
        "launch": "",
        "setup": ("charged={account}",),
    }
    request = replace(REQUEST, account=account, out=Path(account), study=note or "x")
    text = script(Site(**fields), request)
    done = subprocess.run(["bash", "-n"], input=text.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    (line,) = [li for li in text.splitlines() if li.lstrip().startswith("bash -c")]
    told = line[: line.rindex(" rank ")] + " rank printenv NOTE"
    (charged,) = [li for li in text.splitlines() if li.startswith("charged=")]
    shell = f'{told}; {charged}; printf "%s" "$charged"'
    said = subprocess.run(["bash", "-c", shell], capture_output=True, check=True)
    assert said.stdout.decode() == note.replace("$", "") + "\n" + account


def test_a_site_where_jobs_may_not_submit_is_told_so(machine: Machine) -> None:
    machine.fake("sbatch", "echo 'not from here' >&2; exit 1")
    code, calls, stderr = machine.run(text_of("frontier"), "0+")
    assert (code, calls) == (0, ["srun"])
    assert "no successor: submit fig4 out/job.sh again" in stderr


def test_each_rank_fills_in_its_own_device(machine: Machine) -> None:
    machine.fake("tomoatlas", 'echo "$CUDA_VISIBLE_DEVICES" >seen; exit 0')
    machine.run(text_of("perlmutter"), SLURM_LOCALID="1")
    assert (machine.folder / "seen").read_text() == "2\n"
    machine.run(text_of("polaris"), PMI_LOCAL_RANK="7")
    assert (machine.folder / "seen").read_text() == "0\n"
