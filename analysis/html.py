"""The few pieces of HTML that a report needs; every text given is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template

_PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
figure { margin: 1rem 0 2rem; } figure img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: 0.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.85rem; }
th, td { padding: 0.2rem 0.6rem; text-align: right; border-bottom: 1px solid #e5e5e5; }
th { border-bottom: 2px solid #999; } tr:hover td { background: #f4f7fb; }
pre { background: #f6f6f6; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
.notice { background: #fff3cd; border-left: 4px solid #e69f00; padding: 0.6rem 1rem; }
</style></head><body>
$body
</body></html>
""")


def page(title: str, parts: Iterable[str]) -> str:
    """A whole document: ``parts`` are HTML, the title is text."""
    return _PAGE.substitute(title=escape(title), body="\n".join(parts))


def heading(text: str, level: int = 2) -> str:
    """``<h2>``, or another level."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """A paragraph of text."""
    return f"<p>{escape(text)}</p>"


def notice(text: str) -> str:
    """A paragraph that must not be overlooked."""
    return f'<p class="notice">{escape(text)}</p>'


def code(text: str) -> str:
    """A block of text as it stands."""
    return f"<pre>{escape(text)}</pre>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of text that scrolls sideways where it is wider than the window."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def facts(pairs: Mapping[str, str]) -> str:
    """A table of two columns without a header."""
    body = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in pairs.items())
    return f"<table>{body}</table>"


def picture(png: bytes, caption: str) -> str:
    """A figure inside the page, as a data URI."""
    data = base64.b64encode(png).decode("ascii")
    shown = escape(caption, quote=True)
    return (
        f'<figure><img alt="{shown}" src="data:image/png;base64,{data}">'
        f"<figcaption>{shown}</figcaption></figure>"
    )
