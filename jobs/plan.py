"""Plans made by trials on this computer: from a specimen's file to the acquisition to choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..analysis.plan import MOST_TRIALS, Limits, Plan, check_question, planned
from ..recon_core.errors import BadInput
from ..recon_core.methods import Method
from ..recon_core.toml import toml_tables, toml_text
from ..sweep.estimate import trial_seconds
from ..sweep.executors import Executor
from ..sweep.study import Study, Task, parse_study
from ..sweep.study.identity import EDITIONS
from ..sweep.study.trial import Trial, TrialResult
from .workers import Workers, executor_of

OnResult = Callable[[Trial, TrialResult], None]
SIZE = 64


def plan(
    specimen: str | Path,
    dose: float,
    limits: Limits | None = None,
    acquisition: Mapping[str, Any] | None = None,
    size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    say: Callable[[str], None] | None = None,
    on_result: OnResult | None = None,
) -> Plan:
    """Find how to share a dose between HAADF tilts and chemical maps of a specimen.

    About a hundred trials of that specimen are made, in a few minutes.

    Parameters
    ----------
    specimen : a kind, or the file that describes one or holds its volumes. A TOML file may have a
        table ``[acquisition]`` as a study has, for what is known of the microscope.
    dose : of all images and maps, e/Å².
    limits : what the acquisition may take.
    acquisition : further keys of ``[acquisition]``, which go before those of the file.
    size : voxels per edge; 64 if neither this nor the file says.
    workers : processes; None for one per core or GPU.
    device : what to compute on.
    say : called with a line on what comes next.
    on_result : called with every trial and its outcome.

    Returns
    -------
    Plan : the acquisition, and the accuracy to expect of it.

    Raises
    ------
    BadInput : what is asked cannot be.
    Trouble : hardly any trial has a result, or no worker can start.

    Examples
    --------
    Minutes, so not run here:

    >>> import tomoatlas as ta
    >>> found = ta.plan("co3o4-mn3o4", dose=1e5, size=32)  # doctest: +SKIP
    >>> found.choice, found.expected  # doctest: +SKIP
    (Choice(dose=100000.0, maps=11, images=25, share=0.05), Expected(nrmse=0.23, ...))
    """
    study, limits = study_of(specimen, dose, acquisition or {}, size), limits or Limits()
    check_question(study, limits)
    with executor_of(study, Workers(workers, None, device)) as executor:
        if say is not None:
            say(_expectation(study, executor.slots))
        return planned(study, limits, _evaluator(executor, on_result), say)


def study_of(
    specimen: str | Path, dose: float, acquisition: Mapping[str, Any], size: int | None = None
) -> Study:
    """The study of one condition that a plan varies.

    Parameters
    ----------
    specimen, dose, acquisition, size : as :func:`plan` takes them.

    Raises
    ------
    BadInput : an unreadable file, an unknown key or a value that cannot be.
    """
    described = _tables(Path(specimen))
    own = described.get("specimen", {})
    given = {**USUAL, **described.get("acquisition", {}), "dose_e_per_A2": dose, **acquisition}
    if "counts_per_electron" not in given:
        given.setdefault("microscope", {})
    tables = {
        "study": {"name": f"plan of {Path(specimen).stem}"[:100], "edition": max(EDITIONS)},
        "specimen": {
            "kind": str(specimen),
            "size": own.get("size", SIZE) if size is None else size,
            "seed": own.get("seed", 0),
        },
        "acquisition": given,
        "disturbances": described.get("disturbances", {}),
    }
    return parse_study(toml_text(tables), source=str(specimen))


USUAL: dict[str, Any] = {"contrast": "linear", "oversample": 2}
"""What a microscope does: atoms add up, and the specimen knows nothing of the voxels."""


def _tables(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; none of another, which is looked at later."""
    if path.suffix != ".toml" or not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"not TOML: {error}", source=path, accepted="a TOML file") from error
    return toml_tables(text, path)


def _expectation(study: Study, workers: int) -> str:
    """What is about to be run, and how long that takes."""
    minutes = MOST_TRIALS * trial_seconds(study, Method.FUSED) / workers / 60
    at = f"{study.specimen.size}³"
    return f"about {MOST_TRIALS} trials at {at}, {max(minutes, 1):.0f} min (estimated)"


def _evaluator(
    executor: Executor, on_result: OnResult | None
) -> Callable[[Sequence[Task]], Sequence[TrialResult]]:
    def evaluate(tasks: Sequence[Task]) -> Sequence[TrialResult]:
        found: dict[int, TrialResult] = {}
        waiting = list(reversed(tasks))
        while len(found) < len(tasks):
            # As many in flight as there are slots: those of a lost worker come back as crashed.
            while waiting and len(tasks) - len(waiting) - len(found) < executor.slots:
                executor.submit(*waiting.pop())
            ended = executor.collect()
            if ended is not None:
                trial, result = ended
                found[trial.cell.index] = result
                if on_result is not None:
                    on_result(trial, result)
        return [found[i] for i in range(len(tasks))]

    return evaluate
