"""The command line of `leads status`."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from textwrap import fill
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ops.failures import LINE_LENGTH, WrongUsage
from ops.output import AsJson, escape_unseen, print_json
from ops.probes.lines import STYLES, Line, find_cause, print_lines, worst
from ops.settings import read_operator_settings
from ops.status.looking import MAY_HAVE, NEEDS, Watcher

WATCH_SECONDS = 5.0


class StatusCode(IntEnum):
    """The exit codes of this verb, which monitoring reads."""

    GREEN = 0
    YELLOW = 1
    RED = 2


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 5 s, until Ctrl-C.")] = False,
    source: Annotated[str, typer.Option(help="Name of the engine's source that has our tables.")] = "default",
    as_json: AsJson = False,
) -> None:
    """Show on one screen whether leads become tickets; if not, the cause and what helps.

    It looks at all parts at once, within 3 s, and changes nothing. Needs DATABASE_URL, HASURA_URL and
    HASURA_ADMIN_SECRET; with HANDLERS_URL, EDGE_STATUS_URL and ENCRYPTION_KEYS it also asks the handlers, the
    edge and Pancake. Exit code 0: green, 1: yellow, 2: red, or wrong usage.
    """
    if watch and as_json:
        raise WrongUsage("--watch and --json do not go together: call --json as often as you need it.")
    watcher = Watcher(read_operator_settings(*NEEDS, may_have=MAY_HAVE), source)
    console = Console()
    lines = watcher.look()
    if as_json:
        print_json(document(lines))
    else:
        show(lines, console)
    while watch:
        time.sleep(WATCH_SECONDS)
        lines = watcher.look()
        if console.is_terminal:
            console.clear()
        else:
            console.print()
        show(lines, console)
    raise typer.Exit(StatusCode[worst(lines).name])


def document(lines: Sequence[Line]) -> dict[str, object]:
    """Return a look for programs."""
    cause = find_cause(lines)
    return {
        "level": worst(lines),
        "cause": None if cause is None else cause.document(),
        "at": datetime.now(UTC),
        "lines": [line.document() for line in lines],
    }


def show(lines: Sequence[Line], console: Console) -> None:
    """Print the level with its cause, then a line for each part."""
    level, cause = worst(lines), find_cause(lines)
    text = "leads become tickets" if cause is None else f"{cause.name}: {cause.text}"
    headline = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC  {level.upper()}  {text}"
    wrapped = fill(escape_unseen(headline), LINE_LENGTH, subsequent_indent="  ", break_on_hyphens=False)
    console.print(Text(wrapped, STYLES[level]), soft_wrap=True)
    console.print()
    print_lines(lines, console)
