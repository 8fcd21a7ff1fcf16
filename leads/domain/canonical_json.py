"""Strict JSON and its canonical text, whose SHA-256 identifies a body.

The canonical text sorts keys and drops white space; numbers keep the digits they were written with, so that
2^64 and 2^64+1 differ (as floats they would be equal).
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from json.encoder import encode_basestring
from typing import NoReturn, TypeAlias, Union

from leads.domain.errors import InvalidBody

MAX_BODY_BYTES = 256 * 1024
"""The edge refuses longer bodies too (docs/runbook/edge.md)."""
MAX_DEPTH = 32
"""Far below Python's recursion limit: writing the canonical text recurses."""
MAX_EXPONENT_DIGITS = 2
"""jsonb writes a number digit by digit: 1e99 has 100 of them, and a few bytes could become 131,072."""

JsonValue: TypeAlias = Union[bool, str, Sequence["JsonValue"], Mapping[str, "JsonValue"], None]  # noqa: UP007 - `|` cannot join forward references
"""What `read_json` returns; numbers are `Number`, which is a str."""

JsonObject: TypeAlias = Mapping[str, JsonValue]


class Number(str):
    """A JSON number as the decimal text that it was written with."""

    __slots__ = ()


def read_json(raw: bytes, max_bytes: int | None = MAX_BODY_BYTES) -> JsonValue:
    """Parse strict JSON (RFC 8259, UTF-8, no NaN, no lone surrogates, depth ≤ 32).

    `max_bytes` is None for what PostgreSQL gives back: it writes white space, and 1e40 digit by digit.
    Raises InvalidBody with code `too_large`, `too_deep`, `unstorable` or `invalid_json`.
    """
    if max_bytes is not None and len(raw) > max_bytes:
        raise InvalidBody(f"The body has {len(raw)} bytes, the limit is {max_bytes}.", code="too_large")
    try:
        text = raw.removeprefix(BOM_UTF8).decode()
        value: JsonValue = _DECODER.decode(text)
        if "\\ud" in text or "\\uD" in text:
            canonical(value).encode()
    except RecursionError as error:
        raise InvalidBody("The body is nested too deeply.", code="too_deep") from error
    except ValueError as error:
        raise InvalidBody(f"The body is not strict JSON: {_reason(error)}") from error
    if text.count("{") + text.count("[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise InvalidBody(f"The body is nested deeper than {MAX_DEPTH} levels.", code="too_deep")
    return value


def read_json_loosely(content: bytes) -> JsonValue:
    """Parse the JSON of an API's answer, numbers as they were written, NaN and Infinity as text.

    Returns None for anything that is not JSON.
    """
    try:
        value: JsonValue = _LOOSE_DECODER.decode(content.removeprefix(BOM_UTF8).decode())
    except (ValueError, RecursionError):
        return None
    return value


def canonical(value: JsonValue) -> str:
    """Return the canonical JSON text of a value that `read_json` returned."""
    pieces: list[str] = []
    _write(value, pieces.append)
    return "".join(pieces)


def has_exponent(text: str) -> bool:
    """Whether a number in a canonical text may have an exponent; true also for some other texts."""
    return _EXPONENT.search(text) is not None


def payload_hash(text: str | bytes) -> bytes:
    """Return the 32 bytes that identify a canonical text, or a raw body that is not JSON."""
    return sha256(text.encode() if isinstance(text, str) else text).digest()


def object_without_nul(value: JsonObject) -> JsonObject:
    """Return the object without NUL characters, which PostgreSQL stores neither in text nor in jsonb."""
    return {key.replace("\0", ""): _without_nul(item) for key, item in value.items()}


def _without_nul(value: JsonValue) -> JsonValue:
    if isinstance(value, Number):
        return value
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return object_without_nul(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _decimal(text: str) -> Number:
    """Read a number with a fraction or an exponent, which is limited: jsonb writes it out as digits."""
    exponent = text.lower().partition("e")[2].lstrip("+-0")
    if len(exponent) > MAX_EXPONENT_DIGITS:
        raise InvalidBody("A number's exponent has too many digits.", code="unstorable")
    return Number(text)


_EXPONENT = re.compile(r"(?:^|[:,\[])-?\d[\d.]*[eE]", re.ASCII)
_DECODER = json.JSONDecoder(parse_int=Number, parse_float=_decimal, parse_constant=_refuse_constant)
_LOOSE_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=Number)


def _reason(error: ValueError) -> str:
    """Say where and why, without quoting the body."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos}"
    if isinstance(error, UnicodeError):
        return "the text is not valid Unicode"
    return str(error)


def _write(value: JsonValue, put: Callable[[str], object]) -> None:
    if isinstance(value, Number):
        put(value)
    elif isinstance(value, str):
        put(encode_basestring(value))
    elif isinstance(value, dict):
        separator = "{"
        for key in sorted(value):
            put(separator)
            put(encode_basestring(key))
            put(":")
            _write(value[key], put)
            separator = ","
        put("}" if value else "{}")
    elif isinstance(value, list):
        separator = "["
        for item in value:
            put(separator)
            _write(item, put)
            separator = ","
        put("]" if value else "[]")
    else:
        put("null" if value is None else "true" if value else "false")


def _depth(value: JsonValue) -> int:
    """Count nested objects and arrays level by level, so that no input exhausts the stack."""
    depth, level = 0, [value]
    while level := [node for node in level if isinstance(node, (list, dict))]:
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        depth += 1
    return depth
