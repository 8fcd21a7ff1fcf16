"""The identity of a body: strict parsing and the canonical text that is hashed."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.canonical_json import (
    MAX_BODY_BYTES,
    Number,
    canonical,
    has_exponent,
    object_without_nul,
    payload_hash,
    read_json,
)
from leads.domain.errors import InvalidBody

encodable = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
floats = st.floats(-1e99, 1e99).filter(lambda number: number == 0 or abs(number) > 1e-99)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | encodable,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(encodable, inner, max_size=4),
    max_leaves=12,
)


def hash_of(body: str | bytes) -> bytes:
    return payload_hash(canonical(read_json(body.encode() if isinstance(body, str) else body)))


def refusal(body: str | bytes) -> str:
    with pytest.raises(InvalidBody) as caught:
        read_json(body.encode() if isinstance(body, str) else body)
    return caught.value.code


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


@given(json_values, st.sampled_from([None, 1, 4]), st.booleans())
def test_the_hash_ignores_key_order_white_space_and_escapes(value: Any, indent: int, ascii_: bool) -> None:
    written = json.dumps(shuffled(value), indent=indent, ensure_ascii=ascii_)
    assert hash_of(written) == hash_of(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


@given(json_values)
def test_the_canonical_text_is_json_of_the_same_value_and_canonical_itself(value: Any) -> None:
    text = canonical(read_json(json.dumps(value).encode()))
    assert json.loads(text) == value
    assert canonical(read_json(text.encode())) == text


def test_numbers_beyond_the_precision_of_a_float_differ() -> None:
    assert hash_of(f'{{"n": {2**64}}}') != hash_of(f'{{"n": {2**64 + 1}}}')
    assert hash_of('{"n": 0.1000000000000000055}') != hash_of('{"n": 0.1}')


def test_a_number_and_its_text_differ() -> None:
    assert hash_of('{"id": 5}') != hash_of('{"id": "5"}')
    assert hash_of("[true]") != hash_of('["true"]')
    assert hash_of("[null]") != hash_of('["null"]')


def test_numbers_of_any_length_keep_their_digits() -> None:
    digits = "7" * 10_000
    assert read_json(f"[{digits}, 1e99, -0.0]".encode()) == [Number(digits), Number("1e99"), Number("-0.0")]


@pytest.mark.parametrize("number", ["1e100", "1e999", "1E+999999", "-2.5e-12345", "1e" + "9" * 5000])
def test_an_exponent_that_would_fill_the_database_with_digits_is_refused(number: str) -> None:
    assert refusal(f'{{"n": {number}}}') == "unstorable"


def test_leading_zeros_of_an_exponent_do_not_count() -> None:
    assert read_json(b"[1e0000000010]") == ["1e0000000010"]


@given(json_values)
def test_a_number_with_an_exponent_is_recognised_in_the_canonical_text(value: Any) -> None:
    plain = canonical(read_json(json.dumps(value).encode()))
    if any(isinstance(number, float) and "e" in json.dumps(number) for number in leaves(value)):
        assert has_exponent(plain)
    for text in ('{"id":"2e3","n":[-1.5,20]}', "[]", '["1e5"]'):
        assert not has_exponent(text)


def test_the_last_of_duplicate_keys_counts() -> None:
    assert hash_of('{"a": 1, "a": 2}') == hash_of('{"a": 2}')


def test_a_byte_order_mark_is_ignored() -> None:
    assert hash_of(b'\xef\xbb\xbf{"a": 1}') == hash_of('{"a": 1}')


@pytest.mark.parametrize(
    "body",
    [
        "", " ", "{", "nope", "{'a': 1}", '{"a": 1,}', "[1] [2]", '{"a": NaN}', "[Infinity]", "[-Infinity]",
        "[01]", "[+1]", "[.5]", "[1.]", '["\x01"]', '["\\x"]', b"\xff\xfe", b'{"a": "\xc3"}', b"\x00",
        '["\\ud800"]', '["\\udc00\\ud800"]', '{"\\uD83D": 1}', '["\\ud83d\\ud83d\\ude00"]',
        b'["\xed\xa0\x80"]',
    ],
)  # fmt: skip
def test_text_that_is_not_strict_json_is_refused(body: str | bytes) -> None:
    assert refusal(body) == "invalid_json"


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert read_json(b'["\\ud83d\\ude00"]') == ["😀"]


def test_the_error_never_contains_the_body() -> None:
    for body in ('{"api_key": "s3cret"', '["s3cret\\ud800"]', '{"s3cret": NaN}', 's3cret"'):
        with pytest.raises(InvalidBody) as caught:
            read_json(body.encode())
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_thirty_two_levels_are_read_and_one_more_is_refused(left: str, right: str) -> None:
    levels = left.count("[") + left.count("{")
    fits = 32 // levels
    read_json(f"{left * fits}1{right * fits}".encode())
    assert refusal(f"{left * fits}[]{right * fits}") == "too_deep"


@pytest.mark.parametrize("depth", [33, 900, 5000, 100_000])
def test_depth_never_exhausts_the_stack(depth: int) -> None:
    assert refusal("[" * depth + "]" * depth) == "too_deep"
    assert refusal("[" * depth + '"\\ud800"' + "]" * depth) in {"too_deep", "invalid_json"}


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    assert read_json(('["' + "[" * 500 + '"]').encode()) == ["[" * 500]


def test_a_body_of_256_kib_is_read_and_one_byte_more_is_refused() -> None:
    body = b'["' + b"x" * (MAX_BODY_BYTES - 4) + b'"]'
    assert read_json(body) == ["x" * (MAX_BODY_BYTES - 4)]
    assert refusal(body + b" ") == "too_large"


def test_a_body_from_the_database_may_be_longer() -> None:
    body = b"[" + b"1, " * MAX_BODY_BYTES + b"1]"
    assert read_json(body, max_bytes=None) == ["1"] * (MAX_BODY_BYTES + 1)


def test_only_nul_is_removed_from_keys_and_strings() -> None:
    value: Any = read_json(b'{"a\\u0000b": ["x\\u0000", {"c": "\\u0000"}, 1e5, null, true, "\\\\u0000"]}')
    assert object_without_nul(value) == {"ab": ["x", {"c": ""}, "1e5", None, True, "\\u0000"]}
    stripped: Any = object_without_nul(value)
    assert isinstance(stripped["ab"][2], Number)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(InvalidBody):
        canonical(read_json(body)).encode()


def test_the_place_of_an_error_is_named_once() -> None:
    with pytest.raises(InvalidBody, match=r"Unterminated string starting at character 6$"):
        read_json(b'{"a": "b')
