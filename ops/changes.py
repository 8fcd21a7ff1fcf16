"""Print what would change, for people: under a title one line per field, `name  before → after`, aligned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from ops.output import differences, print_in_column, print_indented, text_of

ARROW = "→"
MAX_NAME_CELLS = 28
"""A longer name has its value behind it, and does not move those of the others to the right."""


@dataclass(frozen=True, slots=True)
class ChangeBlock:
    """What changes of one thing: a title, and for each field its name and the texts before and after.

    `before` is None if there is only one value to show: that of a new thing.
    """

    title: str
    changes: Sequence[tuple[str, str | None, str]] = ()


def print_block(block: ChangeBlock, console: Console, level: int = 1) -> None:
    """Print a block within the width of the terminal; a change that is longer than a line has several.

    The title is indented by `level` steps, the changes by one more.
    """
    print_indented(block.title, level, console)
    print_changes(block.changes, console, level + 1)


def print_changes(changes: Sequence[tuple[str, str | None, str]], console: Console, level: int) -> None:
    """Print the changes of a block alone, indented by `level` steps."""
    indentation = "  " * level
    names = [cell_len(name) for name, _, _ in changes]
    width = min(max(names, default=0), MAX_NAME_CELLS)
    for name, before, after in changes:
        beginning = f"{indentation}{set_cell_size(name, max(width, cell_len(name)))}  "
        if before is None:
            print_in_column(beginning, after, console)
            continue
        change = f"{before} {ARROW} {after}"
        if cell_len(beginning + change) <= console.width:
            print_in_column(beginning, change, console)
            continue
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
