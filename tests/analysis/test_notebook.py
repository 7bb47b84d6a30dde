"""The worked notebook runs from top to bottom in any folder, on the shipped atlas."""

from __future__ import annotations

from importlib.resources import files

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = str(files("tomoatlas.analysis") / "notebooks" / "atlas.ipynb")


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    elsewhere = {"metadata": {"path": tmp_path_factory.mktemp("elsewhere")}}
    NotebookClient(notebook, timeout=300, resources=elsewhere).execute()
    return notebook


def outputs(cell):
    return [output for output in cell.get("outputs", []) if "data" in output]


def test_it_is_kept_without_outputs():
    kept = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(kept)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in kept.cells)


def test_every_figure_comes_out_and_nothing_complains(executed):
    drawing = [c for c in executed.cells if c.cell_type == "code" and "ta.figure(" in c.source]
    assert len(drawing) == 5
    for cell in drawing:
        assert len(outputs(cell)[-1]["data"]["image/png"]) > 20_000
    streams = [o for c in executed.cells for o in c.get("outputs", []) if o.get("name") == "stderr"]
    assert streams == []


def test_the_advice_is_that_of_the_atlas_and_holds(executed):
    advice, session = (
        "".join(output["text"] for output in cell["outputs"])
        for cell in executed.cells
        if cell.cell_type == "code" and "print(" in cell.source
    )
    assert advice.startswith("haadf 0.0")
    assert "NRMSE 0.3" in advice
    assert 0.2 < float(session.split()[1].rstrip(":")) < 0.6
