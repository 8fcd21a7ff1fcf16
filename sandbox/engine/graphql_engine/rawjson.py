"""JSON with parts that are already text.

JSON from PostgreSQL goes to the client byte for byte, and numbers of requests and webhooks keep their
digits: rows never pass through a Python float.
"""

import json
from decimal import Decimal
from typing import Any


class Raw(str):
    """JSON text that is copied into a response unchanged."""

    __slots__ = ()


def dumps(value: Any) -> str:
    """Return the JSON text of `value`, which may contain `Raw` and `Decimal`."""
    if isinstance(value, Raw):
        return str.__str__(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(k))}:{dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dumps, value)) + "]"
    if isinstance(value, Decimal):
        return number_text(value)
    return json.dumps(value, ensure_ascii=False)


def number_text(value: Decimal | int | float) -> str:
    """Return the digits of a number in a form that JSON and PostgreSQL read."""
    return str(value)


def loads(text: str | bytes) -> Any:
    """Parse JSON; numbers with a fraction or exponent become Decimal."""
    return json.loads(text, parse_float=Decimal)
