"""What verbs print: results, changes and pages on stdout, messages and progress on stderr; shared words."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from leads.domain.body import ICT
from leads.domain.visible_text import UNSEEN_CHARACTER, duration

MIN_COLUMN_WIDTH = 20
# A command that ends a line: `See: leads status`.
_COMMAND = re.compile(r"(?<=: )(?:leads|docker|kubectl|systemctl) [^.;]+$")
KEPT_SPACE = "\N{NO-BREAK SPACE}"
"""Stands for a space at which a line is not wrapped."""
NARROW_COLUMN = 8
"""Where text begins on a terminal that leaves fewer than MIN_COLUMN_WIDTH behind its beginning."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
FORMULA = re.compile(r"(^|;)(?=[ \"]*[=+\-@＝＋－＠\t\r\n])")
"""Where text must not begin as a formula does, which a spreadsheet runs. Names are text of others.

Excel in Vietnamese splits cells at semicolons too, and takes quotes behind them for those of a cell.
"""
BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel reads Vietnamese names in the code page of the machine."""
AS_IT_IS: dict[str, Any] = {"soft_wrap": True, "highlight": False, "markup": False, "emoji": False}
"""How a line is printed that may be text of others."""
ARROW = "→"
MAX_NAME_CELLS = 28
"""A longer name has its value behind it, and does not move those of the others to the right."""
Changes = Sequence[tuple[str, str | None, str]]
"""Of each field of a thing its name, and the texts before and after; before is None of a new thing."""
MAX_NAMED = 5
"""The number of faults of one kind that are named."""


def print_json(document: Any) -> None:
    """Print the document on stdout; times become ISO text."""
    print_line(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV for spreadsheets: numbers as they are, and no text that a spreadsheet would run."""
    text = io.StringIO()
    csv.writer(text).writerows([csv_cell(value) for value in row] for row in rows)
    return BYTE_ORDER_MARK + text.getvalue()


def csv_cell(value: object) -> str:
    """Return the text of a cell that no spreadsheet runs."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    # A number is one with any first digits.
    return FORMULA.sub(r"\1'", escape_unseen(value)) if isinstance(value, str) else str(value)


def print_result(document: Any, text: str | Callable[[], None], *, as_json: bool) -> None:
    """Print the result of a verb: the document for programs, else a text, or what a function prints."""
    if as_json:
        print_json(document)
    elif isinstance(text, str):
        print_line(text)
    else:
        text()


def print_outcome(document: Any, message: str, *, as_json: bool) -> None:
    """Print the document for programs, and say on stderr what was done."""
    if as_json:
        print_json(document)
    say(message)


def print_line(text: str) -> None:
    """Print text on stdout; what is not seen of it is escaped."""
    typer.echo(escape_unseen(text))


def say(message: str) -> None:
    """Print a message for a person on stderr, wrapped at the terminal's width; what is not seen is escaped.

    A word that is longer than a line stays whole, and a command at the end of a line: they may be copied.
    """
    typer.echo("\n".join(wrapped(line) for line in escape_unseen(message).split("\n")), err=True)


def wrapped(line: str) -> str:
    """Wrap a line at the terminal's width, between words; what follows is indented by two columns more."""
    columns = get_terminal_size().columns
    indentation = " " * (len(line) - len(line.lstrip(" ")) + 2)
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", KEPT_SPACE), line)
    made = fill(whole, columns, subsequent_indent=indentation, break_long_words=False, break_on_hyphens=False)
    return made.replace(KEPT_SPACE, " ")


class ForeignTextConsole(Console):
    """Prints text of others on stdout as it is: no markup, no emoji codes; what is not seen is escaped."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make text of a string, in which rich would only remove five of the controls."""
        return super().render_str(escape_unseen(text), **options)


def print_indented(text: str, level: int, console: Console) -> None:
    """Print text with what is not seen of it escaped; what is longer than a line goes on indented below."""
    indentation = "  " * level
    for line in Text(escape_unseen(text)).wrap(console, console.width - len(indentation), overflow="fold"):
        console.print(indentation + line.plain.rstrip(), **AS_IT_IS)


def print_in_column(beginning: str, text: str, console: Console) -> None:
    """Print text behind a beginning; what is longer than a line goes on below the text's first column.

    The beginning is the program's own. Columns are counted as the terminal shows the text.
    """
    column = cell_len(beginning)
    if console.width - column < MIN_COLUMN_WIDTH:
        # The terminal is too narrow for both: the beginning gets a separate line.
        if beginning.strip():
            console.print(beginning.rstrip(), **AS_IT_IS)
        column = NARROW_COLUMN
        beginning = " " * column
    width = max(console.width - column, 1)
    for number, line in enumerate(Text(escape_unseen(text)).wrap(console, width, overflow="fold")):
        start = " " * column if number else beginning
        console.print((start + line.plain).rstrip(), **AS_IT_IS)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Return path, value before and value after of what differs; of objects only the keys that differ."""
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from ((f"{key}.{path}", *values) for path, *values in differences(old, new))
        elif old != new:
            yield key, old, new


def text_of(value: object) -> str:
    """Return a value of a JSON document as a person reads it."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def progress_bar(*columns: ProgressColumn) -> Progress:
    """Make a progress bar on stderr that disappears at the end. It is off if stderr is not a terminal."""
    console = Console(stderr=True)
    shown = columns or (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(
        TextColumn("{task.description}"),
        *shown,
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


@contextmanager
def show_activity(description: str) -> Iterator[None]:
    """Show that work of unknown length goes on, with the elapsed time, where `progress_bar` shows a bar."""
    with progress_bar(BarColumn(), TimeElapsedColumn()) as progress:
        progress.add_task(description, total=None)
        yield


def verb_group(summary: str, details: str, epilog: str) -> typer.Typer:
    """Make a verb with subcommands. Only the summary is shown in the list of verbs."""
    return typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help=f"{summary}\n\n{details}", epilog=epilog
    )


def examples(*commands: str) -> str:
    """Format the end of a help page."""
    lines = [f"  leads {command}" for command in commands]
    return "\n".join(["\b", "Examples:", *lines, "", "The exit codes are listed by: leads --help"])


def escape_unseen(text: str) -> str:
    r"""Return the text with such characters as `\u202e`; tabs and line feeds stay."""
    if text.isprintable():
        return text
    return UNSEEN_CHARACTER.sub(_escape, text)


def one_line(text: str) -> str:
    r"""Return the text with what is not seen of it escaped, line feeds as `\n`: it adds no line to others."""
    return escape_unseen(text).replace("\n", "\\n")


def _escape(match: re.Match[str]) -> str:
    """Write a character as JSON does, so that an escaped JSON document stays the same document."""
    if match[0] in "\t\n":
        return match[0]
    return re.sub("(....)", r"\\u\1", match[0].encode("utf-16-be", "surrogatepass").hex())


def print_changes(title: str, changes: Changes, console: Console, level: int = 1) -> None:
    """Print what changes of a thing, within the width of the terminal; a long change has several lines.

    The title is indented by `level` steps, the changes by one more. Without a title they are printed alone.
    """
    if title:
        print_indented(title, level, console)
    indentation = "  " * (level + 1)
    names = [cell_len(name) for name, _, _ in changes]
    width = min(max(names, default=0), MAX_NAME_CELLS)
    for name, before, after in changes:
        beginning = f"{indentation}{set_cell_size(name, max(width, cell_len(name)))}  "
        change = after if before is None else f"{before} {ARROW} {after}"
        if before is None or cell_len(beginning + change) <= console.width:
            print_in_column(beginning, change, console)
        else:
            print_in_column(beginning, before, console)
            print_in_column(f"{' ' * cell_len(beginning)}{ARROW} ", after, console)


def shown(value: Any) -> str:
    """Return a value of a JSON document for people: a list without brackets, an empty one as `none`."""
    if isinstance(value, list) and not any(isinstance(item, list | Mapping) for item in value):
        return ", ".join(map(text_of, value)) or "none"
    return text_of(value)


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str | None, str]]:
    """Return the fields that differ, of objects in them only the keys that differ: `data.tags`."""
    return [(path, shown(old), shown(new)) for path, old, new in differences(before, after)]


def first(names: Sequence[str], most: int = MAX_NAMED) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return one_line(", ".join(names[:most])) + more


def age(then: datetime | None, now: datetime) -> str:
    """Return how long ago a time is, for example `4 min`."""
    return duration(now - then) if then else "an unknown time"


def yesterday(now: datetime) -> str:
    """Return the last day that is over in Vietnam, as options take it."""
    return f"{now.astimezone(ICT) - timedelta(days=1):%Y-%m-%d}"


def count(number: int, most: int) -> str:
    """Return a number that was counted up to `most`."""
    return f"{number}" if number < most else f"{most} or more"


def times(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def render_page(template: Path, **values: Any) -> str:
    """Return a page or text from a template of Jinja2. What is not seen of a value is escaped, and HTML."""
    # Only now: the help of `leads` imports every verb, and few need the library.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(template.parent), undefined=StrictUndefined,
        autoescape=select_autoescape(disabled_extensions=["txt.j2"], default=True),
        trim_blocks=True, lstrip_blocks=True,
        # Jinja2 escapes the rest. Markup is HTML of our own.
        finalize=lambda value: escape_unseen(value) if type(value) is str else value,
    )  # fmt: skip
    return environment.get_template(template.name).render(values)
