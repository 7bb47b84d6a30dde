"""The pages as tests read them.

A line is *typed* that stands in a block of shell, or indented after a dollar sign; what follows the
latter is what was printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = re.compile(r"`([^`]+)`")
FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?[^\n]*\n(.*?)^```$', re.M | re.S)
PART = re.compile(FENCE.pattern + r"|^ {4}\$ ([^\n]+)$|^\|([^\n]+)\|$", re.M | re.S)
SHELL = ("sh", "bash")


class Block(NamedTuple):
    """A part of a page that can be run; its language is that of its fence, `sh` of a typed line,
    and `row` of a command in a table."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    for found in PART.finditer(text):
        language, title, body, typed, row = found.groups()
        line = text[: found.start()].count("\n") + 1
        if body is not None:
            yield Block(page, line, "sh" if language in SHELL else language, title, body)
        elif typed is not None:
            yield Block(page, line, "sh", None, typed)
        else:
            for code in CODE.findall(row):
                if "tomoatlas " in code:
                    yield Block(page, line, "row", None, code.replace("\\|", "|"))


def languages(page: Path, language: str) -> list[str]:
    """Blocks in a language, as they stand."""
    return [block.text for block in blocks(page) if block.language == language]


@contextmanager
def working_in(folder: Path, files: Mapping[str, str]) -> Iterator[Path]:
    """The folder in which a page is read, with the files that it shows."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def shown(page: Path) -> dict[str, str]:
    """The files that a page shows, by name."""
    return {block.title: block.text for block in blocks(page) if block.title is not None}
