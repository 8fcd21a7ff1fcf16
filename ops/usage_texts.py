"""What a person reads of a value that a command line may not have, instead of the words of the libraries."""

import re
from datetime import UTC, datetime

import typer
from pydantic import ValidationError

from ops.output import escape_unseen, wrapped

EXAMPLE = datetime(2026, 5, 14, 9, 30, tzinfo=UTC)
_NO_TIME = re.compile(r"(?P<value>.*) does not match the formats (?P<known>.*)\.", re.DOTALL)
_NO_CHOICE = re.compile(r"(?P<value>.*) is not one of (?P<known>.*)\.", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'")
_MEANINGS = {
    "int_parsing": "is not a whole number",
    "float_parsing": "is not a number",
    "greater_than_equal": "is less than {ge:g}",
    "less_than_equal": "is more than {le:g}",
}
"""By the type of an error of pydantic: what is wrong with the value."""


def describe_value(error: typer.BadParameter) -> str:
    """Return what is wrong with the value, in plain words and at most as wide as the terminal."""
    if not isinstance(error.__cause__, ValidationError):
        return error.message
    first = error.__cause__.errors()[0]
    if first["type"] in _MEANINGS:
        meaning = _MEANINGS[first["type"]].format_map(first.get("ctx", {}))
        return escape_unseen(f"'{first['input']}' {meaning}.")
    message = escape_unseen(str(first.get("ctx", {}).get("error", first["msg"])))
    if found := _NO_TIME.fullmatch(message):
        examples = [EXAMPLE.strftime(known) for known in _QUOTED.findall(found["known"])]
        return f"{found['value']} is not understood.\n  Write it like {' or '.join(examples)}"
    if found := _NO_CHOICE.fullmatch(message):
        choices = wrapped(f"  {', '.join(_QUOTED.findall(found['known']))}")
        return f"{found['value']} is not one of:\n{choices}"
    return message
