"""Code of every page, within lines of text too: commands and options exist, calls fit."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import tomoatlas as ta
from tomoatlas.jobs.cli import cli

from .pages import CODE, FENCE, PAGES, languages

COMMAND = re.compile(r"(?<!import )\btomoatlas ([a-z]+\b.*)")
END = re.compile(r" && | \| |; |…| 2>|\[OPTIONS\]")  # of a command that is part of a longer line
DOSE = "dose_e_per_A2 = 300.0"
NAMED = '[study]\nname = "block"\n'


def commands(page: Path) -> Iterator[str]:
    """What follows ``tomoatlas`` on a line of code or within a line of text."""
    text = page.read_text(encoding="utf-8")
    typed = "\n".join(languages(page, "sh"))
    prose = FENCE.sub("", text)
    indented = [line for line in prose.splitlines() if line.startswith("    ")]
    inline = CODE.findall(" ".join(line for line in prose.splitlines() if line not in indented))
    for line in [*typed.splitlines(), *indented, *inline]:
        if found := COMMAND.search(line.strip().removeprefix("$ ")):
            yield END.split(found[1])[0].replace("\\|", "|")


def parse(line: str) -> None:
    """Have click take the words apart, without looking at what they mean."""
    name, *words = shlex.split(line, comments=True)
    command = cli.commands[name]
    command.make_parser(click.Context(command, info_name=name)).parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_their_options_exist(page: Path) -> None:
    wrong = []
    for line in commands(page):
        try:
            parse(line)
        except (KeyError, ValueError, click.UsageError) as error:
            wrong.append((line, str(error)))
    assert wrong == []


def test_commands_are_found_in_blocks_and_in_text() -> None:
    found = [line for page in PAGES for line in commands(page)]
    names = {line.split()[0] for line in found}
    assert len(found) > 100
    assert names == set(cli.commands)


@pytest.mark.parametrize("line", ["runn x", "run x --ouut y", "plan --specimen"])
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises((KeyError, click.UsageError)):
        parse(line)


def calls(text: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of names of ``ta``, by name."""
    for node in ast.walk(ast.parse(textwrap.dedent(text))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            place = node.func.value
            if isinstance(place, ast.Name) and place.id == "ta":
                yield node.func.attr, node


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_calls_fit_what_is_there(page: Path) -> None:
    for text in languages(page, "python"):
        for name, call in calls(text):
            keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
            inspect.signature(getattr(ta, name)).bind(*call.args, **keywords)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_studies_and_specimens_are_valid(page: Path) -> None:
    for text in languages(page, "toml"):
        tables = tomllib.loads(text)
        # files named in it are written by the pages that are run
        if tables.get("specimen", {}).get("kind") in ("build", "nanocubes"):
            named = text if "study" in tables else NAMED + text
            # `tomoatlas plan` adds the dose that a microscope is given for
            if "microscope" in tables.get("acquisition", {}) and "study" not in tables:
                named = named.replace("[acquisition]", f"[acquisition]\n{DOSE}")
            ta.parse_study(named)
