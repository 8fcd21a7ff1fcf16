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
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def loads(text: str | bytes) -> Any:
    """Parse JSON: numbers with a fraction or exponent become Decimal, the first of equal keys counts.

    Raises ValueError for what is no JSON, is no UTF-8 or has half of a surrogate pair.
    """
    parsed = json.loads(text, parse_float=Decimal, object_pairs_hook=_first_wins)
    if b"\\ud" in text.lower() if isinstance(text, bytes) else "\\ud" in text.lower():
        dumps(parsed).encode()  # raises UnicodeEncodeError, a ValueError
    return parsed


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in reversed(pairs):
            found[key] = value
    return found


def kind_of(value: Any) -> str:
    """Return the JSON kind of a value, in the words of the engine's parser."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, str):
        return "String"
    if isinstance(value, list):
        return "Array"
    return "Object" if isinstance(value, dict) else "Number"


def canonical(value: Any) -> str:
    """Return the JSON text that webhooks get: sorted keys, numbers without trailing zeros.

    Facts: recorded calls of webhooks; the number texts of Haskell's `scientific`.
    """
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    except TypeError:  # a Decimal, which is rare
        return _canonical(value)


def _canonical(value: Any) -> str:
    if isinstance(value, dict):
        items = (f"{json.dumps(k, ensure_ascii=False)}:{_canonical(v)}" for k, v in sorted(value.items()))
        return "{" + ",".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_canonical, value)) + "]"
    if isinstance(value, Decimal):
        return canonical_number(value)
    return json.dumps(value, ensure_ascii=False)


def canonical_number(value: Decimal) -> str:
    """Return 1.5 for 1.50, 1.0 for 1.00, 100 for 1e2, 5.0e-2 for 0.05, 1.23456785e7 for 12345678.5."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if exponent < 0:
        return scientific(value)
    text = "".join(map(str, digits)) + "0" * exponent
    return f"-{text}" if sign and value else text.lstrip("0") or "0"


def scientific(value: Decimal) -> str:
    """Return 1.5 for 1.50, 1.0 for 1, 100.0 for 1e2, 1.23456785e7 for 12345678.5, with all digits."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if not value:
        return "0.0"
    text = "".join(map(str, digits)).lstrip("0")
    power = len(text) + exponent  # the value is 0.TEXT times ten to this power
    text = text.rstrip("0")
    if 0 <= power <= 7:
        shown = f"{text[:power].ljust(power, '0') or '0'}.{text[power:] or '0'}"
    else:
        shown = f"{text[0]}.{text[1:] or '0'}e{power - 1}"
    return f"-{shown}" if sign else shown
