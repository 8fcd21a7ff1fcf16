"""Boolean expressions of a client's `where`, and as SQL. Facts: the engine's `Translate/BoolExp`."""

from typing import Any

from graphql_engine.catalog import Column, Type
from graphql_engine.errors import unsupported
from graphql_engine.graphql.model.conditions import (
    INFIX,
    TEXT,
    TRUE,
    All,
    AnyOf,
    BoolExp,
    Compare,
    Const,
    ExistsIn,
    Not,
    Operand,
    Related,
    Rooted,
    Scope,
    both,
    operand_type,
)
from graphql_engine.graphql.model.views import RoleViews, TableView
from graphql_engine.graphql.sql.context import Context, ident, join, key_name

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
    rel = view.tracked.relationships[name]
    target = views.tables[rel.target]
    return Related(rel, both(row_filter(target), where_exp(views, target, value)))


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


def condition(ctx: Context, exp: BoolExp, scope: Scope) -> str:
    """Return the SQL of `exp` on the row at `scope`."""
    if isinstance(exp, Compare):
        return compare(ctx, exp, scope)
    if isinstance(exp, All):
        return _joined(ctx, exp.items, scope, " AND ", "true")
    if isinstance(exp, AnyOf):
        return _joined(ctx, exp.items, scope, " OR ", "false")
    if isinstance(exp, Not):
        return f"(NOT {condition(ctx, exp.item, scope)})"
    if isinstance(exp, Rooted):
        return condition(ctx, exp.item, Scope(scope.alias, scope.alias))
    if isinstance(exp, Related):
        remote = ctx.alias()
        inner = condition(ctx, exp.where, Scope(remote, scope.root))
        on = join(exp.relationship, scope.alias, remote)
        return (
            f"(EXISTS (SELECT 1 FROM {key_name(exp.relationship.target)} AS {remote} WHERE {on} AND {inner}))"
        )
    if isinstance(exp, ExistsIn):
        remote = ctx.alias()
        inner = condition(ctx, exp.where, Scope(remote, scope.root))
        return f"(EXISTS (SELECT 1 FROM {key_name(exp.table)} AS {remote} WHERE {inner}))"
    raise unsupported(exp.what)


def _joined(ctx: Context, items: tuple[BoolExp, ...], scope: Scope, word: str, empty: str) -> str:
    parts = [condition(ctx, item, scope) for item in items]
    if not parts:
        return empty
    return parts[0] if len(parts) == 1 else f"({word.join(parts)})"


def compare(ctx: Context, exp: Compare, scope: Scope) -> str:
    left = f"{scope.alias}.{ident(exp.column.name)}"
    if exp.cast is not None:
        left = f"({left})::{exp.cast.name}"
    return tested(ctx, left, exp.op, exp.operand, exp.operand_type, scope)


def tested(ctx: Context, left: str, op: str, operand: Operand, type_: Type, scope: Scope) -> str:
    """Return `left op operand`."""
    if op == "_is_null":
        wanted = not isinstance(operand, Const) or operand.value
        return f"({left} IS NULL)" if wanted else f"({left} IS NOT NULL)"
    right = ctx.operand(operand, type_, scope)
    if op == "_in":
        return f"({left} = ANY ({right}))"
    if op == "_nin":
        return f"({left} <> ALL ({right}))"
    if op == "=?":
        return f"(({left} = {right}) OR (({left} IS NULL) AND ({right} IS NULL)))"
    if op == "<>?":
        differ = (
            f"(({left} IS NULL) AND ({right} IS NOT NULL)) OR (({left} IS NOT NULL) AND ({right} IS NULL))"
        )
        return f"(({left} <> {right}) OR {differ})"
    return f"({left} {INFIX[op]} {right})"
