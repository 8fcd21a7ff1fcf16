"""The JSON text that webhooks get."""

import json

import pytest

from graphql_engine.rawjson import canonical, loads


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("1.50", "1.5"),
        ("1.00", "1.0"),
        ("-0.5", "-0.5"),
        ("0.0", "0.0"),
        ("0.05", "5.0e-2"),
        ("100.0", "100.0"),
        ("1e2", "100"),
        ("12345678.5", "1.23456785e7"),
        ("9007199254740993", "9007199254740993"),
    ],
)
def test_numbers_are_sent_without_trailing_zeros(written: str, sent: str) -> None:
    assert canonical(loads(f'{{"b": [{written}], "a": null}}')) == f'{{"a":null,"b":[{sent}]}}'


def test_texts_survive() -> None:
    value = {"ü": 'a "quoted" \n text', "a": [True, {"c": 1, "b": 2}]}
    assert json.loads(canonical(value)) == value
    assert canonical(value).startswith('{"a":[true,{"b":2,"c":1}]')
