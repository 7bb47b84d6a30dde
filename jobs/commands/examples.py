"""Examples of every command, which its ``--help`` shows below the options."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "check": (
        "check study.toml",
        "check fig4_nanocubes_64 --site slurm --nodes 4 --walltime 2h",
    ),
    "run": (
        "run quickstart --out first",
        "run study.toml --out first --workers 8 --walltime 90m",
    ),
    "status": ("status first", "status first --watch", "status nanocubes_64 --json"),
    "merge": ("merge part1 part2 --out whole",),
    "report": ("report first", "report first --cell haadf_tilts=35,chemical_tilts=9"),
    "serve": ("serve first", "serve first --port 8000 --open"),
    "figure": (
        "figure nrmse nanocubes_64",
        "figure slices first --cell haadf_tilts=35,chemical_tilts=9 --out slices.pdf",
        "figure fsc specimen.h5 volumes.h5",
    ),
    "recommend": (
        "recommend nanocubes_64",
        "recommend first --haadf-tilts 41 --chemical-tilts 9",
        "recommend nanocubes_64 --target-nrmse 0.3",
    ),
    "plan": (
        "plan --specimen au-fe3o4 --dose 5e5",
        "plan --atlas nanocubes_64 --target-nrmse 0.3",
    ),
    "script": (
        "script study.toml --site slurm --nodes 4 --walltime 2h > job.sh",
        "script study.toml --site frontier --walltime 02:00:00 --account ABC123 --submit",
    ),
    "sites": ("sites", "sites slurm", "sites slurm --copy mine.toml"),
    "phantom": (
        "phantom nanocubes --size 64 --out specimen.h5",
        "phantom au-fe3o4 --show",
        "phantom build --show",
    ),
    "simulate": (
        "simulate specimen.h5 --haadf-tilts 41 --chemical-tilts 9 --out tilts.h5",
        "simulate specimen.h5 --haadf-tilts 41 --chemical-tilts 9 --disturb film=0.1 --out film.h5",
    ),
    "import": (
        "import haadf.mrc Co=co.mrc O=o.mrc --angles angles.rawtlt --out tilts.h5",
        "import *.dm4 --out tilts.h5",
    ),
    "show": ("show tilts.h5",),
    "inspect": ("inspect tilts.h5", "inspect tilts.h5 --fix --out mended.h5"),
    "align": ("align tilts.h5 --out aligned.h5",),
    "calibrate": ("calibrate tilts.h5 --dose 5e5",),
    "reconstruct": (
        "reconstruct tilts.h5 --atlas nanocubes_64 --out volumes.h5",
        "reconstruct tilts.h5 --weights auto --out volumes.h5",
        "reconstruct tilts.h5 --haadf 0.3 --tv 1.5 --out volumes.h5",
    ),
    "assess": ("assess volumes.h5 tilts.h5",),
    "evaluate": ("evaluate volumes.h5 specimen.h5", "evaluate volumes.h5 specimen.h5 --json"),
    "export": ("export volumes.h5 --out volumes.hspy", "export volumes.h5 --out volumes.mrc"),
}
"""Command → what to type after ``tomoatlas``."""


def examples_of(command: str) -> str:
    """The examples of a command as the end of its help.

    Parameters
    ----------
    command : its name.
    """
    # The mark keeps click from joining lines into a paragraph.
    lines = [f"  tomoatlas {example}" for example in EXAMPLES[command]]
    return "\n".join(["\b", "Examples:", *lines])
