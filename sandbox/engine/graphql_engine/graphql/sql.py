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
    TEXT,
    TEXTS,
    TRUE,
    All,
    AnyOf,
    BoolExp,
    Compare,
    Const,
    ExistsIn,
    Not,
    Operand,
    OtherColumn,
    Related,
    Relationship,
    RoleViews,
    Rooted,
    Scope,
    SessionVariable,
    TableView,
    both,
    operand_type,
)
from graphql_engine.graphql.roles import RoleSchema
from graphql_engine.graphql.scalars import BIG_NUMBERS, to_text
from graphql_engine.graphql.selection import Sel, json_steps
from graphql_engine.rawjson import dumps
from graphql_engine.webhooks import of_client

JSON = Type("json", "json")


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

    def __init__(self, role: RoleSchema, session: Session, stringify: bool) -> None:
        self.views = role.views
        self.session = session
        self.stringify = stringify
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

    def operand(self, operand: Operand, type_: Type, scope: Scope) -> str:
        """Return the SQL of the right side of a comparison."""
        if isinstance(operand, Const):
            return self.value(type_, self._filled(operand.value))
        if isinstance(operand, SessionVariable):
            return self.text(type_, self.session_value(operand.name))
        return self._other_column(operand, scope)

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

    def _other_column(self, other: OtherColumn, scope: Scope) -> str:
        alias = scope.root if other.of_root else scope.alias
        if not other.path:
            return f"{alias}.{ident(other.column.name)}"
        steps = [(rel, self.alias()) for rel in other.path]
        tables = ", ".join(f"{ident(*rel.target)} AS {name}" for rel, name in steps)
        joins = []
        for rel, name in steps:
            joins.append(join(rel, alias, name))
            alias = name
        return (
            f"(SELECT {alias}.{ident(other.column.name)} FROM {tables} WHERE {' AND '.join(joins)} LIMIT 1)"
        )


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


def row_filter(view: TableView) -> BoolExp:
    """Return the role's select filter on a table, with the row as its own root row."""
    return TRUE if view.readable.filter in (TRUE, All()) else Rooted(view.readable.filter)


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
    return Related(rel, both(row_filter(target), where_exp(views, target, value)))


def column_tests(column: Column, tests: Json) -> BoolExp:
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


DIRECTIONS = {
    "asc": "ASC NULLS LAST",
    "asc_nulls_first": "ASC NULLS FIRST",
    "asc_nulls_last": "ASC NULLS LAST",
    "desc": "DESC NULLS FIRST",
    "desc_nulls_first": "DESC NULLS FIRST",
    "desc_nulls_last": "DESC NULLS LAST",
}
Terms = list[tuple[str, str]]
MAX_PAIRS_PER_CALL = 45  # 90 arguments; PostgreSQL allows 100
# PostgreSQL cuts longer identifiers, so they cannot be column aliases.
MAX_IDENTIFIER_BYTES = 63


def order_terms(ctx: Context, view: TableView, items: Any, alias: str) -> Terms:
    """Return (expression, direction) of every ordering in `items` (a list of `<table>_order_by`)."""
    terms: Terms = []
    for item in items or []:
        for name, value in (item or {}).items():
            if value is not None:
                terms += _terms(ctx, view, name, value, alias)
    return terms


def _terms(ctx: Context, view: TableView, name: str, value: Any, alias: str) -> Terms:
    if name in view.readable.columns:
        return [(f"{alias}.{ident(view.readable.columns[name].name)}", DIRECTIONS[value])]
    return _related(ctx, view.tracked.relationships[name], value, alias)


def _related(ctx: Context, rel: Relationship, value: Any, alias: str) -> Terms:
    target = ctx.views.tables[rel.target]
    terms: Terms = []
    for name, inner in value.items():
        if inner is None:
            continue
        remote = ctx.alias()
        source = _source(ctx, rel, alias, remote)
        terms += [(f"(SELECT {e} {source} LIMIT 1)", d) for e, d in _terms(ctx, target, name, inner, remote)]
    return terms


def _source(ctx: Context, rel: Relationship, alias: str, remote: str) -> str:
    target = ctx.views.tables[rel.target]
    allowed = condition(ctx, row_filter(target), Scope(remote, remote))
    return f"FROM {key_name(rel.target)} AS {remote} WHERE {join(rel, alias, remote)} AND {allowed}"


def distinct_terms(view: TableView, names: list[str], alias: str) -> list[str]:
    return [f"{alias}.{ident(view.readable.columns[name].name)}" for name in names]


def _field(ctx: Context, view: TableView, sel: Sel, alias: str) -> str:
    if sel.is_typename:
        return literal(sel.type_name)
    if sel.name == "count":
        return _count(ctx, view, sel, alias)
    return build_object([(sub.alias, _operator(ctx, view, sel.name, sub, alias)) for sub in sel.subs])


def _count(ctx: Context, view: TableView, sel: Sel, alias: str) -> str:
    names = sel.args.get("columns")
    if not names:
        return "count(*)"
    columns = ", ".join(f"{alias}.{ident(view.readable.columns[name].name)}" for name in names)
    columns = f"({columns})" if len(names) > 1 else columns
    return f"count(DISTINCT {columns})" if sel.args.get("distinct") else f"count({columns})"


def _operator(ctx: Context, view: TableView, operator: str, sel: Sel, alias: str) -> str:
    if sel.is_typename:
        return literal(sel.type_name)
    column = view.readable.columns[sel.name]
    value = f"{operator}({alias}.{ident(column.name)})"
    return f"({value})::text" if ctx.stringify and column.type.internal in BIG_NUMBERS else value


def build_object(pairs: list[tuple[str, str]]) -> str:
    """Return json_build_object, split into several calls: PostgreSQL allows 100 arguments per call."""
    if len(pairs) <= MAX_PAIRS_PER_CALL:
        return f"json_build_object({', '.join(f'{literal(name)}, {value}' for name, value in pairs)})"
    chunks = [pairs[i : i + MAX_PAIRS_PER_CALL] for i in range(0, len(pairs), MAX_PAIRS_PER_CALL)]
    return "(" + " || ".join(f"({build_object(chunk)})::jsonb" for chunk in chunks) + ")"


@dataclass
class Source:
    """The origin of rows: SQL after FROM, the join to an outer row, a further condition, arguments."""

    table: str
    relationship: Relationship | None = None
    outer: str = ""
    extra: BoolExp = TRUE
    filtered: bool = True
    args: Json = field(default_factory=dict)
    single: bool = False
    permission_limit: bool = True


def base_rows(ctx: Context, view: TableView, source: Source) -> str:
    """Return `(SELECT … FROM …)` of all columns, filtered, ordered and limited."""
    alias = ctx.alias()
    scope = Scope(alias, alias)
    exp = both(source.extra, where_exp(ctx.views, view, source.args.get("where")))
    if source.filtered:
        exp = both(row_filter(view), exp)
    tests = [] if exp == TRUE else [condition(ctx, exp, scope)]
    if source.relationship is not None:
        tests.insert(0, join(source.relationship, source.outer, alias))
    ordering = order_terms(ctx, view, source.args.get("order_by"), alias)
    distinct = source.args.get("distinct_on")
    head = "SELECT"
    if distinct:
        terms = distinct_terms(view, distinct, alias)
        head = f"SELECT DISTINCT ON ({', '.join(terms)})"
        if not ordering:
            ordering = [(term, "ASC NULLS LAST") for term in terms]
    parts = [f"{head} {alias}.* FROM {source.table} AS {alias}"]
    if tests:
        parts.append(f"WHERE {' AND '.join(tests)}")
    if ordering:
        parts.append("ORDER BY " + ", ".join(f"{term} {direction}" for term, direction in ordering))
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
    allowed = view.select.limit if view.select and source.filtered and source.permission_limit else None
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


def object_json(fields: list[tuple[str, str]]) -> str:
    """Return the JSON object of (name, expression) pairs; no GraphQL name equals the alias `e$`."""
    if any(len(name) > MAX_IDENTIFIER_BYTES for name, _ in fields):
        return f"json_build_object({', '.join(f'{literal(n)}, {e}' for n, e in fields)})"
    selected = ", ".join(f"{expression} AS {ident(name)}" for name, expression in fields)
    return f'row_to_json((SELECT "e$" FROM (SELECT {selected}) AS "e$"))'


def row_json(ctx: Context, view: TableView, sels: list[Sel], alias: str) -> str:
    return object_json([(sel.alias, field_sql(ctx, view, sel, alias)) for sel in sels])


def field_sql(ctx: Context, view: TableView, sel: Sel, alias: str) -> str:
    if sel.is_typename:
        return f"{literal(sel.type_name)}::text"
    column = view.readable.columns.get(sel.name)
    if column is not None:
        return column_sql(ctx, view, sel, column, alias)
    rel = view.tracked.relationships.get(sel.name)
    if rel is not None:
        return rows_json(ctx, ctx.views.tables[rel.target], sel.subs, related_source(rel, sel, alias))
    rel = view.tracked.relationships[sel.name.removesuffix("_aggregate")]
    return aggregate_json(ctx, ctx.views.tables[rel.target], sel, related_source(rel, sel, alias))


def related_source(rel: Relationship, sel: Sel, alias: str) -> Source:
    return Source(key_name(rel.target), rel, alias, args=sel.args, single=not rel.is_array)


def column_sql(ctx: Context, view: TableView, sel: Sel, column: Column, alias: str) -> str:
    """Return a column: reduced by a JSON path, or as text if numbers are stringified."""
    value = f"{alias}.{ident(column.name)}"
    if sel.args.get("path") is not None:
        steps = json_steps(sel.args["path"])
        if steps:
            value = f"({value} #> {ctx.value(TEXTS, steps)})"
    return shown(ctx, column, value)


def shown(ctx: Context, column: Column, value: str) -> str:
    """Return a value as clients see it: big numbers as text if configured."""
    return f"({value})::text" if ctx.stringify and column.type.internal in BIG_NUMBERS else value


def aggregate_json(ctx: Context, view: TableView, sel: Sel, source: Source) -> str:
    """Return `<table>_aggregate`: aggregates over all rows; only `nodes` obey the permission's limit."""
    source.single = False
    allowed = view.readable.limit if source.filtered else None
    source.permission_limit = False
    rows = base_rows(ctx, view, source)
    alias, numbered = ctx.alias(), ctx.alias()
    if allowed is not None:
        rows = f"(SELECT {numbered}.*, row_number() OVER () AS row__ FROM {rows} AS {numbered})"
    fields: list[tuple[str, str]] = []
    for sub in sel.subs:
        if sub.is_typename:
            value = f"{literal(sub.type_name)}::text"
        elif sub.name == "aggregate":
            value = build_object([(each.alias, _field(ctx, view, each, alias)) for each in sub.subs])
        else:
            cut = "" if allowed is None else f" FILTER (WHERE {alias}.row__ <= {allowed})"
            value = f"coalesce(json_agg({row_json(ctx, view, sub.subs, alias)}){cut}, '[]'::json)"
        fields.append((sub.alias, value))
    pairs = ", ".join(f"{literal(name)}, {value}" for name, value in fields)
    # Without an aggregate function among the pairs, HAVING makes all rows one group.
    return f"(SELECT json_build_object({pairs}) FROM {rows} AS {alias} HAVING true)"
