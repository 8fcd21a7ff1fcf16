"""Convert a client's `where`, checked against its input type, to a boolean expression."""

from typing import Any

from graphql_engine.catalog import Column
from graphql_engine.graphql.model.boolexp import (
    TRUE,
    Aggregated,
    All,
    AnyOf,
    BoolExp,
    Compare,
    Const,
    Not,
    Related,
    Rooted,
    both,
)
from graphql_engine.graphql.model.permissions import INTEGER, TEXT, operand_type
from graphql_engine.graphql.model.tables import Relationship
from graphql_engine.graphql.model.views import RoleViews, TableView
from graphql_engine.graphql.schema.where import AGGREGATES

Json = dict[str, Any]


def where_exp(views: RoleViews, view: TableView, data: Json | None) -> BoolExp:
    """Return the condition that `data` (a `<table>_bool_exp`) puts on rows of `view`."""
    if not data:
        return TRUE
    return All(tuple(_item(views, view, name, value) for name, value in data.items()))


def row_filter(view: TableView) -> BoolExp:
    """Return the role's select filter on a table, with the row as its own root row."""
    assert view.select is not None
    return TRUE if view.select.filter in (TRUE, All()) else Rooted(view.select.filter)


def _item(views: RoleViews, view: TableView, name: str, value: Any) -> BoolExp:
    if name == "_and":
        return All(tuple(where_exp(views, view, item) for item in value))
    if name == "_or":
        return AnyOf(tuple(where_exp(views, view, item) for item in value))
    if name == "_not":
        return Not(where_exp(views, view, value))
    assert view.select is not None
    if name in view.select.columns:
        return column_tests(view.select.columns[name], value)
    rel = view.tracked.relationships.get(name)
    if rel is not None:
        target = views.tables[rel.target]
        return Related(rel, both(row_filter(target), where_exp(views, target, value)))
    rel = view.tracked.relationships[name.removesuffix("_aggregate")]
    parts = [_aggregate(views, rel, function, test) for function, test in value.items() if test is not None]
    return All(tuple(parts))


def column_tests(column: Column, tests: Json) -> BoolExp:
    """Return all tests of a comparison object on one column."""
    parts: list[BoolExp] = []
    for op, value in tests.items():
        if op == "_cast":
            for casts in value.values():
                for inner, right in casts.items():
                    type_ = operand_type(inner, TEXT)
                    parts.append(Compare(column, inner, Const(right), type_, cast=TEXT))
        else:
            parts.append(Compare(column, op, Const(value), operand_type(op, column.type)))
    return All(tuple(parts))


def _aggregate(views: RoleViews, rel: Relationship, function: str, test: Json) -> BoolExp:
    target = views.tables[rel.target]
    assert target.select is not None
    arguments = test.get("arguments") or []
    names = [arguments] if isinstance(arguments, str) else arguments
    return Aggregated(
        rel,
        function,
        tuple(target.select.columns[name] for name in names),
        bool(test.get("distinct")),
        both(row_filter(target), where_exp(views, target, test.get("filter"))),
        tuple((op, Const(value)) for op, value in test["predicate"].items()),
        AGGREGATES.get(function, INTEGER),
    )
