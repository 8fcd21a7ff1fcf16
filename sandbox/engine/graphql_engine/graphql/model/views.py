"""The tracked tables as one role sees them: the permissions of the metadata, resolved once per role.

The role `admin` sees everything. Facts: the engine's `RQL/DDL/Permission` and its docs on inherited roles.
"""

from dataclasses import dataclass, field
from typing import Any

from graphql_engine.catalog import Column, Key
from graphql_engine.graphql.model.boolexp import TRUE, AnyOf, BoolExp, Operand
from graphql_engine.graphql.model.permissions import operand, permission_exp
from graphql_engine.graphql.model.tables import ComputedField, Model, Relationship, TrackedTable

Json = dict[str, Any]
KINDS = ("select", "insert", "update", "delete")


@dataclass
class SelectView:
    """Select permission. redactions: conditions under which a column is shown (inherited roles)."""

    columns: dict[str, Column]
    filter: BoolExp = TRUE
    limit: int | None = None
    aggregations: bool = True
    computed: dict[str, ComputedField] = field(default_factory=dict)
    redactions: dict[str, BoolExp] = field(default_factory=dict)
    query_fields: frozenset[str] | None = None
    subscription_fields: frozenset[str] | None = None


@dataclass
class WriteView:
    """Insert, update or delete permission; `columns` are those that a client may set."""

    columns: dict[str, Column] = field(default_factory=dict)
    filter: BoolExp = TRUE
    check: BoolExp = TRUE
    presets: dict[str, Operand] = field(default_factory=dict)
    backend_only: bool = False


@dataclass
class TableView:
    tracked: TrackedTable
    select: SelectView | None = None
    insert: WriteView | None = None
    update: WriteView | None = None
    delete: WriteView | None = None

    @property
    def name(self) -> str:
        """The GraphQL name of the table."""
        return self.tracked.name


@dataclass
class RoleViews:
    role: str
    model: Model
    tables: dict[Key, TableView]

    def selectable(self, key: Key) -> TableView | None:
        """Return the view of a table if the role may read it."""
        view = self.tables.get(key)
        return view if view is not None and view.select is not None else None

    def relationships(self, view: TableView) -> list[tuple[Relationship, TableView]]:
        """Return the relationships of a table to tables that the role may read."""
        pairs = [(rel, self.selectable(rel.target)) for rel in view.tracked.relationships.values()]
        return [(rel, target) for rel, target in pairs if target is not None]


def build_views(model: Model, role: str, backend: bool) -> RoleViews:
    """Build the views of a role. backend: whether permissions marked backend_only count."""
    tables: dict[Key, TableView] = {}
    for key, tracked in model.tables.items():
        view = TableView(tracked)
        if role == "admin":
            _grant_all(view)
        else:
            _grant(view, model, role)
        for kind in KINDS[1:]:
            permission = getattr(view, kind)
            if permission is not None and permission.backend_only and not backend:
                setattr(view, kind, None)
        tables[key] = view
    return RoleViews(role, model, tables)


def definitions(
    model: Model, tracked: TrackedTable, kind: str, role: str, seen: frozenset[str] = frozenset()
) -> list[Json]:
    """Return the permissions of a role: its own, else those of the roles it inherits from."""
    for item in tracked.entry.get(f"{kind}_permissions") or []:
        if item["role"] == role:
            return [item["permission"]]
    found: list[Json] = []
    for parent in model.inherited.get(role, []):
        if parent not in seen:
            found += definitions(model, tracked, kind, parent, seen | {role})
    return found


def _grant_all(view: TableView) -> None:
    tracked = view.tracked
    columns = dict(tracked.gql_columns)
    view.select = SelectView(columns, computed=dict(tracked.computed_fields))
    writable = {name: column for name, column in columns.items() if not column.generated}
    insertable = {name: column for name, column in writable.items() if not column.always_identity}
    if tracked.table.insertable:
        view.insert = WriteView(insertable)
    if tracked.table.updatable:
        view.update = WriteView(insertable)
    if tracked.table.deletable:
        view.delete = WriteView()


def _grant(view: TableView, model: Model, role: str) -> None:
    table = view.tracked.table
    allowed = {"insert": table.insertable, "update": table.updatable, "delete": table.deletable}
    for kind in KINDS:
        found = definitions(model, view.tracked, kind, role)
        try:
            if kind == "select":
                view.select = combine([_select(view.tracked, model, definition) for definition in found])
            elif allowed[kind] and found and all(definition == found[0] for definition in found):
                setattr(view, kind, _write(view.tracked, model, found[0], kind))
        except KeyError:
            continue  # inconsistent: it names a missing object, so it grants nothing


def _columns(tracked: TrackedTable, wanted: Any) -> dict[str, Column]:
    if wanted == "*":
        return dict(tracked.gql_columns)
    return {gql: column for gql, column in tracked.gql_columns.items() if column.name in wanted}


def _select(tracked: TrackedTable, model: Model, definition: Json) -> SelectView:
    computed = definition.get("computed_fields") or []
    fields = definition.get("query_root_fields")
    subscriptions = definition.get("subscription_root_fields")
    return SelectView(
        _columns(tracked, definition.get("columns") or []),
        permission_exp(tracked, model.tables, definition.get("filter")),
        definition.get("limit"),
        bool(definition.get("allow_aggregations")),
        {
            name: item
            for name, item in tracked.computed_fields.items()
            if name in computed or item.function.returns_table is not None
        },
        query_fields=None if fields is None else frozenset(fields),
        subscription_fields=None if subscriptions is None else frozenset(subscriptions),
    )


def combine(views: list[SelectView]) -> SelectView | None:
    """Unite several roles: a column is shown only in rows that a role with that column may see."""
    if not views:
        return None
    if len(views) == 1:
        return views[0]
    columns: dict[str, Column] = {}
    computed: dict[str, ComputedField] = {}
    for view in views:
        columns.update(view.columns)
        computed.update(view.computed)
    redactions: dict[str, BoolExp] = {
        name: AnyOf(tuple(view.filter for view in views if name in view.columns))
        for name in columns
        if not all(name in view.columns for view in views)
    }
    for name in computed:
        if not all(name in view.computed for view in views):
            redactions[name] = AnyOf(tuple(view.filter for view in views if name in view.computed))
    limits = [view.limit for view in views]
    return SelectView(
        columns,
        AnyOf(tuple(view.filter for view in views)),
        None if None in limits else max(limit for limit in limits if limit is not None),
        any(view.aggregations for view in views),
        computed,
        redactions,
    )


def _write(tracked: TrackedTable, model: Model, definition: Json, kind: str) -> WriteView:
    presets = {name: operand(value) for name, value in (definition.get("set") or {}).items()}
    wanted = definition.get("columns", "*" if kind == "insert" else [])
    columns = {
        name: column
        for name, column in _columns(tracked, wanted).items()
        if column.name not in presets and not column.generated and not column.always_identity
    }
    check = definition.get("check")
    return WriteView(
        columns,
        permission_exp(tracked, model.tables, definition.get("filter")),
        permission_exp(tracked, model.tables, check),
        presets,
        bool(definition.get("backend_only")),
    )
