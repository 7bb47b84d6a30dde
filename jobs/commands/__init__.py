"""Options and argument types shared by several commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...recon_core.errors import BadInput, printable
from ...recon_core.machine import DEVICES
from ...recon_core.registry import Registry
from ...recon_core.toml import toml_tables

if TYPE_CHECKING:
    from ...sweep.estimate import Share

T = TypeVar("T")
FilePath = click.Path(path_type=Path)

quiet_option: Callable[..., Any] = click.option(
    "-q", "--quiet", is_flag=True, help="Print only requested results and errors."
)
force_option: Callable[..., Any] = click.option(
    "--force", is_flag=True, help="Replace the output file if it exists."
)
json_option: Callable[..., Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object."
)
device_option: Callable[..., Any] = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="What to compute on; auto is a GPU if there is one and CuPy is installed. cuda-half "
    "stores the TV dual at half precision: faster, smaller, and noted in the record.",
)
out_option: Callable[..., Any] = click.option(
    "--out", type=FilePath, required=True, metavar="F.h5", help="The HDF5 file to write."
)


class Snr(click.ParamType["float | dict[str, float]"]):
    """``2.5`` for all elements, or ``Co=1.9,O=2.7`` for each."""

    name = "snr"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | dict[str, float]:
        """Parse the number, or the number of each element.

        Parameters
        ----------
        value : the text of the option.
        param : the option, for click's error.
        ctx : click's context, for its error.

        Raises
        ------
        click.BadParameter : neither form, or an element named twice.
        """
        text = str(value)
        try:
            if "=" not in text:
                return float(text)
            # float() below rejects an empty or misspelt number.
            pairs = [pair.partition("=") for pair in text.split(",")]
            numbers = {element.strip(): float(number) for element, _, number in pairs}
        except ValueError:
            self.fail(f"{text!r} is neither a number nor El=number,El=number.", param, ctx)
        if len(numbers) < len(pairs):
            self.fail(f"{text!r} names an element twice.", param, ctx)
        return numbers


class Elements(click.ParamType[tuple[str, ...]]):
    """``Co,O``: symbols of elements, each kept once."""

    name = "elements"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,  # noqa: ARG002
    ) -> tuple[str, ...]:
        """Parse the symbols, with commas, semicolons or spaces between them.

        Parameters
        ----------
        value : the text of the option.
        param : the option, which an error names.
        ctx : click's context.

        Raises
        ------
        BadInput : none, or one that is no chemical element.
        """
        from ...recon_core.tiltseries import SYMBOLS

        if isinstance(value, tuple):
            return value
        found = tuple(dict.fromkeys(re.findall(r"[^\s,;]+", str(value))))
        wrong = [name for name in found if name not in SYMBOLS]
        if wrong or not found:
            option = "--elements" if param is None else param.opts[0]
            shown = ",".join(wrong) or value
            raise BadInput("no element", key=option, value=shown, accepted="symbols such as Co,O")
        return found


class Walltime(click.ParamType[int]):
    """``HH:MM:SS`` or ``D-HH:MM:SS``, in seconds."""

    name = "walltime"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002
        ctx: click.Context | None,  # noqa: ARG002
    ) -> int:
        """Parse the walltime into seconds.

        Parameters
        ----------
        value : the text of the option.
        param : the option.
        ctx : click's context.

        Raises
        ------
        BadInput : neither form.
        """
        from ..batch import parse_walltime

        return value if isinstance(value, int) else parse_walltime(str(value))


class ShareOfCells(click.ParamType["Share"]):
    """``K/N``: the K-th of N shares of the cells."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Share:
        """Parse the two numbers.

        Parameters
        ----------
        value : the text of the option.
        param : the option, for click's error.
        ctx : click's context, for its error.

        Raises
        ------
        BadInput : there is no such share.
        click.BadParameter : not two numbers.
        """
        from ...sweep.estimate import Share

        if isinstance(value, Share):
            return value
        number, _, of = str(value).partition("/")
        if not (number.isdecimal() and of.isdecimal()):
            self.fail(f"{value!r} is not K/N, as in 1/4.", param, ctx)
        return Share(int(number), int(of))


def parameters_of(settings: tuple[str, ...], option: str = "--set") -> dict[str, Any]:
    """The values of ``KEY=VALUE``: numbers, true, false and lists as in TOML, else text.

    Parameters
    ----------
    settings : as typed; dots in a key are tables.
    option : that they were given by, for the error.

    Raises
    ------
    BadInput : no ``KEY=VALUE``, or a key below one that has a value.

    Examples
    --------
    >>> parameters_of(("edge=3.5", "bodies.gold.count=20", "material=Au"))
    {'edge': 3.5, 'bodies': {'gold': {'count': 20}}, 'material': 'Au'}
    """
    found: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise BadInput("not a parameter", key=option, value=text, accepted="KEY=VALUE")
        # Dots are tables, as in the axes of a study: bodies.gold.count.
        *above, last = key.strip().split(".")
        table = found
        for step in above:
            table = table.setdefault(step, {})
            if not isinstance(table, dict):
                raise BadInput("below a value", key=option, value=text, accepted="KEY=VALUE")
        try:
            table[last] = toml_tables(f"value = {value}", option)["value"]
        except BadInput:
            # What is no TOML is text: quotes would have to survive the shell.
            table[last] = value.strip()
    return found


def print_lines(text: str) -> None:
    """Print a text of several lines, of which a terminal shows every character and obeys none.

    Parameters
    ----------
    text : with names out of files.
    """
    click.echo("\n".join(map(printable, text.splitlines())))


def print_notes(notes: Iterable[str], err: bool = False) -> None:
    """Print notes, a line each.

    Parameters
    ----------
    notes : with names out of files.
    err : whether they go to stderr.
    """
    for note in notes:
        click.echo(printable(f"note: {note}"), err=err)


def print_entries(registry: Registry[T], text: Callable[[str, T], str]) -> None:
    """Print a line for each entry of a registry; one that does not load is named with its error.

    Parameters
    ----------
    registry : what there is.
    text : the line of an entry, behind its name, from the name and the entry.
    """
    for name in registry.names():
        try:
            found = registry.get(name)
        except BadInput as error:  # the others are still there
            click.echo(f"{name:<14} {error}")
            continue
        click.echo(f"{name:<14} {text(name, found)}")


def beside(path: Path, suffix: str) -> Path:
    """Name a file like another one, but for its end.

    Parameters
    ----------
    path : of a file.
    suffix : of the new name.

    Raises
    ------
    BadInput : a path without a name, which is a folder.

    Examples
    --------
    >>> beside(Path("tilts.h5"), ".png").name
    'tilts.png'
    """
    if not path.name:
        raise BadInput("is a folder", source=path, accepted="a file")
    return path.with_suffix(suffix)


def refuse_existing(path: Path, force: bool, *read: Path) -> None:
    """Stop before any work whose result could not be written.

    Parameters
    ----------
    path : the output file.
    force : whether an existing file may be replaced.
    *read : files that the work is done from: they are never replaced.

    Raises
    ------
    BadInput : the file exists and must not be replaced, or its folder does not exist.
    """
    # Before the work: an hour of computing must not end at an existing file.
    if path.exists() and not force:
        raise BadInput("exists already", source=path, accepted="a new file, or --force")
    if path.exists() and any(path.samefile(source) for source in read if source.exists()):
        accepted = "another file; --force replaces no file that is read"
        raise BadInput("read here", source=path, accepted=accepted)
    if path.is_dir():
        raise BadInput("is a folder", source=path, accepted="a file")
    if not path.parent.is_dir():
        raise BadInput("no such folder", source=path.parent, accepted="an existing folder")
