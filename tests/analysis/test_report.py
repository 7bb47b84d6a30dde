from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from analysis.report import write_report
from recon_core.errors import BadInput
from recon_core.settings import Method
from sweep.driver import run
from sweep.executors.inline import InlineExecutor
from sweep.study import parse_study
from sweep.trial import TrialResult, TrialStatus

ONE_AXIS = """
[study]
name = "one axis"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = 2
chemistry_tv_trials = 2
[axes]
"acquisition.chemical_tilts" = [5, 9]
"""


@pytest.fixture
def one_axis(folder_of):
    return folder_of(parse_study(ONE_AXIS))


class Page(HTMLParser):
    """Collects what a browser would fetch, and checks that tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def whole(tmp_path_factory, study, response):
    """The folder of a finished study of two axes with its report."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run(study, folder, InlineExecutor(response))
    assert write_report(folder) == folder / "report" / "index.html"
    return folder


@pytest.fixture(scope="module")
def text(whole):
    return (whole / "report" / "index.html").read_text(encoding="utf-8")


def test_the_page_stands_alone(text):
    page = Page(text)
    assert page.open == []
    assert len(page.links) == 4
    for link in page.links:
        head, data = link.split(",", 1)
        assert head == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not re.search(r"https?://|@import|url\(", text)


def test_figures_and_atlas_lie_beside_it(whole):
    names = {path.name for path in (whole / "report").iterdir()}
    figures = ("nrmse", "baselines", "gain", "weights")
    assert names == {"index.html"} | {f"{f}.{kind}" for f in figures for kind in ("png", "pdf")}
    assert (whole / "atlas.csv").is_file()
    assert (whole / "atlas.h5").is_file()


def test_names_of_the_user_are_escaped(text):
    assert "synthetic &lt;study&gt;" in text
    assert "<study>" not in text


def test_a_complete_study_says_how_to_repeat_it(text):
    assert "Partial" not in text
    assert "90 of 90" in text
    assert "tomoatlas run study.toml" in text
    assert "astra-toolbox" in text


def test_cost_is_told_by_method(text):
    assert "<th>fused</th><td>0.025 device-hours (1 min 30 s)</td>" in text


def test_a_partial_study_is_called_so(one_axis):
    journal = one_axis / "trials.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:7]))
    assert "Partial: 7 of 12 trials" in write_report(one_axis).read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b'{"trial_id": "to'])
def test_a_study_without_results_has_a_report(one_axis, content):
    (one_axis / "trials.jsonl").write_bytes(content)
    assert "Partial: 0 of 12" in write_report(one_axis).read_text(encoding="utf-8")
    with pytest.raises(BadInput, match="no cell has a good fused trial"):
        write_report(one_axis, slices=True)


def test_failures_are_counted_by_class(folder_of, response):
    def flaky(study, trial):
        if trial.method is Method.FUSED:
            return TrialResult(TrialStatus.FAILED, error="diverged: <b>step</b> 3", seconds=1.0)
        return response(study, trial)

    text = write_report(folder_of(parse_study(ONE_AXIS), flaky)).read_text(encoding="utf-8")
    assert "<th>failed: diverged</th><td>4</td>" in text
    assert "<td>–</td>" in text


@pytest.mark.parametrize(
    ("axes", "figures"),
    [
        ("", 1),
        (
            '"solver.gamma" = [1.7, 2.0]\n"acquisition.haadf_tilts" = [9, 18]\n'
            '"acquisition.chemical_tilts" = [5, 9]',
            8,
        ),
    ],
)
def test_any_number_of_axes_has_its_figures(folder_of, axes, figures):
    head = '[study]\nname = "n"\n[specimen]\nkind = "nanocubes"\nsize = 16\n[search]\ntrials = 1\n'
    study = parse_study(f"{head}chemistry_tv_trials = 1\n[axes]\n{axes}\n")
    text = write_report(folder_of(study)).read_text(encoding="utf-8")
    assert text.count("<figure>") == figures


def test_not_a_study_folder(tmp_path):
    with pytest.raises(BadInput, match="no study was run here"):
        write_report(tmp_path)
