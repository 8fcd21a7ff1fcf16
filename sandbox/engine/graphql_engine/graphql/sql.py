"""SQL that reads: one expression for the JSON of a whole root field, relationships nested.

Related rows are correlated subqueries, so that a join cannot change the order or number of rows.
Facts: the engine's `Translate/BoolExp` and `Postgres/Translate/Select`.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from graphql_engine.auth import Session
from graphql_engine.catalog import Column, Key, Table, Type
from graphql_engine.errors import QErr, query_error, unsupported
from graphql_engine.graphql.model import (
    INFIX,
    TEXTS,
    TRUE,
    All,
    AnyOf,
    BoolExp,
    Compare,
    Const,
    Not,
    Operand,
    Related,
    Relationship,
    RoleViews,
    SessionVariable,
    TableView,
    both,
    operand_type,
)
from graphql_engine.graphql.roles import RoleSchema
from graphql_engine.graphql.scalars import to_text
from graphql_engine.graphql.schema import DIRECTIONS
from graphql_engine.graphql.selection import Sel, json_steps
from graphql_engine.rawjson import dumps
from graphql_engine.webhooks import of_client


@lru_cache(maxsize=8192)
def ident(*parts: str) -> str:
    """Quote an identifier, also for statements with placeholders."""
    return sql.Identifier(*parts).as_string(None).replace("%", "%%")


@lru_cache(maxsize=8192)
def literal(text: str) -> str:
    """Quote a string constant, also for statements with placeholders."""
    return sql.Literal(text).as_string(None).strip().replace("%", "%%")


class Context:
    """Collect the parameters of one statement."""

    def __init__(self, role: RoleSchema, session: Session) -> None:
        self.views = role.views
        self.session = session
        self.params: dict[str, str | None] = {}
        self._aliases = 0

    def alias(self) -> str:
        self._aliases += 1
        return f"t{self._aliases}"

    def value(self, type_: Type, value: Any) -> str:
        """Add a JSON value as a typed parameter."""
        return self.text(type_, to_text(type_, value))

    def text(self, type_: Type, text: str | None) -> str:
        """Add a text that PostgreSQL reads as `type_`. A NUL character ends it, as in the engine."""
        name = f"p{len(self.params)}"
        self.params[name] = None if text is None else text.partition("\x00")[0]
        return f"((%({name})s)::{type_name(type_)})"

    def operand(self, operand: Operand, type_: Type) -> str:
        """Return the SQL of the right side of a comparison."""
        if isinstance(operand, Const):
            return self.value(type_, self._filled(operand.value))
        return self.text(type_, self.session_value(operand.name))

    def session_value(self, name: str) -> str:
        """Add a session variable. Raises QErr `not-found`."""
        value = self.session.variables.get(name)
        if value is None:
            raise QErr("not-found", f'missing session variable: "{name}"')
        return value

    def _filled(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.session_value(v.name) if isinstance(v, SessionVariable) else v for v in value]
        return value


def type_name(type_: Type) -> str:
    """Return the type as a cast writes it; the catalog has quoted it where needed."""
    return type_.name.replace("%", "%%")


def join(rel: Relationship, own: str, remote: str) -> str:
    """Return the condition that joins a related row to its own row."""
    return " AND ".join(f"{remote}.{ident(theirs)} = {own}.{ident(ours)}" for ours, theirs in rel.mapping)


def table_name(table: Table) -> str:
    return ident(table.schema, table.name)


def key_name(key: Key) -> str:
    return ident(*key)


SET_SESSION = (
    "SELECT set_config('hasura.user', %(session)s, true), set_config('hasura.tracecontext', %(trace)s, true)"
)


async def fetch(conn: AsyncConnection[Any], statement: str, params: dict[str, Any]) -> Any:
    """Return the first row of a statement, or None. Raises QErr."""
    try:
        cursor = await conn.execute(statement, params)
        return await cursor.fetchone()
    except psycopg.Error as error:
        raise query_error(error, statement) from error


async def announce(conn: AsyncConnection[Any], session: Session) -> None:
    """Set the session for triggers and functions of this transaction (event payloads show it)."""
    trace = of_client(session.client_headers).context()
    await fetch(conn, SET_SESSION, {"session": dumps(session.variables), "trace": dumps(trace)})


Json = dict[str, Any]


def where_exp(views: RoleViews, view: TableView, data: Json | None) -> BoolExp:
    """Return the condition that `data` (a `<table>_bool_exp`) puts on rows of `view`."""
    if not data:
        return TRUE
    return All(tuple(_item(views, view, name, value) for name, value in data.items()))


def _item(views: RoleViews, view: TableView, name: str, value: Any) -> BoolExp:
    if name == "_and":
        return All(tuple(where_exp(views, view, item) for item in value))
    if name == "_or":
        return AnyOf(tuple(where_exp(views, view, item) for item in value))
    if name == "_not":
        return Not(where_exp(views, view, value))
    if name in view.readable.columns:
        return column_tests(view.readable.columns[name], value)
    rel = view.tracked.relationships[name]
    target = views.tables[rel.target]
    return Related(rel, both(target.readable.filter, where_exp(views, target, value)))


def column_tests(column: Column, tests: Json) -> BoolExp:
    return All(
        tuple(Compare(column, op, Const(value), operand_type(op, column.type)) for op, value in tests.items())
    )


def condition(ctx: Context, exp: BoolExp, alias: str) -> str:
    """Return the SQL of a condition on the row `alias`. Raises QErr."""
    if isinstance(exp, Compare):
        left = f"{alias}.{ident(exp.column.name)}"
        return tested(ctx, left, exp.op, exp.operand, exp.operand_type)
    if isinstance(exp, All):
        return _joined(ctx, exp.items, alias, " AND ", "true")
    if isinstance(exp, AnyOf):
        return _joined(ctx, exp.items, alias, " OR ", "false")
    if isinstance(exp, Not):
        return f"(NOT {condition(ctx, exp.item, alias)})"
    if isinstance(exp, Related):
        remote = ctx.alias()
        inner = condition(ctx, exp.where, remote)
        on = join(exp.relationship, alias, remote)
        return (
            f"(EXISTS (SELECT 1 FROM {key_name(exp.relationship.target)} AS {remote} WHERE {on} AND {inner}))"
        )
    raise unsupported(exp.what)


def _joined(ctx: Context, items: tuple[BoolExp, ...], alias: str, word: str, empty: str) -> str:
    parts = [condition(ctx, item, alias) for item in items]
    if not parts:
        return empty
    return parts[0] if len(parts) == 1 else f"({word.join(parts)})"


def tested(ctx: Context, left: str, op: str, operand: Operand, type_: Type) -> str:
    if op == "_is_null":
        wanted = not isinstance(operand, Const) or operand.value
        return f"({left} IS NULL)" if wanted else f"({left} IS NOT NULL)"
    right = ctx.operand(operand, type_)
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


# PostgreSQL cuts longer identifiers, so they cannot be column aliases.
MAX_IDENTIFIER_BYTES = 63


def ordering(view: TableView, items: Any, alias: str) -> list[str]:
    """Return the terms of ORDER BY for `items` (a list of `<table>_order_by`)."""
    return [
        f"{alias}.{ident(view.readable.columns[name].name)} {DIRECTIONS[value]}"
        for item in items or []
        for name, value in (item or {}).items()
        if value is not None
    ]


@dataclass
class Source:
    """The origin of rows: SQL after FROM, the join to an outer row, a further condition, arguments.

    limited: the limit of the permission to read applies.
    """

    table: str
    relationship: Relationship | None = None
    outer: str = ""
    extra: BoolExp = TRUE
    args: Json = field(default_factory=dict)
    single: bool = False
    limited: bool = True


def base_rows(ctx: Context, view: TableView, source: Source) -> str:
    """Return `(SELECT … FROM …)` of all columns, filtered, ordered and limited."""
    alias = ctx.alias()
    exp = both(source.extra, where_exp(ctx.views, view, source.args.get("where")))
    exp = both(view.readable.filter, exp)
    tests = [] if exp == TRUE else [condition(ctx, exp, alias)]
    if source.relationship is not None:
        tests.insert(0, join(source.relationship, source.outer, alias))
    parts = [f"SELECT {alias}.* FROM {source.table} AS {alias}"]
    if tests:
        parts.append(f"WHERE {' AND '.join(tests)}")
    terms = ordering(view, source.args.get("order_by"), alias)
    if terms:
        parts.append(f"ORDER BY {', '.join(terms)}")
    limit = effective_limit(view, source)
    if limit is not None:
        parts.append(f"LIMIT {limit}")
    if source.args.get("offset"):
        parts.append(f"OFFSET {int(source.args['offset'])}")
    return f"({' '.join(parts)})"


def effective_limit(view: TableView, source: Source) -> int | None:
    """Return the smaller of the requested limit and the permission's limit."""
    if source.single:
        return 1
    allowed = view.readable.limit if source.limited else None
    limits = [n for n in (source.args.get("limit"), allowed) if n is not None]
    return min(limits) if limits else None


def rows_json(ctx: Context, view: TableView, sels: list[Sel], source: Source) -> str:
    """Return an expression for the JSON list of rows, or for one row (or null) of a single source."""
    rows = base_rows(ctx, view, source)
    alias = ctx.alias()
    row = row_json(ctx, view, sels, alias)
    if source.single:
        return f"(SELECT {row} FROM {rows} AS {alias})"
    outer = ctx.alias()
    return (
        f"(SELECT coalesce(json_agg({outer}.r), '[]'::json) FROM (SELECT {row} AS r FROM {rows} AS {alias})"
        f" AS {outer})"
    )


def build_object(fields: list[tuple[str, str]]) -> str:
    return f"json_build_object({', '.join(f'{literal(name)}, {value}' for name, value in fields)})"


def object_json(fields: list[tuple[str, str]]) -> str:
    """Return the JSON object of (name, expression) pairs; no GraphQL name equals the alias `e$`."""
    if any(len(name) > MAX_IDENTIFIER_BYTES for name, _ in fields):
        return build_object(fields)
    selected = ", ".join(f"{expression} AS {ident(name)}" for name, expression in fields)
    return f'row_to_json((SELECT "e$" FROM (SELECT {selected}) AS "e$"))'


def row_json(ctx: Context, view: TableView, sels: list[Sel], alias: str) -> str:
    return object_json([(sel.alias, field_sql(ctx, view, sel, alias)) for sel in sels])


def _name(sel: Sel) -> str:
    return f"{literal(sel.type_name)}::text"


def field_sql(ctx: Context, view: TableView, sel: Sel, alias: str) -> str:
    if sel.is_typename:
        return _name(sel)
    column = view.readable.columns.get(sel.name)
    if column is not None:
        return column_sql(ctx, sel, column, alias)
    rel = view.tracked.relationships[sel.name]
    source = Source(key_name(rel.target), rel, alias, args=sel.args, single=not rel.is_array)
    return rows_json(ctx, ctx.views.tables[rel.target], sel.subs, source)


def column_sql(ctx: Context, sel: Sel, column: Column, alias: str) -> str:
    """Return a column, reduced by a JSON path."""
    value = f"{alias}.{ident(column.name)}"
    if sel.args.get("path") is not None:
        steps = json_steps(sel.args["path"])
        if steps:
            value = f"({value} #> {ctx.value(TEXTS, steps)})"
    return value


def aggregate_json(ctx: Context, view: TableView, sel: Sel, source: Source) -> str:
    """Return `<table>_aggregate`: the number of all rows: the limit of a permission does not count."""
    source.limited = False
    alias = ctx.alias()
    rows = base_rows(ctx, view, source)
    fields = [(sub.alias, build_object(_counts(sub.subs)) if sub.subs else _name(sub)) for sub in sel.subs]
    # Without a count among the fields, HAVING makes all rows one group.
    return f"(SELECT {build_object(fields)} FROM {rows} AS {alias} HAVING true)"


def _counts(sels: list[Sel]) -> list[tuple[str, str]]:
    return [(sel.alias, _name(sel) if sel.is_typename else "count(*)") for sel in sels]
