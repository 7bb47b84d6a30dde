"""Inputs by hypothesis: studies, journals, site files and HDF5, sound ones that were spoilt.

A target takes an input and returns whether it was accepted. It raises what nobody may see: anything
but an error of one printable line, or a Senseless for what was accepted and makes no sense. The
tests try some of each; `tests/benchmarks/faults.py fuzzed` tries ten thousand.
"""

from __future__ import annotations

import copy
import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

from tomoatlas.analysis.atlas import Atlas
from tomoatlas.analysis.journal import JournalReader
from tomoatlas.analysis.progress import progress
from tomoatlas.analysis.table import atlas_table
from tomoatlas.jobs.batch.scripts import JobRequest, script
from tomoatlas.jobs.batch.sites import find_site
from tomoatlas.jobs.terminal.text import estimate_text
from tomoatlas.phantoms.formats import load_specimen, load_tilt_series, load_volumes
from tomoatlas.recon_core.errors import BadInput, Trouble
from tomoatlas.sweep.estimate import estimate
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.record import StudyFolder
from tomoatlas.sweep.record.journal import Journal
from tomoatlas.sweep.record.lines import WORST, TrialLines, parsed
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.run.scheduler import Scheduler
from tomoatlas.sweep.study import Study, load_study, parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus, is_final

SECONDS = 20
"""Longer is a hang."""

Tree = Any


class Senseless(Exception):
    """Something was accepted without a word that cannot be meant."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Parameters
    ----------
    inputs : bytes of a file.
    feed : takes the file, and raises BadInput if it refuses it.
    suffix : of the file.
    """

    inputs: st.SearchStrategy[bytes]
    feed: Callable[[Path], None]
    suffix: str


def fed(target: Target, data: bytes, folder: Path) -> bool:
    """Whether an input was accepted; raises for what must not happen with either."""
    path = folder / f"input{target.suffix}"
    path.write_bytes(data)
    with _bounded(SECONDS):
        try:
            target.feed(path)
        except (BadInput, Trouble) as refusal:
            line = str(refusal)
            if not line.isprintable() or not line:
                raise Senseless(f"an error that cannot be shown: {line!r}") from refusal
            return False
    return True


@contextmanager
def _bounded(seconds: int) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise Senseless(f"no end within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# What a hand or a program gets wrong in a tree of tables, lists and values.

TEXTS = [
    "",
    " ",
    "\x1b]0;owned\x07",
    "a\nb",
    "\u202eevil",
    "=1+1",
    "../../x",
    "nanocubes",
    "x" * 999,
]
NUMBERS = [0, -1, 1, 2, 7, 10**9, 2**63, -(2**70), 0.0, -0.0, 0.5, 1e-300, 1e30, 1e300, -1e-9]
OTHERS = [math.nan, math.inf, -math.inf, True, False, [], {}, [[]], [1, 1], [1e9]]
VALUES = [*TEXTS, *NUMBERS, *OTHERS]


def _places(tree: Tree, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys: Any = tree if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield (*above, key)
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key], (*above, key))


def spoilt(draw: st.DrawFn, sound: Tree, values: tuple[Any, ...] = ()) -> Tree:
    """A tree with up to three changes: another value, a key less, a key more."""
    tree = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(tree))
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        parent = tree
        for key in above:
            parent = parent[key]
        how = draw(st.sampled_from(("value", "value", "value", "neighbour", "drop", "add")))
        value = draw(st.sampled_from([*VALUES, *values]) | st.floats() | st.integers())
        value = copy.deepcopy(value)  # a list of the pool may be changed next
        if how == "drop":
            del parent[last]
        elif how == "add" and isinstance(parent, dict):
            parent[draw(st.sampled_from([*TEXTS, "size", "extra"]))] = value
        elif how == "neighbour" and isinstance(parent[last], int | float):
            parent[last] = parent[last] * draw(st.sampled_from((-1, 0.5, 2, 10, 1e6, 1.0)))
        else:
            parent[last] = value
    return tree


def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes cut, overwritten, doubled or left alone."""
    text = bytearray(data)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(0, len(text) - 1)))
        how = draw(st.sampled_from(("cut", "flip", "insert", "zero", "double")))
        if how == "cut":
            del text[place:]
        elif how == "flip" and text:
            text[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "insert":
            text[place:place] = draw(st.binary(max_size=20))
        elif how == "zero":
            text[place : place + 50] = bytes(50)
        else:
            text[place:place] = text[: draw(st.integers(0, 500))]
    return bytes(text)


# Studies.

STUDY = """
[study]
name = "fuzzed"
seed = 1
[specimen]
kind = "nanocubes"
size = 16
[acquisition]
tilt_range_deg = [-70.0, 70.0]
haadf_tilts = 9
chemical_tilts = 5
haadf_snr = 2000.0
chemical_snr = { Co = 1.9, Cu = 2.9, O = 2.7, Au = 2.0 }
background = 0.15
[solver]
gamma = 2.0
tolerance = 1e-4
max_iterations = 20
[search]
trials = 4
initial = 2
lag = 1
chemistry_tv_trials = 2
methods = ["fused", "ml"]
space = { haadf = [1e-3, 3.0], tv = [0.1, 6.0] }
[limits]
trial_seconds = 60.0
retries = 1
[axes]
"acquisition.haadf_tilts" = [5, 9]
"acquisition.chemical_tilts" = [3, 5]
"""


@st.composite
def studies(draw: st.DrawFn) -> bytes:
    """TOML of a study, with wrong values or as a wrong text."""
    import tomllib

    tree = spoilt(draw, tomllib.loads(STUDY))
    if draw(st.integers(0, 3)) == 0:
        return damaged(draw, STUDY.encode())
    return _toml(tree).encode(errors="surrogatepass")


def _toml(tree: dict[str, Any]) -> str:
    """TOML of any tree; tables as inline ones, so that every key may hold anything."""
    return "".join(f"{json.dumps(str(key))} = {_inline(value)}\n" for key, value in tree.items())


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(str(k))} = {_inline(v)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def feed_study(path: Path) -> None:
    """Read, estimate and write a study; what is accepted is finite and the same again."""
    study = load_study(path)
    if parse_study(study.toml(), path, path.parent) != study:
        raise Senseless("a study that is another one when it is read back")
    text = estimate_text(study, estimate(study))
    if not all(line.isprintable() for line in text.splitlines()) or "nan" in text or "inf " in text:
        raise Senseless(f"an estimate that cannot be shown: {text!r}")
    numbers = [value for value in _leaves(study.tables()) if isinstance(value, float)]
    if not all(abs(value) < 1e18 for value in numbers):
        raise Senseless(f"numbers that nothing can be: {max(numbers, key=abs)}")


def _leaves(tree: Tree) -> Iterator[object]:
    if isinstance(tree, dict | list | tuple):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(value)
    else:
        yield tree


# Journals.


def scored(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A score at once."""
    score = 0.25 + int(trial.trial_id[:4], 16) / 2**18
    return TrialResult(TrialStatus.OK, score, {"Co": score}, 10.0, 1.0, totals={"Co": 1.0})


@cache
def journal() -> tuple[Study, bytes]:
    """A finished study and its journal."""
    import tempfile

    study = parse_study(STUDY.replace("trials = 4", "trials = 2"))
    with tempfile.TemporaryDirectory() as folder:
        run(study, folder, InlineExecutor(scored))
        return study, StudyFolder(folder).journal_file.read_bytes()


@st.composite
def journals(draw: st.DrawFn) -> bytes:
    """Lines of a journal: spoilt records, damaged lines, in any order, some of them twice."""
    lines = journal()[1].splitlines(keepends=True)
    found = draw(st.lists(st.sampled_from(lines), min_size=1, max_size=8))
    kept = [_line(draw, line) for line in found]
    return damaged(draw, b"".join(kept)) if draw(st.integers(0, 3)) == 0 else b"".join(kept)


def _line(draw: st.DrawFn, line: bytes) -> bytes:
    how = draw(st.sampled_from(("sound", "spoilt", "spoilt", "damaged")))
    if how == "spoilt":
        return (
            json.dumps(spoilt(draw, json.loads(line), ("ok", "fused", "pruned"))) + "\n"
        ).encode()
    return damaged(draw, line) if how == "damaged" else line


def _identity(record: dict[str, Any]) -> str:
    """One text for what is one attempt: 5 and 5.0 are one value, no weights and {} are none."""
    found = {name: record.get(name) or None for name in ("weights", "cell", "method", "trial_id")}
    found["number"] = record.get("number")
    found["attempt"] = None if is_final(record) else record.get("attempt")
    return repr(json.loads(json.dumps(found, sort_keys=True), parse_int=float))


def feed_journal(path: Path) -> None:
    """Read a journal as report, status and run do; they agree, and nothing goes without a word."""
    study = journal()[0]
    home = StudyFolder(path.parent / "folder")
    home.path.mkdir(exist_ok=True)
    home.study_file.write_text(study.toml(), encoding="utf-8")
    path.replace(home.journal_file)
    reader = JournalReader(home.path)
    trials = reader.trials
    _sensible(trials, study)
    lines = TrialLines(study)
    with Journal(home.journal_file) as record:
        held = [line for line in record.lines() if line.strip()]
    taken = [found for line in held if (found := lines.take(line)) is not None]
    attempts = {_identity(r) for r in map(parsed, held) if r}
    if len(taken) < len(attempts) and not lines.notes:
        raise Senseless("a line that is left out without a word")
    done = Scheduler(study, taken).done
    if done > len(trials):
        raise Senseless(f"a run that takes {done} trials of {len(trials)} for done")


def _sensible(trials: Any, study: Study) -> None:
    scores = trials["nrmse"].dropna()
    if not ((scores >= 0.0) & (scores <= WORST)).all():
        raise Senseless("scores that no volume can have")
    texts = [text for name in trials for text in trials[name] if isinstance(text, str)]
    if not all(map(str.isprintable, texts)):
        raise Senseless(
            f"texts that cannot be shown: {[t for t in texts if not t.isprintable()]!r}"
        )
    state = progress(trials, study)
    if not math.isfinite(state.device_hours):
        raise Senseless("hours without end")
    Atlas(atlas_table(trials, study), tuple(study.axes), study.tables()).with_acting_weights()


# Sites.


@st.composite
def sites(draw: st.DrawFn) -> bytes:
    """A site file, with wrong values or as a wrong text."""
    import tomllib
    from importlib.resources import files

    name = draw(st.sampled_from(("slurm", "pbs", "lsf", "perlmutter", "workstation")))
    text = (files("tomoatlas.jobs") / "sites" / f"{name}.toml").read_text(encoding="utf-8")
    if draw(st.integers(0, 3)) == 0:
        return damaged(draw, text.encode())
    known = ("{nodes}", "{x}", "{", "cuda", "slurm", "none")
    return _toml(spoilt(draw, tomllib.loads(text), known)).encode(errors="surrogatepass")


def feed_site(path: Path) -> None:
    """A site and the script that it makes."""
    request = JobRequest("quickstart", "fuzzed", Path("out"), 2, 3600, "A1", None)
    text = script(find_site(str(path)), request)
    if not all(line.isprintable() for line in text.replace("\t", " ").split("\n")):
        raise Senseless("a script that cannot be shown")


# HDF5.

SHAPE, TILTS = (2, 8, 8, 8), 3


def _sound_volumes(file: h5py.File) -> None:
    file["volumes"] = np.random.default_rng(0).random(SHAPE, np.float32)
    file["volumes"].attrs["elements"] = ["Co", "O"]
    file.attrs["voxel_size_nm"] = 1.0
    file.attrs["name"] = "made"


def _sound_series(file: h5py.File) -> None:
    counts = np.random.default_rng(1).poisson(3.0, (2, TILTS, 8, 8)).astype(np.float32)
    angles = np.linspace(-60.0, 60.0, TILTS)
    file["haadf/projections"], file["haadf/angles_deg"] = counts[0] * 100.0, angles
    file["chemical/projections"], file["chemical/angles_deg"] = counts, angles
    file["chemical/background"] = np.zeros(2)
    file["chemical"].attrs["elements"] = ["Co", "O"]
    file.attrs["pixel_size_nm"] = 1.0


def _virtual(shape: tuple[int, ...]) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "volumes", shape)
    return layout


def _unwritten(group: h5py.Group, name: str, shape: tuple[int, ...], edge: int) -> h5py.Dataset:
    axes = len(shape)
    return group.create_dataset(name, [edge] * axes, "f4", chunks=(1,) * axes)


DATASETS: dict[str, Callable[[h5py.Group, str, tuple[int, ...]], object]] = {
    "empty": lambda g, n, s: g.create_dataset(n, data=h5py.Empty("f4")),
    "scalar": lambda g, n, s: g.create_dataset(n, data=1.0),
    "text": lambda g, n, s: g.create_dataset(n, s, h5py.string_dtype()),
    "complex": lambda g, n, s: g.create_dataset(n, data=np.ones(s, "c8")),
    "truth": lambda g, n, s: g.create_dataset(n, data=np.ones(s, "?")),
    "compound": lambda g, n, s: g.create_dataset(n, s, [("a", "f4")]),
    "references": lambda g, n, s: g.create_dataset(n, s, h5py.ref_dtype),
    "lists": lambda g, n, s: g.create_dataset(n, s, h5py.vlen_dtype("f4")),
    "no size": lambda g, n, s: g.create_dataset(n, (0, *s[1:]), "f4"),
    "huge": lambda g, n, s: _unwritten(g, n, s, 1 << 14),
    "beyond 64 bits": lambda g, n, s: _unwritten(g, n, s, 1 << 60),
    "one axis more": lambda g, n, s: g.create_dataset(n, data=np.ones((1, *s), "f4")),
    "one axis less": lambda g, n, s: g.create_dataset(n, data=np.ones(s[1:], "f4")),
    "another length": lambda g, n, s: g.create_dataset(n, data=np.ones((s[0] + 1, *s[1:]), "f4")),
    "one": lambda g, n, s: g.create_dataset(n, data=np.ones((1,) * len(s), "f4")),
    "not a number": lambda g, n, s: g.create_dataset(n, data=np.full(s, np.nan)),
    "infinite": lambda g, n, s: g.create_dataset(n, data=np.full(s, np.inf)),
    "beyond float32": lambda g, n, s: g.create_dataset(n, data=np.full(s, 1e300)),
    "large": lambda g, n, s: g.create_dataset(n, data=np.full(s, 3e38)),
    "negative": lambda g, n, s: g.create_dataset(n, data=np.full(s, -1.0)),
    "zero": lambda g, n, s: g.create_dataset(n, data=np.zeros(s)),
    "integers": lambda g, n, s: g.create_dataset(n, data=np.full(s, 2**63, "u8")),
    "group": lambda g, n, s: g.create_group(n),
    "soft link to itself": lambda g, n, s: g.__setitem__(n, h5py.SoftLink(f"{g.name}/{n}")),
    "dangling link": lambda g, n, s: g.__setitem__(n, h5py.SoftLink("/nowhere")),
    "link to the root": lambda g, n, s: g.__setitem__(n, g.file["/"]),
    "external link": lambda g, n, s: g.__setitem__(n, h5py.ExternalLink("/etc/hostname", "x")),
    "external storage": lambda g, n, s: g.create_dataset(
        n, s, "u1", external=[("/etc/hostname", 0, math.prod(s))]
    ),
    "virtual": lambda g, n, s: g.create_virtual_dataset(n, _virtual(s)),
}  # fmt: skip

ATTRIBUTES: dict[str, object] = {
    "empty": h5py.Empty("f4"),
    "not a number": math.nan,
    "infinite": math.inf,
    "zero": 0.0,
    "negative": -1.0,
    "large": 1e30,
    "text": "1 nm",
    "escape": "\x1b]0;owned\x07Co",
    "bytes": np.bytes_(b"caf\xe9"),
    "array": np.arange(3.0),
    "no element": np.array([], "f4"),
    "texts": ["Co", "Co"],
    "other elements": ["Xx", "<script>"],
    "one element": ["Co"],
    "truth": True,
}


@st.composite
def hdf5(draw: st.DrawFn) -> bytes:
    """A file of volumes or of a tilt series with another dataset, attribute, or other bytes."""
    import io

    sound = draw(st.sampled_from((_sound_volumes, _sound_series)))
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        sound(file)
        for _ in range(draw(st.integers(0, 2))):
            _spoil(draw, file)
    data = held.getvalue()
    return _bytes_changed(draw, data) if draw(st.integers(0, 1)) else data


def _spoil(draw: st.DrawFn, file: h5py.File) -> None:
    nodes: list[str] = ["/"]
    # Visits what hard links lead to, once.
    file.visit(nodes.append)
    arrays = [name for name in nodes if isinstance(file[name], h5py.Dataset)]
    places = [(name, fact) for name in nodes for fact in file[name].attrs]
    if arrays and draw(st.booleans()):
        name = draw(st.sampled_from(arrays))
        parent, _, own = name.rpartition("/")
        facts, shape = dict(file[name].attrs), file[name].shape
        if not shape or math.prod(map(int, shape)) > 1 << 20:
            shape = (2, 2)
        del file[name]
        made = DATASETS[draw(st.sampled_from(sorted(DATASETS)))](file[parent or "/"], own, shape)
        if isinstance(made, h5py.Dataset):
            made.attrs.update(facts)
    elif places:
        name, fact = draw(st.sampled_from(places))
        file[name].attrs[fact] = ATTRIBUTES[draw(st.sampled_from(sorted(ATTRIBUTES)))]


def _bytes_changed(draw: st.DrawFn, data: bytes) -> bytes:
    """Damage where the structure is: the first kilobytes, and the end."""
    text = bytearray(data)
    if draw(st.integers(0, 3)) == 0:
        return bytes(text[: draw(st.integers(0, len(text)))])
    for _ in range(draw(st.integers(1, 12))):
        text[draw(st.integers(0, len(text) - 1))] = draw(st.integers(0, 255))
    return bytes(text)


def feed_hdf5(path: Path) -> None:
    """What is read is finite, not negative, of one shape and can be shown."""
    refused: list[BadInput | Trouble] = []
    for load in (load_volumes, load_specimen, load_tilt_series):
        try:
            _check_content(load(path))
        except (BadInput, Trouble) as error:
            refused.append(error)
    if len(refused) == 3:
        raise refused[0]


def _check_content(found: Any) -> None:
    arrays = [getattr(found, n) for n in ("volumes", "haadf", "chemical") if hasattr(found, n)]
    for array in arrays:
        if not np.isfinite(array).all() or float(np.abs(array).max(initial=0.0)) > 1e30:
            raise Senseless("values that nothing can be")
    for name in ("voxel_size_nm", "pixel_size_nm"):
        size = getattr(found, name, None)
        if size is not None and not 0.0 < size < 1e6:
            raise Senseless(f"{name} is {size}")
    texts = [getattr(found, "name", None) or "", *getattr(found, "elements", ())]
    if not all(text.isprintable() for text in texts):
        raise Senseless(f"a text that cannot be shown: {texts!r}")


TARGETS = {
    "studies": Target(studies(), feed_study, ".toml"),
    "journals": Target(journals(), feed_journal, ".jsonl"),
    "sites": Target(sites(), feed_site, ".toml"),
    "HDF5": Target(hdf5(), feed_hdf5, ".h5"),
}
