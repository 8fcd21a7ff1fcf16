"""What a look says of one part, as a line of the screen, and which line names the cause."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.text import Text

from ops.failures import LINE_LENGTH
from ops.output import KEPT_SPACE, escape_unseen

NAME_COLUMNS = 15
LEVEL_COLUMNS = 8
TEXT_COLUMNS = LINE_LENGTH - LEVEL_COLUMNS - NAME_COLUMNS
# A call of leads, up to what ends it within a sentence.
_COMMAND = re.compile(r"(?:^|(?<=[:;] )|(?<=then ))leads [^;,]+")
INDENTATION = " " * (LEVEL_COLUMNS + NAME_COLUMNS)


class Level(StrEnum):
    """How well a part is. UNKNOWN: it was not looked at, or cannot be said; that makes no look worse."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    UNKNOWN = "-"


STYLES = {Level.GREEN: "green", Level.YELLOW: "yellow", Level.RED: "bold red", Level.UNKNOWN: "dim"}


@dataclass(frozen=True, slots=True)
class Line:
    """One part: its name, its level, what was found, and the command or action that helps.

    A symptom is what people see of another part's problem: it is the cause only if no other line is red.
    """

    name: str
    level: Level
    text: str
    helps: str = ""
    is_symptom: bool = False

    def document(self) -> dict[str, Any]:
        return asdict(self)


def worst(lines: Sequence[Line]) -> Level:
    """Return the level of the whole look."""
    levels = {line.level for line in lines}
    return next((level for level in (Level.RED, Level.YELLOW) if level in levels), Level.GREEN)


def find_cause(lines: Sequence[Line]) -> Line | None:
    """Return the first of the worst lines that is no symptom, else the first symptom; None if all is well.

    The lines stand in the order in which one part needs another. Of a text of several lines it has the first.
    """
    level = worst(lines)
    found = [line for line in lines if line.level is level and level is not Level.GREEN]
    cause = next((line for line in found if not line.is_symptom), found[0] if found else None)
    return cause and replace(cause, text=cause.text.partition("\n")[0])


def print_lines(lines: Sequence[Line], console: Console) -> None:
    """Print one line per part, wrapped at 80 columns, in colour on a terminal that has it.

    A call of leads in what helps stays in one line, so that it can be copied.
    """
    for line in lines:
        first, *more = list(_wrapped(line.text)) or [""]
        head = Text(f"{line.level:<{LEVEL_COLUMNS}}", STYLES[line.level])
        head.append(f"{line.name:<{NAME_COLUMNS}}{first}".rstrip(), "default")
        console.print(head, soft_wrap=True)
        for text in more:
            console.print(Text(INDENTATION + text), soft_wrap=True)
        helps = _COMMAND.sub(lambda found: found[0].replace(" ", KEPT_SPACE), line.helps)
        for number, text in enumerate(_wrapped(helps, TEXT_COLUMNS - 2, may_break=False)):
            text = text.replace(KEPT_SPACE, " ")
            console.print(Text(f"{INDENTATION}{'  ' if number else '→ '}{text}", "bold"), soft_wrap=True)


def _wrapped(text: str, columns: int = TEXT_COLUMNS, *, may_break: bool = True) -> Iterator[str]:
    for line in escape_unseen(text).splitlines():
        yield from wrap(line, columns, break_on_hyphens=False, break_long_words=may_break)
