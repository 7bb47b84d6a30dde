"""Figures of others: one file, or one entry point; the modules of the others stay unread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tomoatlas.analysis.figures import FIGURES, Entry
from tomoatlas.jobs.cli import main

FIGURE = """
from matplotlib.figure import Figure

from tomoatlas.analysis.figures import TRIALS, Entry


def draw(source):
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot(source.trials["nrmse"].to_numpy(), "o", gid="one-dot-a-trial")
    return figure


DOTS = Entry("every trial in its order", TRIALS, draw)
"""


@pytest.fixture
def dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    info = tmp_path / "site" / "tomo_dots-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tomo-dots\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tomoatlas.figures]\ndots = tomo_dots:DOTS\nbroken = tomo_dots:NONE\n"
    )
    (tmp_path / "site" / "tomo_dots.py").write_text(FIGURE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    FIGURES.refresh()
    yield
    monkeypatch.undo()
    FIGURES.refresh()


@pytest.mark.usefixtures("dots")
def test_a_plugin_s_figure_is_listed_and_drawn(folder, tmp_path, capsys):
    assert main(["figure", "--list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "every trial in its order" in lines["dots"]
    assert "tomo-dots" in lines["broken"]
    assert "nrmse" in lines
    out = tmp_path / "f.svg"
    assert main(["figure", "dots", str(folder), "--out", str(out), "-q"]) == 0
    assert "one-dot-a-trial" in out.read_text()
    assert main(["figure", "broken", str(folder), "--out", str(tmp_path / "b.svg")]) == 2
    error = capsys.readouterr().err
    assert "tomo-dots" in error
    assert error.count("\n") == 1


def test_a_file_s_figure_is_drawn(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dots.py").write_text(FIGURE)
    assert main(["figure", "dots.py", str(folder), "-q"]) == 0
    assert Path("dots.png").is_file()


def test_every_figure_is_an_entry():
    assert all(isinstance(FIGURES.get(name), Entry) for name in FIGURES.shipped())


def test_drawing_loads_no_other_figure():
    code = (
        "import sys, tomoatlas.analysis.figures.draw\n"
        "found = [m for m in sys.modules if m.startswith('tomoatlas.analysis.figures.')]\n"
        "assert found == ['tomoatlas.analysis.figures.draw'], found\n"
        "assert 'tomoatlas.recon_core.solver' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
