"""The `aggregate` object of an aggregate selection as SQL."""

from graphql_engine.graphql.document.selection import Sel
from graphql_engine.graphql.model.names import BIG_NUMBERS
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.sql.context import Context, ident, literal

MAX_PAIRS_PER_CALL = 45  # 90 arguments; PostgreSQL allows 100


def aggregate_object(ctx: Context, view: TableView, sels: list[Sel], alias: str) -> str:
    """Return count, sum, avg, … over the rows at `alias`."""
    return build_object([(sel.alias, _field(ctx, view, sel, alias)) for sel in sels])


def _field(ctx: Context, view: TableView, sel: Sel, alias: str) -> str:
    if sel.is_typename:
        return literal(sel.type_name)
    if sel.name == "count":
        return _count(ctx, view, sel, alias)
    return build_object([(sub.alias, _operator(ctx, view, sel.name, sub, alias)) for sub in sel.subs])


def _count(ctx: Context, view: TableView, sel: Sel, alias: str) -> str:
    assert view.select is not None
    names = sel.args.get("columns")
    if not names:
        return "count(*)"
    columns = ", ".join(f"{alias}.{ident(view.select.columns[name].name)}" for name in names)
    columns = f"({columns})" if len(names) > 1 else columns
    return f"count(DISTINCT {columns})" if sel.args.get("distinct") else f"count({columns})"


def _operator(ctx: Context, view: TableView, operator: str, sel: Sel, alias: str) -> str:
    if sel.is_typename:
        return literal(sel.type_name)
    assert view.select is not None
    column = view.select.columns[sel.name]
    value = f"{operator}({alias}.{ident(column.name)})"
    return f"({value})::text" if ctx.stringify and column.type.internal in BIG_NUMBERS else value


def build_object(pairs: list[tuple[str, str]]) -> str:
    """Return json_build_object, split into several calls: PostgreSQL allows 100 arguments per call."""
    if len(pairs) <= MAX_PAIRS_PER_CALL:
        return f"json_build_object({', '.join(f'{literal(name)}, {value}' for name, value in pairs)})"
    chunks = [pairs[i : i + MAX_PAIRS_PER_CALL] for i in range(0, len(pairs), MAX_PAIRS_PER_CALL)]
    return "(" + " || ".join(f"({build_object(chunk)})::jsonb" for chunk in chunks) + ")"
