"""The report in a real headless Chromium: what a person with a USB stick and no network sees."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tomoatlas.analysis.atlas import atlas_of
from tomoatlas.analysis.journal import JournalReader
from tomoatlas.analysis.report import data as page_data
from tomoatlas.analysis.report import write_page
from tomoatlas.analysis.report.slice_images import make_slices
from tomoatlas.jobs.commands import reconstruct as command
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus

pytestmark = pytest.mark.browser

PATIENCE_MS = 180_000
"""For a page of some MB on a busy machine; what is waited for comes at once on an idle one."""

SLICED = 4
HOSTILE = "</script><img src=x onerror=alert(1)>"
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
HEAD = '[study]\nname = "n"\n[specimen]\nkind = "nanocubes"\nsize = 16\n[search]\ntrials = 2\n'
HEAD += "chemistry_tv_trials = 2\n"

TO_PIXELS = """([column, row]) => {
  const map = document.getElementById("map"), box = map.getBoundingClientRect();
  const {xaxis, yaxis} = map._fullLayout;
  return [box.x + xaxis._offset + xaxis.l2p(column), box.y + yaxis._offset + yaxis.l2p(row)];
}"""


COLOUR = """([selector, property]) => getComputedStyle(document.querySelector(selector))[property]
  .match(/[0-9.]+/g).slice(0, 3).map(Number)"""
SEEN = (["body", "backgroundColor"], ["body", "color"], ["#map .xtick text", "fill"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as engine:
        found = engine.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


def context_of(browser: Any, **options: object) -> Any:
    """What pages are opened in."""
    context = browser.new_context(viewport=WIDE, **options)
    context.set_default_timeout(PATIENCE_MS)
    return context


class Visit:
    """A page opened from a file, with all that went wrong in it and all it asked for."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.context = context_of(browser, offline=True, has_touch=True)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("#map .main-svg")

    def heading(self) -> str:
        return self.page.inner_text("#panel h2")

    def caption(self) -> str:
        return self.page.inner_text("#caption")

    def point_at(self, column: float, row: float) -> tuple[float, float]:
        """Move to a cell until the page has seen it; where that is, in pixels."""
        x, y = self.page.evaluate(TO_PIXELS, [column, row])
        self.page.evaluate("mapBox._hoverdata = undefined")
        self.page.mouse.move(x - 3, y)
        self.page.mouse.move(x, y)
        self.page.wait_for_function("mapBox._hoverdata")
        return x, y

    def click_cell(self, column: float, row: float) -> None:
        """Point at a cell and click, until the page has heard it."""
        self.point_at(column, row)
        self.page.evaluate(
            "window.heard = false; mapBox.once('plotly_click', () => { heard = true; })"
        )
        self.page.mouse.down()
        self.page.mouse.up()
        self.page.wait_for_function("heard")

    def drawn(self) -> list[str]:
        """The texts inside the map's cells."""
        texts = self.page.locator("#map .heatmap-label text").all_text_contents()
        return [text for text in texts if text]

    def close(self) -> None:
        """Close the page, which must have been silent and content with itself."""
        self.context.close()
        assert self.said == []
        assert [url for url in self.asked[1:] if not url.startswith("data:")] == []


@pytest.fixture
def visit(browser) -> Iterator[Callable[[Path], Visit]]:
    """visit(path) opens a page of this test alone."""
    opened = []

    def make(path: Path) -> Visit:
        opened.append(Visit(browser, path))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def written(folder: Path) -> Path:
    reader = JournalReader(folder)
    return write_page(folder, reader, atlas_of(folder, reader.trials))


def damaged(study: Study, response: Any) -> Any:
    """The analytic response, but the fused trials of the second cell fail."""

    def evaluate(there, trial, device="cpu"):
        if trial.method is Method.FUSED and trial.cell.index == 1:
            return TrialResult(TrialStatus.FAILED, error=f"diverged: {HOSTILE}", seconds=1.0)
        return response(there, trial)

    return evaluate


@pytest.fixture(scope="module")
def path(tmp_path_factory, study, response) -> Path:
    """The page of a study of 3 x 3 cells, of which the second is a hole and the last unfinished."""
    folder = tmp_path_factory.mktemp("browser") / "out"
    run(study, folder, InlineExecutor(damaged(study, response)))
    journal = folder / "trials.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    reader = JournalReader(folder)
    slices = folder / "report" / "slices"
    make_slices(slices, reader.study, reader.study.cells()[SLICED], reader.trials)
    return written(folder)


@pytest.fixture(scope="module")
def page(browser, path) -> Iterator[Visit]:
    """One visit for all tests of that study: each sets what it looks at."""
    opened = Visit(browser, path)
    yield opened
    opened.close()


def test_a_click_on_a_cell_shows_it(page):
    axes = page.page.evaluate("[D.axes[D.across].label, D.axes[D.upwards].label]")
    page.click_cell(0, 2)
    first = page.heading()
    page.click_cell(2, 1)
    assert page.heading() != first
    page.page.mouse.move(1, 1)
    page.point_at(2, 1)
    hovered = page.page.inner_text("#hover")
    for told in (page.heading(), "Gain over chemistry", "Trials: "):
        assert told in hovered
    rows = [row.split("\t") for row in page.page.locator("#hover tr").all_inner_texts()]
    assert rows[0] == ["method", "NRMSE", "Co", "Cu", "O", "Au", "haadf", "tv"]
    assert [row[-2:].count("–") for row in rows[1:]] == [0, 1, 2, 2]
    assert all(float(number) > 0 for row in rows[1:] for number in row[1:6])
    values = page.page.evaluate("[D.axes[D.across].values[2], D.axes[D.upwards].values[1]]")
    for axis, value in zip(axes, values, strict=True):
        assert f"{axis} {value}" in page.heading()
    rows = page.page.locator("#panel tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == [
        "Fused",
        "Chemistry + TV",
        "ML, best-stopped (oracle)",
        "ML, converged",
    ]
    assert page.page.locator("#progress .scatterlayer .trace").count() > 3


def test_the_landscapes_of_a_cell_are_drawn_with_its_trials(page):
    page.page.evaluate(f"choose(placeOf({SLICED}))")
    for surface in ("#mean-fused", "#sigma-fused"):
        assert page.page.locator(f"{surface} .heatmaplayer image").count() == 1
        assert page.page.locator(f"{surface} .infolayer .cbfills, {surface} .cbfill").count() > 0
        assert page.page.locator(f"{surface} .scatterlayer .point").count() == 5 + 1  # and the star
    assert page.page.locator("#mean-fused .contourlayer path").count() > 0
    assert "expected NRMSE" in page.page.text_content("#mean-fused")
    assert "uncertainty" in page.page.text_content("#sigma-fused")
    assert page.page.locator("#curve-chemistry-tv .scatterlayer .point").count() == 3 + 1
    assert page.page.locator("#curve-chemistry-tv .scatterlayer .js-line").count() >= 1
    told = page.page.evaluate(
        "document.getElementById('mean-fused').data.map((t) => t.name ?? t.type)"
    )
    assert told == ["heatmap", "contour", "trial", "best"]


def test_a_landscape_tells_its_numbers_where_it_is_pointed_at(page):
    page.page.evaluate(f"choose(placeOf({SLICED}))")
    surface = page.page.locator("#mean-fused .heatmaplayer image")
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    sigma = np.array(page.page.evaluate(f"D.landscapes[{SLICED}].fused.sigma"))
    # Where least is known, no trial is near that would be told instead.
    place = np.unravel_index(sigma.argmax(), sigma.shape)
    up, across = (np.array(place) / np.array(sigma.shape)).clip(0.05, 0.95)
    page.page.mouse.move(box["x"] + across * box["width"], box["y"] + (1 - up) * box["height"])
    page.page.wait_for_selector("#mean-fused .hovertext")
    hovered = page.page.text_content("#mean-fused .hoverlayer")
    assert re.search(r"haadf [\d.]+, tv [\d.]+expected NRMSE 0\.\d{3} ± 0\.\d+", hovered)


def test_the_hover_box_leaves_its_cell_free(page):
    for size in (WIDE, NARROW):
        page.page.set_viewport_size(size)
        page.page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        page.page.evaluate("mapBox.scrollIntoView({ block: 'center' })")
        for column, row in ((0, 0), (1, 1), (2, 2)):
            page.page.mouse.move(1, 1)
            x, y = page.point_at(column, row)
            page.page.wait_for_selector("#hover", state="visible")
            box = page.page.locator("#hover").bounding_box()
            over = 0 <= x - box["x"] <= box["width"] and 0 <= y - box["y"] <= box["height"]
            assert not over
            assert 0 <= box["x"] <= size["width"] - box["width"]
            assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        table = page.page.locator("#panel .scroll").first
        wide, shown = table.evaluate("box => [box.scrollWidth, box.clientWidth]")
        assert wide <= shown, "nothing is cut off"
    page.page.set_viewport_size(WIDE)


def test_digits_are_legible_on_every_colour(page):
    page.page.select_option("#quantity", "nrmse")
    fills = page.page.locator("#map .heatmap-label text").evaluate_all(
        "all => all.filter((t) => t.textContent).map((t) => t.style.fill)"
    )
    assert {"rgb(0, 0, 0)", "rgb(255, 255, 255)"} <= set(fills)


def test_a_browser_of_2022_shows_the_page(browser, path):
    context = context_of(browser, offline=True)
    context.add_init_script(
        "delete Map.groupBy; delete Object.groupBy; delete Array.prototype.with;"
        "delete Array.prototype.toSorted; delete Array.prototype.toSpliced"
    )
    old = context.new_page()
    said: list[str] = []
    old.on("pageerror", lambda error: said.append(str(error)))
    old.goto(path.as_uri())
    old.wait_for_selector("#panel h2")
    old.evaluate("choose(placeOf(1))")
    assert "Failed trials" in old.inner_text("#panel")
    context.close()
    assert said == []


def test_slices_of_a_cell_are_part_of_the_page(page):
    page.page.evaluate(f"choose(placeOf({SLICED}))")
    images = page.page.locator("#panel .slices img")
    assert images.count() == 5 * (1 + 4)
    page.page.wait_for_function("[...document.images].every((one) => one.complete)")
    assert images.evaluate_all("all => all.every((one) => one.naturalWidth === 16)")
    assert page.page.locator("#terms .scatterlayer .trace").count() == 3
    page.page.evaluate("choose(placeOf(0))")
    assert images.count() == 0
    assert 'tomoatlas report out --cell "haadf_tilts=9' in page.page.inner_text("#panel")


def test_another_quantity_redraws_the_map(page):
    before = page.drawn()
    assert len(before) == 9
    page.page.select_option("#quantity", "gain_nrmse_ml")
    assert page.drawn() != before
    assert page.caption().startswith("Gain over ML, converged")
    page.page.select_option("#quantity", "nrmse")
    assert page.drawn() == before


def test_a_hole_is_no_value_and_tells_why(page):
    page.page.select_option("#quantity", "nrmse")
    assert page.drawn().count("×") == 1
    assert sum(text.endswith("*") for text in page.drawn()) == 1
    assert "no result (1 of 9)" in page.caption()
    place = page.page.evaluate("placeOf(1)")
    across, upwards = page.page.evaluate("[D.across, D.upwards]")
    page.click_cell(place[across], place[upwards])
    assert page.page.get_attribute("#panel", "data-cell") == "1"
    assert "Fused\tno result" in page.page.inner_text("#panel tbody")
    assert HOSTILE in page.page.inner_text("#panel")
    assert "Good trials so far: 0. A landscape needs 5." in page.page.inner_text("#panel")
    assert page.page.locator("#mean-fused").count() == 0
    assert page.page.locator("#curve-chemistry-tv .main-svg").count() > 0
    assert page.page.locator("img[src=x]").count() == 0


def test_an_accuracy_is_outlined_as_asked(page):
    page.page.select_option("#quantity", "nrmse")
    shapes = "document.getElementById('map').layout.shapes.length"
    page.page.fill("#accuracy", "0")
    none = page.page.evaluate(shapes)
    page.page.fill("#accuracy", "0.45")
    assert page.page.evaluate(shapes) > none
    assert "at or below 0.45" in page.caption()


def test_the_keyboard_is_enough(page):
    page.click_cell(0, 0)
    first = page.heading()
    page.page.focus("#map")
    page.page.keyboard.press("ArrowUp")
    page.page.keyboard.press("ArrowRight")
    assert page.heading() != first
    page.page.focus("#atlas tbody tr:nth-child(1) button")
    page.page.keyboard.press("Enter")
    assert page.page.get_attribute("#panel", "data-cell") == "0"


def test_the_table_sorts_with_holes_last(page):
    heading = page.page.locator("#atlas th button", has_text="nrmse").first
    names = page.page.locator("#atlas th").all_inner_texts()
    column = next(i for i, name in enumerate(names) if name.startswith("nrmse"))
    cells = f"#atlas tbody td:nth-child({column + 1})"
    for order in (1, -1):
        heading.click()
        texts = page.page.locator(cells).all_inner_texts()
        assert texts[-1] == "–"
        assert texts[:-1] == sorted(texts[:-1])[::order]


def test_a_telephone_shows_it_all_without_scrolling_sideways(page):
    page.page.set_viewport_size(NARROW)
    page.page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    left, panel = (page.page.locator(name).bounding_box() for name in ("#left", "#panel"))
    assert panel["y"] >= left["y"] + left["height"]
    page.page.evaluate("scrollTo(0, 0)")
    assert page.page.evaluate("mapBox.clientHeight") > 250
    page.page.touchscreen.tap(*page.page.evaluate(TO_PIXELS, [1, 1]))
    assert page.page.evaluate("D.axes[D.across].values[1]") in page.heading()
    page.page.set_viewport_size(WIDE)


def test_a_link_brings_back_cell_quantity_and_accuracy(visit, page, path):
    page.page.evaluate("choose(placeOf(3))")
    page.page.select_option("#quantity", "gain_nrmse_ml")
    address = page.page.url
    page.page.select_option("#quantity", "nrmse")
    page.page.evaluate("choose(placeOf(0))")
    page.page.evaluate("(there) => { location.hash = there; }", address.split("#")[1])
    page.page.wait_for_selector("#panel[data-cell='3']")
    assert page.page.input_value("#quantity") == "gain_nrmse_ml"
    page.page.evaluate("location.hash = 'cell=%,x&show=nothing&accuracy=-1'")
    page.page.wait_for_function("location.hash.includes('gain_nrmse_ml')")
    assert page.page.get_attribute("#panel", "data-cell") == "3"
    page.page.select_option("#quantity", "nrmse")


def test_cells_are_downloaded_as_shown(page):
    found = {}
    for kind in ("csv", "json"):
        with page.page.expect_download() as started:
            page.page.click(f"#{kind}")
        found[kind] = Path(started.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(found["csv"].splitlines()))
    records = json.loads(found["json"])
    assert len(rows) == len(records) == 9
    assert [row["nrmse"] for row in rows].count("") == 1  # the hole
    scores = page.page.evaluate("quantity('nrmse').values")
    assert [record["nrmse"] for record in records] == scores
    told = [float(row["nrmse"]) if row["nrmse"] else None for row in rows]
    assert told == scores


def test_the_command_of_a_cell_is_one_that_reconstruct_takes(page, path, tmp_path):
    (tmp_path / "TILTS.h5").touch()
    _, name, *words = shlex.split(page.page.evaluate(f"commandOf({SLICED})"))
    words[0] = str(tmp_path / words[0])
    told = command.reconstruct.make_context(name, words).params
    assert told["atlas"] is None, "refused beside weights"
    solver = JournalReader(path.parents[1]).study.solver
    for setting in ("contrast", "gamma", "regulariser", "units", "noise", "totals", "start"):
        assert told[setting] == getattr(solver, setting)
    assert (told["haadf"], told["tv"]) > (0.0, 0.0)


def test_two_cells_stand_beside_each_other(page):
    page.page.evaluate("choose(placeOf(0))")
    page.page.click("#pin")
    page.page.evaluate("choose(placeOf(8))")
    row = page.page.locator("#comparison tbody tr").first.inner_text().split("\t")
    values = page.page.evaluate("[0, 8].map((cell) => number(quantity('nrmse').values[cell]))")
    assert row[1:3] == values
    page.page.evaluate("choose(placeOf(0))")
    page.page.click("#pin")
    page.page.evaluate("choose(placeOf(8))")
    assert page.page.locator("#comparison").count() == 0


def test_the_answer_names_the_least_that_reaches_the_accuracy(page):
    page.page.evaluate("choose(placeOf(0))")
    for asked in ("0.45", "0"):
        page.page.fill("#accuracy", asked)
        scores = page.page.evaluate("byCost().map((cell) => fixedPoint(fused.values[cell]))")
        good = [score for score in scores if float(score) <= float(asked)]
        assert f"with {(good or [min(scores)])[0]}." in page.page.inner_text("#answer")
    page.page.fill("#accuracy", "0.45")


DOSES = """
[study]
name = "doses"
[specimen]
kind = "nanocubes"
size = 16
[acquisition]
counts_per_electron = { HAADF = 0.1, Co = 1e-4, Cu = 1e-4, O = 1e-4, Au = 1e-4 }
[search]
trials = 1
initial = 1
methods = ["fused"]
[axes]
"acquisition.haadf_tilts" = [9, 35]
"acquisition.chemical_tilts" = [5, 18]
"acquisition.dose_e_per_A2" = [100.0, 1000.0]
"specimen.seed" = [0, 1]
"""


def test_of_doses_the_least_counts_first_and_what_is_held_is_named(visit, folder_of):
    page = visit(written(folder_of(parse_study(DOSES)))).page
    page.fill("#accuracy", "9")
    said = page.inner_text("#answer")
    assert "dose (e/Å²) 100, chemical tilts 5, HAADF tilts 9" in said
    assert "With dose (e/Å²) 1000 instead: " in said
    assert "All at specimen seed 0." in said
    sigma = page.evaluate("number(quantity('nrmse_specimen').values[byCost()[0]], 2)")
    assert f" ± {sigma}. With " in said
    assert said.endswith("±: one deviation over specimens.")
    assert page.locator("text=Chemistry + TV").count() == 0


def test_a_served_page_takes_in_what_a_run_adds_and_stays_where_it_is(
    browser, path, serving, tmp_path
):
    folder = Path(shutil.copytree(path.parents[1], tmp_path / "out"))
    lines = (folder / "trials.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "trials.jsonl").write_bytes(b"".join(lines[:60]))
    said: list[str] = []
    with serving(folder) as server:
        live = context_of(browser).new_page()
        live.on("console", lambda message: said.append(message.text))
        live.on("pageerror", lambda error: said.append(str(error)))
        live.goto(server.address)
        live.wait_for_function("liveBox.textContent.startsWith('Live')")
        live.evaluate("window.same = true; choose(placeOf(3))")
        live.click("#pin")
        live.evaluate("choose(placeOf(5))")
        live.locator("#atlas th button").first.click()
        live.focus("#atlas tbody tr[data-cell='2'] button")
        before = live.evaluate("[location.hash, D.trials.cell.length]")
        (folder / "trials.jsonl").write_bytes(b"".join(lines))
        # What the page does by itself every few seconds, without the seconds.
        live.wait_for_function(
            "async (n) => { await ask(); return D.trials.cell.length > n; }", arg=60
        )
        after = live.evaluate("[location.hash, D.trials.cell.length]")
        assert (before[1], after) == (60, [before[0], len(lines)])
        assert live.evaluate("window.same"), "the page was not loaded anew"
        assert live.evaluate("document.activeElement.closest('tr').dataset.cell") == "2"
        assert live.get_attribute("#atlas th", "aria-sort") == "ascending"
        assert f"{len(lines)} of " in live.inner_text("header")
        assert live.locator("#comparison").count() == 1
    assert said == []
    live.evaluate("keepLive()")
    assert live.inner_text("#live").startswith("No longer live")
    live.context.close()


def test_contours_follow_the_values_and_mark_the_better_side(page):
    page.page.select_option("#quantity", "nrmse")
    # A plane that rises to the right and upwards, over unit squares of pixels.
    found = page.page.evaluate(
        "contoursOf([[1, 2, 3], [2, 3, 4]], { ticks: true, unit: '' }, [1, 1]).shapes[1].path"
    )
    lines = [[float(n) for n in re.findall(r"-?[\d.]+", part)] for part in found.split("M")[1:]]
    whole = np.array([[float(n) for n in line] for line in lines])
    sums = whole[:, :2].sum(axis=1), whole[:, 2:].sum(axis=1)
    level = sums[0].min()
    drawn, strokes = whole[np.isclose(sums[0], sums[1])], whole[~np.isclose(sums[0], sums[1])]
    assert len(drawn) == len(strokes) > 0
    assert np.allclose(drawn[:, :2].sum(axis=1), level)
    assert (strokes[:, 2:].sum(axis=1) < level).all(), "downhill"
    # Over cells whose numbers are written lines stop at the numbers.
    wide = page.page.evaluate(
        "contoursOf([[1, 2, 3], [2, 3, 4]], { unit: '' }, [60, 60]).shapes[1].path"
    )
    places = re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", wide)
    away = [np.abs(np.array(at, float) - np.round(np.array(at, float))) * 60 for at in places]
    assert away
    assert all(at[0] >= 12 or at[1] >= 5 for at in away)
    # One corner without a value: nothing is drawn beside it; a saddle has two lines.
    assert page.page.evaluate("segments([[1, 2], [2, null]], 1.5).length") == 0
    assert page.page.evaluate("segments([[1, 0], [0, 1]], 0.4).length") == 2


def test_lines_of_equal_cost_are_chosen_and_linked(page):
    page.page.select_option("#quantity", "nrmse")
    shapes = "mapBox.layout.shapes.filter((one) => one.type === 'path').length"
    assert page.page.evaluate(shapes) == 0
    costs = page.page.evaluate("D.costs.map((cost) => cost.key)")
    assert costs == ["chemical", "haadf", "tilts"], "SNRs are no dose"
    page.page.check("#contours")
    own = page.page.evaluate(shapes)
    page.page.select_option("#equal", "tilts")
    assert page.page.evaluate(shapes) > own > 0
    assert "SNRs and no dose" in page.caption()
    tilts = page.page.evaluate("D.costs[2].values")
    table = page.page.evaluate("D.cells.map((_, cell) => placeOf(cell).map(Number))")
    values = page.page.evaluate("D.axes.map((axis) => axis.values.map(Number))")
    assert tilts == [sum(values[i][at] for i, at in enumerate(place)) for place in table]
    assert "equal=tilts&contours=1" in page.page.url
    page.page.select_option("#equal", "")
    page.page.uncheck("#contours")
    assert page.page.evaluate(shapes) == 0


def test_charts_say_what_they_show_and_have_tables(page):
    page.page.evaluate(f"choose(placeOf({SLICED}))")
    names = page.page.locator("svg[role=img]").evaluate_all(
        "all => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert len(names) == page.page.locator("#panel .plot").count() == 6
    assert all(re.search(r"\d|logarithmic", name) for name in names)
    assert page.page.inner_text("#said").endswith(
        page.page.evaluate(f"number(quantity('nrmse').values[{SLICED}])")
    )
    page.page.click("#trials summary")
    page.page.wait_for_selector("#trials tbody tr")
    assert page.page.locator("#trials tbody tr").count() == 5 + 3 + 1 + 1
    page.page.click("#as-table summary")
    heads = page.page.locator("#grid-table tbody th").all_inner_texts()
    assert heads == page.page.evaluate("[...along(D.upwards)].reverse()")
    drawn = page.page.evaluate("grid((cell) => fixedPoint(quantity('nrmse').values[cell]))")
    rows = page.page.locator("#grid-table tbody tr").all_inner_texts()
    cells = [row.replace("no result", "–").split("\t")[1:] for row in reversed(rows)]
    assert cells == drawn
    page.page.click("#as-table summary")


def test_every_trial_is_in_a_table_to_sort_and_to_narrow(page):
    page.page.click("#every-trial summary")
    rows = page.page.locator("#every tbody tr")
    page.page.wait_for_selector("#every tbody tr")  # filled by an event
    held = page.page.evaluate("trialsOf.flat().length")
    assert rows.count() == min(held, 500)
    heads = page.page.locator("#every thead th").all_inner_texts()
    column = heads.index("NRMSE")
    scores = [row.split("\t")[column] for row in rows.all_inner_texts()]
    good = [float(score) for score in scores if score != "–"]
    assert good == sorted(good)
    assert scores[len(good) :] == ["–"] * (len(scores) - len(good))
    page.page.locator("#every thead button").nth(column).click()
    assert (
        page.page.locator("#every thead th").nth(column).get_attribute("aria-sort") == "descending"
    )
    first = rows.first.inner_text().split("\t")[column]
    assert float(first) == max(good)
    page.page.fill("#only", "chemistry 1")
    shown = rows.all_inner_texts()
    assert 0 < len(shown) < held
    assert all("chemistry" in row.lower() for row in shown)
    assert page.page.inner_text("#found").startswith(f"{len(shown)} of {held} trials")
    with page.page.expect_download() as download:
        page.page.click("#trials-csv")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(shown)
    assert lines[0].split(",")[-3:] == heads[-3:]
    page.page.fill("#only", "no such trial")
    assert rows.count() == 0
    assert page.page.is_disabled("#trials-csv")
    page.page.fill("#only", "")
    rows.first.locator("button").click()
    assert page.page.evaluate("indexOf(state.place)") == page.page.evaluate(
        "chosenTrials()[0].cell"
    )
    page.page.click("#every-trial summary")


@pytest.mark.parametrize(("scheme", "width"), [("dark", 390), ("light", 820), ("dark", 1440)])
def test_axe_finds_nothing(page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    script = Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    page.page.evaluate(f"if (!window.axe) {{ {script} }}")
    page.page.emulate_media(color_scheme=scheme)
    page.page.evaluate(f"state.pinned = 0; choose(placeOf({SLICED}))")
    page.page.set_viewport_size({"width": width, "height": 900})
    page.page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    found = page.page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    assert [(each["id"], each["nodes"][0]["target"]) for each in found] == []
    page.page.evaluate("state.pinned = null; choose(state.place)")
    page.page.set_viewport_size(WIDE)
    page.page.emulate_media(color_scheme="light")


def test_keys_reach_every_control_and_show_where_they_are(page):
    page.page.focus("#quantity")
    reached = ["quantity"]
    while len(reached) < 60:
        page.page.keyboard.press("Tab")
        at = page.page.evaluate(
            "(() => { const at = document.activeElement, seen = getComputedStyle(at);"
            " return [at.id || at.textContent.slice(0, 20), seen.outlineStyle !== 'none'"
            " && parseFloat(seen.outlineWidth) > 0]; })()"
        )
        reached.append(at[0])
        assert at[1], f"no focus to be seen on {at[0]}"
        if at[0] == "pin":
            break
    for control in ("quantity", "accuracy", "common", "contours", "equal", "map", "csv", "pin"):
        assert control in reached


def test_paper_loses_no_column(page):
    page.page.emulate_media(media="print", color_scheme="dark")
    page.page.set_viewport_size({"width": 680, "height": 960})
    page.page.evaluate("onPaper(true)")
    wide = page.page.evaluate(
        # The table of all cells has pages of its own, on their side.
        "Math.max(...[...document.querySelectorAll('table:not(#atlas), .plot')]"
        ".map((one) => one.getBoundingClientRect().right))"
    )
    ink = page.page.evaluate(COLOUR, ["#map .xtick text", "fill"])
    page.page.evaluate("onPaper(false)")
    page.page.emulate_media(media="screen", color_scheme="light")
    page.page.set_viewport_size(WIDE)
    assert wide <= 681
    assert luminance(ink) < 0.05, "dark ink, whatever the screen's scheme"


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_text_is_legible_in_both_schemes(page, scheme):
    page.page.emulate_media(color_scheme=scheme)
    page.page.evaluate("new Promise(requestAnimationFrame)")
    colours = [page.page.evaluate(COLOUR, where) for where in SEEN]
    paper, ink, tick = (luminance(colour) for colour in colours)
    assert (paper < 0.05) == (scheme == "dark")
    for text in (ink, tick):
        assert (max(text, paper) + 0.05) / (min(text, paper) + 0.05) > 7


def luminance(colour: list[float]) -> float:
    """Relative luminance of sRGB (WCAG 2)."""
    linear = [c / 3294.6 if c <= 10.31 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("axes", "marks"),
    [
        ("", ".barlayer .point"),
        (
            '"solver.gamma" = [1.7, 2.0]\n"acquisition.haadf_tilts" = [9, 18]\n'
            '"acquisition.chemical_tilts" = [5, 9]',
            ".heatmap-label",
        ),
    ],
)
def test_any_number_of_axes(visit, folder_of, axes, marks):
    page = visit(written(folder_of(parse_study(f"{HEAD}[axes]\n{axes}\n"))))
    assert page.page.locator(f"#map {marks}").count() >= 4
    if "gamma" in axes:
        page.page.select_option("#axis-0", "0")
        before = page.heading()
        page.page.select_option("#axis-0", "1")
        assert page.heading() != before


def test_a_point_of_a_curve_can_be_clicked(visit, folder_of):
    study = parse_study(f'{HEAD}[axes]\n"acquisition.chemical_tilts" = [5, 9, 18]\n')
    page = visit(written(folder_of(study)))
    page.click_cell(1, page.page.evaluate("D.quantities[0].values[1]"))
    assert page.heading() == "Chemical tilts 9"


def test_a_page_of_many_cells_names_the_command_for_a_landscape(visit, folder_of, monkeypatch):
    monkeypatch.setattr(page_data, "LANDSCAPES", 0)
    text = HEAD.replace("trials = 2\n", "trials = 5\n")
    study = parse_study(f'{text}[axes]\n"acquisition.chemical_tilts" = [5, 9]\n')
    panel = visit(written(folder_of(study))).page.inner_text("#panel")
    assert "many cells: tomoatlas figure landscape out --cell chemical_tilts=9" in panel
    assert "many cells." in panel


def test_a_page_without_any_result_says_so(visit, folder_of):
    folder = folder_of(parse_study(f'{HEAD}[axes]\n"acquisition.chemical_tilts" = [5, 9]\n'))
    (folder / "trials.jsonl").write_bytes(b"")
    page = visit(written(folder))
    assert "no result yet" in page.caption()
    assert "No trial of this cell has ended yet." in page.page.inner_text("#panel")
    assert "Partial: 0 of" in page.page.inner_text("#partial")
