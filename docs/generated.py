"""Directives for what stands in the code once: keys of a study, commands, figures, atlases, names.

Each directive writes a page from the tables that the program itself reads, so that no page can say
anything else: see ``DIRECTIVES``.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.util.docutils import SphinxDirective

import tomoatlas as ta
from tomoatlas.analysis import atlas_names
from tomoatlas.analysis.atlas import Atlas
from tomoatlas.analysis.figures import FIGURES, MAP, TRIALS
from tomoatlas.jobs import shipped_names
from tomoatlas.jobs.cli import cli
from tomoatlas.sweep.study.identity import EDITIONS, LATER, UNHASHED

ATLAS = "fig4_nanocubes_64"
CONDITION = "haadf_tilts=47,chemical_tilts=9"  # of the pictures beside the atlas
_ENTRY = re.compile(r"^(\w[\w, ]*) : (.+)$")
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
_UNITS = {
    "_deg": "°", "_nm": "nm", "_px": "pixels", "_e_per_A2": "e/Å²", "_pA": "pA", "_us": "µs",
    "_seconds": "s", "_gb": "GiB", "_sr": "sr", "_mrad": "mrad", "_kV": "kV",
}  # fmt: skip


def meanings(table: type[BaseModel]) -> dict[str, str]:
    """Key → what its line under "Parameters" of the table's docstring says."""
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in inspect.cleandoc(table.__doc__ or "").splitlines():
        if line == "Parameters" or set(line) == {"-"}:
            inside = True
        elif inside and (entry := _ENTRY.match(line)):
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif inside and line.startswith("    "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        elif line:
            inside = False  # the next section
    return {name: _ROLE.sub(r"`\1`", text.replace("``", "`")) for name, text in found.items()}


def unit(key: str) -> str:
    """The unit that the end of a key names; empty for a number without one, or a word."""
    return next((name for end, name in _UNITS.items() if key.endswith(end)), "")


def as_toml(value: object) -> str:
    """A value as a study file has it, in code; a dash where the key is left out."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return "–" if value is None else f"`{json.dumps(value, ensure_ascii=False, default=list)}`"


def standard(field: FieldInfo) -> str:
    """The default of a key in the first edition."""
    if field.is_required():
        return "required"
    return as_toml(field.get_default(call_default_factory=True))


def later_defaults(path: str) -> str:
    """Editions that give a key another default, as ``2, 3: "fitted"``."""
    values: dict[str, list[int]] = {}
    for edition, defaults in EDITIONS.items():
        if path in defaults:
            values.setdefault(as_toml(defaults[path]), []).append(edition)
    return "; ".join(f"{', '.join(map(str, found))}: {text}" for text, found in values.items())


def part(path: str) -> str:
    """Whether a key is part of a trial's identity: what is searched, and how, is none."""
    if path in UNHASHED or path.startswith(("study.name", "search.", "limits.")):
        return "no"
    if path not in LATER:
        return "yes"
    return "unless left out" if LATER[path] is None else f"unless {as_toml(LATER[path])}"


def models(annotation: object) -> Iterator[type[BaseModel]]:
    """Tables inside an annotation, as of ``Fidelity | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from models(argument)


def rows(table: type[BaseModel], above: str) -> Iterator[str]:
    """A row of Markdown for each key, those of tables within a table too."""
    means = meanings(table)
    for key, field in table.model_fields.items():
        path = f"{above}.{key}"
        inner = list(models(field.annotation))
        if not inner or not field.is_required():
            name, text = f"`{path.partition('.')[2]}`", means[key].replace("|", "\\|")
            # what it is stands early: on a phone the last columns are off the screen
            cells = (name, standard(field), text, unit(key), later_defaults(path), part(path))
            yield "| " + " | ".join(cells) + " |"
        for model in inner:
            yield from rows(model, path)


def study_keys() -> str:
    """Every key of a study file, a table of Markdown for each of its tables."""
    lines = []
    for name, field in ta.Study.model_fields.items():
        for table in models(field.annotation):
            head = "| key | default | is | unit | newer editions | in a trial's identity |"
            found = filled([head, "|---|---|---|---|---|---|", *rows(table, name)])
            lines += [f"## [{name}]", "", *found, ""]
    return "\n".join(lines)


_BAR = re.compile(r"(?<!\\)\|")


def filled(table: list[str]) -> list[str]:
    """A table of Markdown without the columns that are empty below its head."""
    cells = [[cell.strip() for cell in _BAR.split(row)[1:-1]] for row in table]
    kept = [column for column in zip(*cells, strict=True) if any(column[2:])]
    return [f"| {' | '.join(row)} |" for row in zip(*kept, strict=True)]


def shipped_studies() -> str:
    """The shipped studies, their conditions, and whether the atlas of one ships too."""
    lines = ["| study | edition | specimen | voxels | axes | atlas |", "|---|---|---|---|---|---|"]
    for name in shipped_names():
        study = ta.load_study(name)
        sizes = [(len(values), path.split(".")[-1]) for path, values in study.axes.items()]
        axes = " × ".join(f"{size} `{key}`" for size, key in sizes)
        atlas = f"[read](#{name.replace('_', '-')})" if name in atlas_names() else "–"
        edge, edition = f"{study.specimen.size}³", study.study.edition or 1
        cells = (f"`{name}`", edition, study.specimen.kind, edge, axes, atlas)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def best_and_worst(atlas: Atlas) -> str:
    """The range of the fused NRMSE over the cells."""
    found = atlas.table["nrmse"].dropna()
    return f"{found.min():.2f} to {found.max():.2f}"


def shipped_atlases(page: Path) -> str:
    """The shipped atlases, newest edition first: a table, then each in the words beside it."""
    atlases = {name: ta.load_atlas(name) for name in atlas_names()}
    edition = {name: atlas.setting("study.edition") or 1 for name, atlas in atlases.items()}
    names = sorted(atlases, key=lambda name: (-edition[name], name))
    head = ["| atlas | edition | cells | trials | fused NRMSE |", "|---|---|---|---|---|"]
    for name in names:
        atlas = atlases[name]
        trials = len(atlas.trials) if atlas.trials is not None else "–"
        cells = (f"[{name}](#{name.replace('_', '-')})", edition[name], len(atlas.table), trials)
        head.append("| " + " | ".join(map(str, cells)) + f" | {best_and_worst(atlas)} |")
    lines = [*head, ""]
    for name in names:
        beside = Path(__file__).parents[1] / "analysis" / "atlases" / name / "README.md"
        place = Path(os.path.relpath(beside, page)).as_posix()
        include = [f"```{{include}} {place}", ":heading-offset: 2", ":relative-images:", "```", ""]
        lines += [f"## {name}", "", *include]
    return "\n".join(lines)


def command_help() -> str:
    """What ``--help`` prints, of every command in the order of a session."""
    context = click.Context(cli, info_name="tomoatlas", terminal_width=88)
    lines = []
    for name, command in cli.commands.items():
        inner = click.Context(command, info_name=name, parent=context, terminal_width=88)
        lines += [f"## {name}", "", "```text", command.get_help(inner), "```", ""]
    return "\n".join(lines)


def picture(name: str, needs: str, folder: Path) -> Path | None:
    """A figure of the shipped atlas: drawn now where no solve is needed, else the one beside it."""
    if needs not in (MAP, TRIALS):
        kept = Path(__file__).parents[1] / "analysis" / "atlases" / ATLAS / f"{name}.png"
        return kept if kept.exists() else None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    if not path.exists():
        ta.figure(name, ATLAS).savefig(path, dpi=160)
    return path


class Markdown(SphinxDirective):
    """A directive that writes Markdown into the page."""

    has_content = False

    def markdown(self) -> str:
        """The text that stands in the directive's place."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """The text, parsed as the page around it."""
        # headings of the text become sections of the page
        return self.parse_text_to_nodes(self.markdown(), allow_section_headings=True)


class StudyKeys(Markdown):
    """``study-keys``."""

    def markdown(self) -> str:
        """Tables of keys."""
        return study_keys()


class CommandHelp(Markdown):
    """``command-help``."""

    def markdown(self) -> str:
        """Sections of commands."""
        return command_help()


class FigureGallery(Markdown):
    """``figure-gallery``."""

    def markdown(self) -> str:
        """A section for each figure, with the command that draws it."""
        folder = Path(self.env.app.doctreedir) / "gallery"
        page = Path(self.env.doc2path(self.env.docname)).parent
        lines = []
        for name in FIGURES.shipped():
            entry = FIGURES.get(name)
            lines += [f"## {name}", "", entry.shows[0].upper() + entry.shows[1:] + ".", ""]
            found = picture(name, entry.needs, folder)
            if found:
                place = Path(os.path.relpath(found, page)).as_posix()
                lines += [f"![{entry.shows}]({place})", ""]
            cell = "" if entry.needs in (MAP, TRIALS) else f" --cell {CONDITION}"
            command = f"tomoatlas figure {name} {ATLAS}{cell} --out {name}.png"
            lines += ["```sh", command, "```", ""]
            lines += [f"Drawn from `{entry.needs}`.", ""]
        return "\n".join(lines)


class ShippedStudies(Markdown):
    """``shipped-studies``."""

    def markdown(self) -> str:
        """A table."""
        return shipped_studies()


class ShippedAtlases(Markdown):
    """``shipped-atlases``."""

    def markdown(self) -> str:
        """A table, and a section for each."""
        return shipped_atlases(Path(self.env.doc2path(self.env.docname)).parent)


class PublicNames(Markdown):
    """``public-names``: the names of ``import tomoatlas as ta``, by autodoc."""

    def markdown(self) -> str:
        """An entry for each name, classes with their own methods."""
        lines = []
        for name in ta.__all__:
            if name.startswith("__"):
                continue
            kind = "class" if inspect.isclass(getattr(ta, name)) else "function"
            # autodoc's own language is reStructuredText
            entry = f".. auto{kind}:: tomoatlas.{name}"
            lines += [f"## {name}", "", "```{eval-rst}", entry, "```", ""]
        return "\n".join(lines)


DIRECTIVES: dict[str, type[Directive]] = {
    "study-keys": StudyKeys,
    "command-help": CommandHelp,
    "figure-gallery": FigureGallery,
    "public-names": PublicNames,
    "shipped-studies": ShippedStudies,
    "shipped-atlases": ShippedAtlases,
}


def setup(app: object) -> dict[str, bool]:
    """Register the directives."""
    for name, directive in DIRECTIVES.items():
        app.add_directive(name, directive)  # type: ignore[attr-defined]
    return {"parallel_read_safe": True}
