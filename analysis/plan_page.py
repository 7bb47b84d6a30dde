"""The page of a plan: one self-contained HTML file with its answer, tables and contours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..phantoms.formats.files import write_aside
from .figures.draw import page_picture
from .figures.plan import plan_figure
from .plan import Plan
from .style import DOSE_UNIT
from .surface import Expected, dose_label

CHANNELS = ("", "tilts", "dwell / µs", "SNR", "NRMSE", "nine of ten")


def write_plan(path: Path, found: Plan, answer: str) -> None:
    """Write the page of a plan.

    Parameters
    ----------
    path : of the HTML file, which is replaced.
    found : the plan.
    answer : it in a paragraph.
    """
    from .report import rendered  # with plotly, which the answer alone does without

    page = rendered(
        "plan.html",
        facts=_facts(found),
        answer=answer,
        header=CHANNELS,
        rows=list(_rows(found)),
        picture=page_picture(lambda: plan_figure(found)),
        contours=_contours(found),
        front=[(dose_label(dose), f"{nrmse:.3f}") for dose, nrmse in found.front],
        changes=[(change.what, _percent(change.factor - 1)) for change in found.changes],
        assumed=found.assumed,
    )
    page = page.replace("e/Å²", DOSE_UNIT)
    write_aside(path, lambda part: part.write_text(page, encoding="utf-8"))


def _facts(found: Plan) -> dict[str, str]:
    choice, weights = found.choice, found.weights
    reached = {None: "none given", True: "reached", False: "out of reach"}
    return {
        "dose": f"{dose_label(choice.dose)} e/Å²",
        "share of HAADF": f"{choice.share:.0%}",
        "HAADF images": str(choice.images),
        "chemical maps": str(choice.maps),
        "weights": f"haadf {weights.haadf:.3g}, tv {weights.tv:.3g}",
        "beam time": f"{found.hours:.1f} h",
        "target": reached[found.reached],
        "trials": str(found.trials),
    }


def _rows(found: Plan) -> Iterator[tuple[str, ...]]:
    """Every channel: what it takes, and what it gives."""
    choice = found.choice
    dwell = {name: dose_label(value) for name, value in found.dwell_us.items()}
    snr = {name: f"{value:.4g}" for name, value in found.snr.items()}
    yield "HAADF", str(choice.images), dwell["haadf"], snr["HAADF"], "–", "–"
    for name, each in found.by_element.items():
        yield name, str(choice.maps), dwell["chemical"], snr[name], *_expected(each)
    yield "mean", "", "", "", *_expected(found.expected)


def _percent(change: float) -> str:
    return f"{change:+.0%}".replace("-", "−")


def _expected(each: Expected) -> tuple[str, str]:
    return f"{each.nrmse:.3f}", f"{each.low:.3f} to {each.high:.3f}"


def _contours(found: Plan) -> str:
    """The picture in words."""
    (least, worst), (most, best) = found.front[0], found.front[-1]
    low, high = found.range_of_maps
    return (
        f"Left: lines of equal NRMSE over the dose, {dose_label(least)} to {dose_label(most)} "
        f"e/Å², and {low} to {high} maps, the choice a star; lines of equal dose are upright. "
        f"Right: the best NRMSE of every dose, {worst:.3f} to {best:.3f}."
    )
