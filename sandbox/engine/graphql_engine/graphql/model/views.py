"""The tracked tables as one role sees them: the permissions of the metadata, resolved once per role.

The role `admin` sees everything. Facts: the engine's `RQL/DDL/Permission`.
"""

from dataclasses import dataclass, field
from typing import Any

from graphql_engine.catalog import Column, Key
from graphql_engine.graphql.model.conditions import TRUE, BoolExp, Operand, Unfit, operand, permission_exp
from graphql_engine.graphql.model.tables import Model, Relationship, TrackedTable

Json = dict[str, Any]
KINDS = ("select", "insert", "update", "delete")


@dataclass
class SelectView:
    columns: dict[str, Column]
    filter: BoolExp = TRUE
    limit: int | None = None
    aggregations: bool = True
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


def _grant_all(view: TableView) -> None:
    tracked = view.tracked
    columns = dict(tracked.gql_columns)
    view.select = SelectView(columns)
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
        items = view.tracked.entry.get(f"{kind}_permissions") or []
        found = next((item["permission"] for item in items if item["role"] == role), None)
        if found is None:
            continue
        try:
            if kind == "select":
                view.select = _select(view.tracked, model, found)
            elif allowed[kind]:
                setattr(view, kind, _write(view.tracked, model, found, kind))
        except (KeyError, Unfit):
            continue  # inconsistent: it names a missing object, so it grants nothing


def _columns(tracked: TrackedTable, wanted: Any) -> dict[str, Column]:
    if wanted == "*":
        return dict(tracked.gql_columns)
    return {gql: column for gql, column in tracked.gql_columns.items() if column.name in wanted}


def _select(tracked: TrackedTable, model: Model, definition: Json) -> SelectView:
    fields = definition.get("query_root_fields")
    subscriptions = definition.get("subscription_root_fields")
    return SelectView(
        _columns(tracked, definition.get("columns") or []),
        permission_exp(tracked, model.tables, definition.get("filter")),
        definition.get("limit"),
        bool(definition.get("allow_aggregations")),
        query_fields=None if fields is None else frozenset(fields),
        subscription_fields=None if subscriptions is None else frozenset(subscriptions),
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
