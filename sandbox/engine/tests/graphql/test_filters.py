"""Boolean expressions: every operator by example, and any combination against Python's own evaluation."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.library import Library

Json = dict[str, Any]
AUTHORS = """
name: {_like: "A%"} -> [1]
name: {_nlike: "A%"} -> [2, 3]
name: {_ilike: "a%"} -> [1]
name: {_nilike: "a%"} -> [2, 3]
name: {_similar: "(A|B)%"} -> [1, 2]
name: {_nsimilar: "(A|B)%"} -> [3]
name: {_regex: "^[AB]"} -> [1, 2]
name: {_iregex: "^[ab]"} -> [1, 2]
name: {_nregex: "^A"} -> [2, 3]
name: {_niregex: "^a"} -> [2, 3]
born: {_is_null: true} -> [2]
born: {_gte: "1980-01-02"} -> [1, 3]
big: {_eq: "9007199254740993"} -> [1]
big: {_in: [2, "9007199254740993"]} -> [1, 2]
rating: {_gt: 4.4999999999999999} -> [1]
colour: {_eq: red} -> [1]
colour: {_nin: ["red"]} -> [3]
tags: {_contains: ["x"]} -> [1]
tags: {_contained_in: ["x", "y", "z"]} -> [1, 3]
tags: {_eq: []} -> [3]
details: {_contains: {a: {b: [1]}}} -> [1]
details: {_contained_in: [1, 2, 3, 4]} -> [2]
details: {_has_key: "n"} -> [1]
details: {_has_keys_any: ["n", "q"]} -> [1]
details: {_has_keys_all: ["n", "q"]} -> []
articles: {} -> [1, 2]
articles: {title: {_eq: "Two"}} -> [1]
_not: {articles: {}} -> [3]
articles: {author: {detail: {phone: {_eq: "111"}}}} -> [1]
_or: [] -> []
_and: [] -> [1, 2, 3]
_and: {name: {_eq: "Ann"}} -> [1]
id: {} -> [1, 2, 3]
id: {_in: []} -> []
id: {_nin: []} -> [1, 2, 3]
id: {_in: 2} -> [2]
id: {_gt: 1, _lt: 3} -> [2]
"""
CASES = [tuple(line.rsplit(" -> ", 1)) for line in AUTHORS.strip().splitlines()]


@pytest.mark.parametrize(("where", "ids"), CASES, ids=[where for where, _ in CASES])
async def test_each_operator_picks_its_rows(shelf: Library, where: str, ids: str) -> None:
    """The authors are Ann (1), Bob (2) and Cyd (3)."""
    data = await shelf.ask(f"{{ author(where: {{{where}}}, order_by: {{id: asc}}) {{ id }} }}")
    assert str([row["id"] for row in data["author"]]) == ids


def compared(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | None]:
    """Compare; the result is unknown when the left side is null."""
    return lambda left, right: None if left is None else test(left, right)


def like(text: str, pattern: str) -> bool:
    parts = {"%": ".*", "_": "."}
    return re.fullmatch("".join(parts.get(c, re.escape(c)) for c in pattern), text, re.DOTALL) is not None


OPERATORS: dict[str, Callable[[Any, Any], bool | None]] = {
    "_eq": compared(lambda a, b: a == b),
    "_neq": compared(lambda a, b: a != b),
    "_gt": compared(lambda a, b: a > b),
    "_lte": compared(lambda a, b: a <= b),
    "_in": lambda a, b: a in b if a is not None or not b else None,
    "_is_null": lambda a, b: (a is None) == b,
    "_like": compared(like),
    "_nlike": compared(lambda a, b: not like(a, b)),
}


def holds(where: Json, row: Json) -> bool | None:
    """Evaluate `where` on `row` in SQL's three-valued logic."""
    results: list[bool | None] = []
    for name, value in where.items():
        if name == "_not":
            inner = holds(value, row)
            results.append(None if inner is None else not inner)
        elif name == "_and":
            results.append(every([holds(item, row) for item in value]))
        elif name == "_or":
            results.append(some([holds(item, row) for item in value]))
        else:
            results += [OPERATORS[op](row[name], right) for op, right in value.items()]
    return every(results)


def every(results: list[bool | None]) -> bool | None:
    return False if False in results else None if None in results else True


def some(results: list[bool | None]) -> bool | None:
    return True if True in results else None if None in results else False


def comparisons(values: st.SearchStrategy[Any], *operators: str) -> st.SearchStrategy[Json]:
    choices = dict.fromkeys(operators, values)
    choices |= {"_in": st.lists(values, max_size=3), "_is_null": st.booleans()}
    return st.fixed_dictionaries({}, optional=choices)


ORDERED = ("_eq", "_neq", "_gt", "_lte")
COLUMNS = st.fixed_dictionaries(
    {},
    optional={
        "n": comparisons(st.sampled_from([-2, -1, 0, 3, 7]), *ORDERED),
        "t": comparisons(st.sampled_from(["", "a", "ab", "B%", "%b", "_"]), "_eq", "_neq", "_like", "_nlike"),
        "b": comparisons(st.booleans(), "_eq", "_neq"),
    },
)
EXPRESSIONS = st.recursive(
    COLUMNS,
    lambda inner: st.fixed_dictionaries(
        {}, optional={"_not": inner, "_and": st.lists(inner, max_size=3), "_or": st.lists(inner, max_size=3)}
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(where=EXPRESSIONS)
async def test_any_expression_picks_the_rows_that_it_holds_for(shelf: Library, where: Json) -> None:
    """The rows are a grid of nulls, numbers, texts and booleans; the condition is a variable."""
    query = "query($w: grid_bool_exp) { all: grid { id n t b } picked: grid(where: $w) { id } }"
    data = await shelf.ask(query, given={"w": where})
    expected = {row["id"] for row in data["all"] if holds(where, row)}
    assert {row["id"] for row in data["picked"]} == expected
