"""A site without a scheduler: commands that write down what they are asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tomoatlas.jobs.batch import SCHEDULERS


class Machine:
    """A scheduler and a launcher that write down what they are asked, and a tomoatlas that ends
    with the given codes, recording a trial with those that are marked so."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        for name in ("sbatch", "qsub", "bsub"):
            self.fake(name, f'echo "{name} $*" >>calls; cat >stdin; echo "$EXTRA_ANSWER"')
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
        ids |= {"SLURM_JOB_ID": "77", "JOB_ID": "77", "COBALT_NODEFILE": "nodes"}
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **here, **ids, "PATH": path, **more}

    def run(self, text: str, *codes: str, **environment: str) -> tuple[int, list[str], str]:
        """Exit code, calls of scheduler and launcher, and stderr of the job ``text``."""
        (self.folder / "codes").write_text("".join(f"{code}\n" for code in codes))
        job = self.folder / "submitted.sh"
        job.write_text(self.spooled(text) if "#BSUB" in text else text)
        answer = "Job <78> is submitted to queue <batch>." if "#BSUB" in text else "78"
        done = subprocess.run(
            ["bash", job],
            cwd=self.folder,
            env=self.environment(EXTRA_ANSWER=answer, **environment),
            stdin=subprocess.DEVNULL,
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

    def spooled(self, text: str) -> str:
        """What LSF runs of a script: a copy between lines of its own; it is where it belongs."""
        out = self.folder / "fig4 out"
        out.mkdir(exist_ok=True)
        if not (out / "job.sh").exists():
            (out / "job.sh").write_text(text)
        return f"#!/bin/sh\n# LSBATCH: User input\n{text}\nExitStat=$?\nexit $ExitStat\n"
