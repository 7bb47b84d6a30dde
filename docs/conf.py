"""The documentation site: Markdown that GitHub shows too, and pages made from the code's tables.

`python -m sphinx -W -b html docs OUT` builds it, without a network.
"""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

from tomoatlas.analysis.style import DOSE_UNIT

HERE = Path(__file__).parent
sys.path.append(str(HERE))

project = "tomoatlas"
author = "The tomoatlas project"
project_copyright = "2026, the tomoatlas project. GPL-3.0-or-later"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated",
]
root_doc = "index"
exclude_patterns = ["_build", "Thumbs.db"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# Blocks of a walk hold commands and what they print; only the commands are copied.
copybutton_prompt_text = "$ "

# Browsers show MathML by themselves: no script, and nothing from a network.
html_math_renderer = "mathml"

html_theme = "pydata_sphinx_theme"
html_title = "tomoatlas"
html_show_sourcelink = False
html_css_files = ["site.css"]
html_static_path = ["_static"]
templates_path = ["_templates"]
# Few pages, no levels: the sidebar lists them all, where the theme would list those of a section.
html_sidebars = {"**": ["pages.html"]}
html_theme_options = {
    "navbar_center": [],
    "navigation_with_keys": False,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}

autodoc_typehints = "none"  # signatures of the tables are long, and their docstrings say the units
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False

WIDE = 1.6  # width of a picture over its height
PANELS_PX = 1300  # a picture of more pixels shows panels beside each other
_ENTRY = re.compile(r"^(\S[^:]*?) : (.+)$")
_SECTION = re.compile(r"^-{3,}$")


def split_entries(*event: Any) -> None:
    """Put what a parameter is below its name: napoleon takes what follows a colon for a type."""
    lines: list[str] = event[-1]
    found: list[str] = []
    inside = False
    for line in lines:
        if _SECTION.match(line):
            inside = found[-1].strip() in ("Parameters", "Returns", "Raises", "Attributes")
        entry = _ENTRY.match(line) if inside else None
        found += [entry[1], f"    {entry[2]}"] if entry else [line]
    lines[:] = found


# Files beside docs/ that the site shows as pages; on GitHub the links lead to the files.
_PAGES = {
    "../tests/benchmarks/RESULTS.md": "results.md",
    "../CHANGELOG.md": "changelog.md",
    "../README.md#architecture": "method.md#architecture",
}
_OUTSIDE = re.compile(r"(?<=\]\()(\.\./[^)\s]+\.md(?:#[\w-]+)?)(?=\))")


def link_to_pages(*event: Any) -> None:
    """Turn links to files of the repository into links to the pages that show them."""
    source: list[str] = event[-1]
    source[0] = _OUTSIDE.sub(lambda link: _PAGES.get(link[1], "atlases.md"), source[0])


def keep_units_whole(*event: Any) -> None:
    """Have no line end within e/Å²."""
    for text in list(event[1].findall(nodes.Text)):
        inside = isinstance(text.parent, nodes.literal | nodes.literal_block | nodes.title)
        if "e/Å²" in text and not inside:
            text.parent.replace(text, nodes.Text(text.replace("e/Å²", DOSE_UNIT)))


def size_pictures(*event: Any) -> None:
    """Link pictures to their files, as Sphinx does where they have a size; mark the wide ones.

    A phone would shrink those beyond reading.
    """
    for image in event[1].findall(nodes.image):
        path = HERE / image["uri"]
        if path.suffix == ".png" and path.is_file():
            width, height = struct.unpack(">II", path.read_bytes()[16:24])
            image["width"] = f"{width}px"
            image["classes"] += ["wide"] * (width > WIDE * height or width > PANELS_PX)


def mathml(writer: Any, node: nodes.Node, *, display: bool) -> None:
    """Write an equation as MathML, which docutils makes of TeX."""
    place = ' class="equation"' if display else ""
    tag = "div" if display else "span"
    writer.body.append(f"<{tag}{place}>{tex2mathml(node.astext(), as_block=display)}</{tag}>")
    raise nodes.SkipNode


def mathml_inline(writer: Any, node: nodes.Node) -> None:
    """Write an equation within a line."""
    mathml(writer, node, display=False)


def mathml_display(writer: Any, node: nodes.Node) -> None:
    """Write an equation on a line of its own."""
    mathml(writer, node, display=True)


def setup(app: Any) -> None:
    """Change sources and docstrings before they are parsed; write equations."""
    renderers = {
        "inline_renderers": (mathml_inline, None),
        "block_renderers": (mathml_display, None),
    }
    app.add_html_math_renderer("mathml", **renderers)
    app.connect("source-read", link_to_pages)
    app.connect("doctree-resolved", keep_units_whole)
    app.connect("doctree-read", size_pictures)
    app.connect("autodoc-process-docstring", split_entries, priority=400)
