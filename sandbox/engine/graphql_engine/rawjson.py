"""JSON in which some parts are already text.

What PostgreSQL wrote as JSON goes to the client byte for byte, and numbers of requests and webhooks keep
their digits: no row passes through a Python float.
"""

import json
from decimal import Decimal
from typing import Any


class Raw(str):
    """JSON text that is spliced into an answer as it is."""

    __slots__ = ()


def dumps(value: Any) -> str:
    """JSON text of `value`, which may hold `Raw` and `Decimal` anywhere."""
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
    """The digits of a number as JSON and PostgreSQL both read them."""
    return str(value)


def loads(text: str | bytes) -> Any:
    """Parses JSON; numbers with a fraction or exponent become Decimal."""
    return json.loads(text, parse_float=Decimal)
