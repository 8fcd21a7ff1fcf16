"""Boolean expressions as SQL. Facts: the engine's `Postgres/Translate/BoolExp`."""

from graphql_engine.catalog import Type
from graphql_engine.errors import unsupported
from graphql_engine.graphql.model.boolexp import (
    Aggregated,
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
    Unsupported,
)
from graphql_engine.graphql.model.operators import INFIX
from graphql_engine.graphql.model.permissions import operand_type
from graphql_engine.graphql.sql.context import Context, ident, join, key_name


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
    if isinstance(exp, Unsupported):
        raise unsupported(exp.what)
    return aggregated(ctx, exp, scope)


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


def aggregated(ctx: Context, exp: Aggregated, scope: Scope) -> str:
    """Return the condition that an aggregate over related rows passes all tests of its predicate."""
    remote = ctx.alias()
    columns = ", ".join(f"{remote}.{ident(column.name)}" for column in exp.columns)
    if exp.function == "count" and not exp.columns:
        argument = "*"
    else:
        argument = f"({columns})" if len(exp.columns) > 1 else columns
        argument = f"DISTINCT {argument}" if exp.distinct else argument
    inner = condition(ctx, exp.where, Scope(remote, scope.root))
    on = join(exp.relationship, scope.alias, remote)
    source = f"{key_name(exp.relationship.target)} AS {remote} WHERE {on} AND {inner}"
    value = f"(SELECT {exp.function}({argument}) FROM {source})"
    tests = [
        tested(ctx, value, op, operand, operand_type(op, exp.type), scope) for op, operand in exp.predicate
    ]
    return f"({' AND '.join(tests)})" if tests else "true"
