"""`order_by` and `distinct_on` as SQL. Facts: the engine's `Translate/Select/Internal/OrderBy`."""

from typing import Any

from graphql_engine.graphql.model.boolexp import Scope
from graphql_engine.graphql.model.tables import Relationship
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.sql.context import Context, ident, join, key_name
from graphql_engine.graphql.sql.where import condition
from graphql_engine.graphql.sql.where_values import row_filter

DIRECTIONS = {
    "asc": "ASC NULLS LAST",
    "asc_nulls_first": "ASC NULLS FIRST",
    "asc_nulls_last": "ASC NULLS LAST",
    "desc": "DESC NULLS FIRST",
    "desc_nulls_first": "DESC NULLS FIRST",
    "desc_nulls_last": "DESC NULLS LAST",
}
Terms = list[tuple[str, str]]


def order_terms(ctx: Context, view: TableView, items: Any, alias: str) -> Terms:
    """Return (expression, direction) of every ordering in `items` (a list of `<table>_order_by`)."""
    terms: Terms = []
    for item in items or []:
        for name, value in (item or {}).items():
            if value is not None:
                terms += _terms(ctx, view, name, value, alias)
    return terms


def _terms(ctx: Context, view: TableView, name: str, value: Any, alias: str) -> Terms:
    assert view.select is not None
    if name in view.select.columns:
        return [(f"{alias}.{ident(view.select.columns[name].name)}", DIRECTIONS[value])]
    rel = view.tracked.relationships.get(name)
    if rel is not None:
        return _related(ctx, rel, value, alias)
    return _aggregates(ctx, view.tracked.relationships[name.removesuffix("_aggregate")], value, alias)


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


def _aggregates(ctx: Context, rel: Relationship, value: Any, alias: str) -> Terms:
    target = ctx.views.tables[rel.target]
    assert target.select is not None
    terms: Terms = []
    for function, inner in value.items():
        if inner is None:
            continue
        chosen = {None: inner} if function == "count" else inner
        for name, direction in chosen.items():
            if direction is None:
                continue
            remote = ctx.alias()
            argument = "*" if name is None else f"{remote}.{ident(target.select.columns[name].name)}"
            source = _source(ctx, rel, alias, remote)
            terms.append((f"(SELECT {function}({argument}) {source})", DIRECTIONS[direction]))
    return terms


def distinct_terms(view: TableView, names: list[str], alias: str) -> list[str]:
    """Return the expressions of DISTINCT ON."""
    assert view.select is not None
    return [f"{alias}.{ident(view.select.columns[name].name)}" for name in names]
