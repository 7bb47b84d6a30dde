"""The worked notebook runs from top to bottom on the committed atlas."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "analysis" / "notebooks" / "atlas.ipynb"


@pytest.fixture(scope="module")
def executed():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": NOTEBOOK.parent}}
        ).execute()
    return notebook


def outputs(cell):
    return [output for output in cell.get("outputs", []) if "data" in output]


def test_it_is_kept_without_outputs():
    kept = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(kept)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in kept.cells)


def test_every_figure_comes_out_and_nothing_complains(executed):
    drawing = [c for c in executed.cells if c.cell_type == "code" and "_figure(" in c.source]
    assert len(drawing) == 5
    for cell in drawing:
        assert len(outputs(cell)[-1]["data"]["image/png"]) > 20_000
    streams = [o for c in executed.cells for o in c.get("outputs", []) if o.get("name") == "stderr"]
    assert streams == []


def test_the_advice_is_that_of_the_atlas(executed):
    said = "".join(output["text"] for output in executed.cells[-1]["outputs"])
    assert said.startswith("haadf 0.0")
    assert "NRMSE 0.3" in said
