"""Find what of the metadata does not fit the database: the inconsistent objects; and what DDL did to it.

Facts: the engine's `RQL/DDL/Schema/Cache`, `RQL/DDL/Action` and `RQL/Types/SchemaCacheTypes`
(reportSchemaObj), its tests of inconsistencies (names, reasons, types), and recorded answers of a genuine
engine of v2.48.10.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphql import parse_type
from psycopg import AsyncConnection

from graphql_engine.actions import base_name
from graphql_engine.catalog import Catalog, Key, Table, key_of, spelled
from graphql_engine.errors import QErr, unsupported
from graphql_engine.graphql.model import TrackedTable, Unfit, build_model, check_value, permission_exp
from graphql_engine.metadata.access import (
    DEFAULT_SOURCE,
    Json,
    inconsistent,
    permission_name,
    source_url,
    table_object,
)
from graphql_engine.metadata.stored_queries import drop_inconsistent, endpoint_problems, stored_query_problems
from graphql_engine.webhooks import fill_template, resolve_headers, resolve_webhook

KINDS = ("scalars", "enums", "input_objects", "objects")
BULLET = "\n  • "
BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}
POSTGRES_SCALARS = {
    "bigint", "bigserial", "bit", "bool", "bpchar", "bytea", "char", "citext", "cidr", "date", "float8",
    "float4", "geography", "geometry", "inet", "int2", "int4", "int8", "integer", "interval", "json", "jsonb",
    "macaddr", "money", "name", "numeric", "raster", "serial", "smallint", "text", "time", "timestamp",
    "timestamptz", "timetz", "tsvector", "uuid", "varchar", "xml", "ltree", "lquery", "oid", "float", "real",
    "_text", "_int4", "_uuid",
}  # fmt: skip
# By the kind of a root field: its name, for a table called {0}.
QUERIES = {"select": "{0}", "select_aggregate": "{0}_aggregate", "select_by_pk": "{0}_by_pk"}
MUTATIONS = {
    "insert": "insert_{0}", "insert_one": "insert_{0}_one", "update": "update_{0}",
    "update_by_pk": "update_{0}_by_pk", "update_many": "update_{0}_many", "delete": "delete_{0}",
    "delete_by_pk": "delete_{0}_by_pk",
}  # fmt: skip
PERMISSIONS = ("insert", "select", "update", "delete")
CUSTOM_TYPES = "custom_types custom_types"
NO_ADMIN = "cannot define permission for admin role"
DEFAULTS: dict[str, Json] = {
    "select": {"computed_fields": [], "allow_aggregations": False},
    "insert": {"set": {}, "backend_only": False},
    "update": {"set": {}, "backend_only": False, "check": None},
    "delete": {"backend_only": False},
}


def action_problems(
    metadata: Json, environment: Mapping[str, str], *, broken_types: bool
) -> Iterator[tuple[Json, str]]:
    """Return each action that names an unknown type or an unset variable, with the reason."""
    types = metadata.get("custom_types", {})
    inputs = _names(types, "scalars", "enums", "input_objects") | BUILT_IN | POSTGRES_SCALARS
    outputs = _names(types, "scalars", "enums", "objects") | BUILT_IN | POSTGRES_SCALARS
    for action in metadata.get("actions", []):
        if broken_types:
            yield action, "custom types are inconsistent"
        elif reason := _action_problem(action["definition"], inputs, outputs, environment):
            yield action, f'in action "{action["name"]}"; {reason}'


def _action_problem(
    definition: Json, inputs: set[str], outputs: set[str], environment: Mapping[str, str]
) -> str | None:
    for argument in definition.get("arguments", []):
        base = base_name(parse_type(argument["type"]))
        if base not in inputs:
            return (
                f'the type: "{base}" is not defined in custom types or it is not a scalar/enum/input_object'
            )
    base = base_name(parse_type(definition["output_type"]))
    if base not in outputs:
        return f'the type: "{base}" is not an object or scalar type defined in custom types'
    try:
        fill_template(definition["handler"], environment)
    except QErr as error:
        return error.message
    return None


def complete_action(action: Json) -> Json:
    """Return an action as inconsistent objects show it: with defaults, without permissions."""
    definition: Json = {"forward_client_headers": False, "headers": [], "timeout": 30, "type": "mutation"}
    definition |= action["definition"]
    definition["arguments"] = [{"description": None, **each} for each in definition.get("arguments") or []]
    shown = {key: value for key, value in action.items() if key != "permissions"}
    return {"comment": None, **shown, "definition": definition}


def complete_types(types: Json) -> Json:
    """Return custom types as inconsistent objects show them: with defaults."""
    shown: Json = {kind: list(types.get(kind, [])) for kind in ("enums", "scalars")}
    for kind, extra in (("input_objects", {}), ("objects", {"arguments": None})):
        shown[kind] = [
            {"description": None, **item}
            | {"fields": [{"description": None, **extra, **field} for field in item["fields"]]}
            for item in types.get(kind, [])
        ]
    for item in shown["objects"]:
        related = item.get("relationships") or []
        item["relationships"] = [{"source": DEFAULT_SOURCE, **each} for each in related]
    return shown


def _names(types: Json, *kinds: str) -> set[str]:
    return {item["name"] for kind in kinds for item in types.get(kind, [])}


def custom_type_problem(metadata: Json, *, broken_sources: bool) -> str | None:
    """Return the reason why the custom types are invalid, or None.

    broken_sources: no source can be used, so the scalars of PostgreSQL are not known.
    """
    types = metadata.get("custom_types", {})
    reasons = list(_duplicates(types))
    known = BUILT_IN | (set() if broken_sources else POSTGRES_SCALARS) | _names(types, "scalars", "enums")
    for item in types.get("input_objects", []):
        reasons += _field_problems(item, " input object", known | _names(types, "input_objects"))
    for item in types.get("objects", []) if not reasons else []:
        reasons += _field_problems(item, " object", known | _names(types, "objects"))
        reasons += _relationship_problems(item, metadata)
    if not reasons:
        return None
    start = "validation for the given custom types failed"
    if len(reasons) == 1:
        return f"{start} because {reasons[0]}"
    return f"{start} for the following reasons:{''.join(BULLET + reason for reason in reasons)}\n"


def _duplicates(types: Json) -> Iterator[str]:
    names = [item["name"] for kind in KINDS for item in types.get(kind, [])]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"duplicate type names: {_quoted(twice)}"
    for item in types.get("objects", []):
        fields = [field["name"] for field in item["fields"]]
        if twice := sorted({name for name in fields if fields.count(name) > 1}):
            yield f'the object "{item["name"]}" has duplicate fields: {_quoted(twice)}'


def _field_problems(item: Json, word: str, known: set[str]) -> Iterator[str]:
    for field in item.get("fields", []):
        base = base_name(parse_type(field["type"]))
        if base not in known:
            place = f'field "{field["name"]}" in {word} type "{item["name"]}"'
            yield f'the type "{base}" for {place} does not exist'


def _relationship_problems(item: Json, metadata: Json) -> Iterator[str]:
    tracked = {key_of(table["table"]) for source in metadata["sources"] for table in source["tables"]}
    for rel in item.get("relationships") or []:
        if key_of(rel["remote_table"]) not in tracked:
            yield (
                f'the remote table "{spelled(rel["remote_table"])}" for relationship "{rel["name"]}"'
                f' of object type "{item["name"]}" does not exist'
            )


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def configuration_problem(table: Json, real: Table) -> str | None:
    """Return the reason why the custom names of a table's columns do not fit, or None."""
    configuration = table.get("configuration") or {}
    names = dict(configuration.get("custom_column_names") or {})
    for column, settings in (configuration.get("column_config") or {}).items():
        if settings.get("custom_name"):
            names[column] = settings["custom_name"]
    for column in [*names, *(configuration.get("column_config") or {})]:
        if column not in real.columns:
            return f'configuration was given for the column "{column}", but no such column exists'
    owners: dict[str, str] = {}
    for column in real.columns:
        shown = names.get(column, column)
        if shown in owners:
            return (
                f'the definitions of columns "{column}" and "{owners[shown]}" are in conflict:'
                f' they are mapped to the same field name, "{shown}"'
            )
        owners[shown] = column
    return None


def source_problem(source: Json, environment: Mapping[str, str]) -> str | None:
    """Return the reason why a source cannot be used, or None: its variable is not set."""
    if source_url(source, environment) is not None:
        return None
    variable = source["configuration"]["connection_info"]["database_url"]["from_env"]
    return f"environment variable '{variable}' not set"


Owners = dict[str, list[str]]


def root_field_clash(metadata: Json, catalog: Catalog) -> str | None:
    """Return the engine's message about root fields that are defined twice, or None."""
    model = build_model(metadata, catalog)
    for root, kinds, actions in (("mutation_root", MUTATIONS, "mutation"), ("query_root", QUERIES, "query")):
        owners: Owners = {}
        for table in model.tables.values():
            place = f"table {spelled(table.table.key)} in source {DEFAULT_SOURCE}"
            for field in _fields(table, kinds):
                owners.setdefault(field, []).append(place)
        for action in metadata.get("actions", []):
            if action["definition"].get("type", "mutation") == actions:
                owners.setdefault(action["name"], []).append(f"action {action['name']}")
        twice = [f"'{field}' defined in [{', '.join(who)}]" for field, who in owners.items() if len(who) > 1]
        if twice:
            named = f"for field {twice[0]}" if len(twice) == 1 else f"for fields: [{', '.join(twice)}]"
            return (
                f"Encountered conflicting definitions in the selection set for '{root}' {named}."
                " Fields must not be defined more than once across all sources."
            )
    return None


def _fields(table: TrackedTable, kinds: dict[str, str]) -> Iterator[str]:
    for kind, pattern in kinds.items():
        if kind.endswith("_by_pk") and table.table.primary_key is None:
            continue
        yield table.root_field(kind, pattern.format(table.name))


@dataclass(frozen=True)
class Place:
    """The metadata, the catalog, the environment and the tables as GraphQL sees them, for the checks."""

    metadata: Json
    catalog: Catalog
    environment: Mapping[str, str]
    tables: Mapping[Key, TrackedTable]

    def tracked(self, source: Json, key: tuple[str, str]) -> Json | None:
        return next((t for t in source["tables"] if key_of(t["table"]) == key), None)


def find_inconsistencies(metadata: Json, catalog: Catalog, environment: Mapping[str, str]) -> list[Json]:
    """Return every inconsistent object: its name, type, definition and reason."""
    place = Place(metadata, catalog, environment, build_model(metadata, catalog).tables)
    found: list[Json] = []
    for source in metadata["sources"]:
        if reason := source_problem(source, environment):
            found.append(inconsistent("source", f"source {source['name']}", source["name"], reason))
            continue
        for table in source["tables"]:
            found.extend(_table(place, source, table))
    found.extend(_cron_triggers(place))
    found.extend(_custom_types(metadata, broken_sources=bool(found) and found[0]["type"] == "source"))
    broken_types = bool(found) and found[-1]["type"] == "custom_types"
    for action, reason in action_problems(metadata, environment, broken_types=broken_types):
        found.append(inconsistent("action", f"action {action['name']}", complete_action(action), reason))
    found.extend(stored_query_problems(metadata, catalog, found))
    found.extend(endpoint_problems(metadata))
    return found


def _table(place: Place, source: Json, table: Json) -> Iterator[Json]:
    name = spelled(table["table"])
    real = place.catalog.tables.get(key_of(table["table"]))
    if real is None:
        label = f"table {name} in source {source['name']}"
        reason = f'no such table/view exists in source: "{name}"'
        yield inconsistent("table", label, table_object(table["table"]), reason)
        return
    if names := configuration_problem(table, real):
        label = f"table {name} in source {source['name']}"
        yield inconsistent("table", label, table_object(table["table"]), names)
        return
    yield from _relationships(place, source, table, real)
    yield from _permissions(place, source, table)
    yield from _event_triggers(place, source, table, real)


def _custom_types(metadata: Json, *, broken_sources: bool) -> Iterator[Json]:
    types = metadata.get("custom_types", {})
    reason = custom_type_problem(metadata, broken_sources=broken_sources)
    if reason:
        yield inconsistent("custom_types", CUSTOM_TYPES, complete_types(types), reason)


def _relationships(place: Place, source: Json, table: Json, real: Table) -> Iterator[Json]:
    name = spelled(table["table"])
    for word, key in (("object_relation", "object_relationships"), ("array_relation", "array_relationships")):
        for item in table.get(key, []):
            reason = _relationship_reason(place, source, real, item)
            if reason:
                label = f"{word} {item['name']} in table {name} in source {source['name']}"
                using = item["using"]
                manual = using.get("manual_configuration")
                if manual is not None:
                    using = {**using, "manual_configuration": {"insertion_order": None, **manual}}
                definition = {"name": item["name"], "using": using, "source": source["name"]}
                definition |= {"comment": item.get("comment"), "table": table_object(table["table"])}
                full = reason
                if manual is None:
                    full = f'in table "{name}": in relationship "{item["name"]}": {reason}'
                yield inconsistent(word, label, definition, full)


def _relationship_reason(place: Place, source: Json, real: Table, item: Json) -> str | None:
    using = item["using"]
    manual = using.get("manual_configuration")
    if manual is not None:
        remote_key = key_of(manual["remote_table"])
        remote = place.catalog.tables.get(remote_key)
        sides = [(real, manual["column_mapping"]), (remote, manual["column_mapping"].values())]
        for side, columns in sides:
            for column in columns:
                if side is not None and column not in side.columns:
                    shown = spelled(side.key)
                    return f'table "{shown}" has no field named "{column}"'
    else:
        on = using.get("foreign_key_constraint_on")
        if on is None:
            return "expecting one of foreign_key_constraint_on or manual_configuration"
        if isinstance(on, dict):
            remote_key = key_of(on["table"])
            remote = place.catalog.tables.get(remote_key)
            if remote is None:
                return f'table "{spelled(on["table"])}" does not exist in source: {source["name"]}'
            columns = [on["column"]] if "column" in on else list(on["columns"])
            keys = remote.foreign_keys if remote else ()
            fits = any(set(k.columns) == set(columns) and k.target == real.key for k in keys)
        else:
            columns = [on] if isinstance(on, str) else list(on)
            found = next((k for k in real.foreign_keys if set(k.columns) == set(columns)), None)
            fits, remote_key = found is not None, found.target if found else real.key
        if not fits:
            return "no foreign constraint exists on the given column(s)"
    if place.tracked(source, remote_key) is None:
        return f'table "{spelled(remote_key)}" is not tracked'
    return None


def _permissions(place: Place, source: Json, table: Json) -> Iterator[Json]:
    name, tracked = spelled(table["table"]), place.tables.get(key_of(table["table"]))
    if tracked is None:  # its name is no GraphQL name
        return
    for kind in PERMISSIONS:
        for item in table.get(f"{kind}_permissions", []):
            reason = NO_ADMIN if item["role"] == "admin" else None
            reason = reason or _permission_problem(tracked, place.tables, item["permission"])
            if reason:
                label = permission_name(kind, item["role"], name, source["name"])
                definition = {"source": source["name"], "table": table_object(table["table"])}
                permission = DEFAULTS[kind] | item["permission"]
                definition |= {"role": item["role"], "permission": permission, "comment": item.get("comment")}
                full = f'in table "{name}": in permission for role "{item["role"]}": {reason}'
                yield inconsistent(f"{kind}_permission", label, definition, full)


def _permission_problem(
    table: TrackedTable, tables: Mapping[Key, TrackedTable], permission: Json
) -> str | None:
    columns, presets, real = permission.get("columns"), permission.get("set") or {}, table.table.columns
    for column in [*(columns if isinstance(columns, list) else ()), *presets]:
        if column not in real:
            return f'column "{column}" does not exist'
    if (permission.get("limit") or 0) < 0:
        return "unexpected negative value"
    try:
        for column, value in presets.items():
            check_value(real[column], value)
        for key in ("filter", "check"):
            permission_exp(table, dict(tables), permission.get(key))
    except Unfit as error:
        return str(error)
    return None


def _event_triggers(place: Place, source: Json, table: Json, real: Table) -> Iterator[Json]:
    for trigger in table.get("event_triggers", []):
        name = spelled(table["table"])
        reason = _event_trigger_problem(place, name, trigger, real)
        if reason:
            label = f"event_trigger {trigger['name']} in table {name} in source {source['name']}"
            definition = {"configuration": trigger, "table": table_object(table["table"])}
            yield inconsistent("event_trigger", label, definition, reason)


def _event_trigger_problem(place: Place, table: str, trigger: Json, real: Table) -> str | None:
    for operation in ("insert", "update", "delete"):
        spec = trigger["definition"].get(operation) or {}
        for column in _listed(spec.get("columns")) + _listed(spec.get("payload")):
            if column not in real.columns:
                return f'table "{table}" has no field named "{column}"'
    try:
        resolve_webhook(trigger, place.environment)
        resolve_headers(trigger.get("headers"), place.environment)
    except QErr as error:
        return f'in table "{table}": in event trigger "{trigger["name"]}": {error.message}'
    return None


def _listed(columns: object) -> list[str]:
    return columns if isinstance(columns, list) else []


def _cron_triggers(place: Place) -> Iterator[Json]:
    for trigger in place.metadata.get("cron_triggers", []):
        try:
            fill_template(trigger["webhook"], place.environment)
            resolve_headers(trigger.get("headers"), place.environment)
        except QErr as error:
            label = f"cron_trigger {trigger['name']}"
            reason = f"in cron trigger {trigger['name']}: {error.message}"
            yield inconsistent("cron_trigger", label, trigger, reason)


Oids = dict[int, tuple[str, str]]


async def tracked_oids(connection: AsyncConnection, metadata: Json) -> Oids:
    """Return (schema, name) of the tracked tables that exist, by oid."""
    keys = [key_of(table["table"]) for source in metadata["sources"] for table in source["tables"]]
    cursor = await connection.execute(
        "SELECT c.oid::int8, n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n"
        " ON n.oid = c.relnamespace WHERE (n.nspname || '.' || c.relname) = ANY(%s)",
        [[".".join(key) for key in keys]],
    )
    return {oid: (schema, name) for oid, schema, name in await cursor.fetchall()}


async def remove_dropped(connection: AsyncConnection, metadata: Json, before: Oids) -> None:
    """Remove the tables that are gone since `before`. Raises QErr `not-supported` for a renamed one."""
    cursor = await connection.execute(
        "SELECT c.oid::int8, n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n"
        " ON n.oid = c.relnamespace WHERE c.oid = ANY(%s::int8[])",
        [list(before)],
    )
    after = {oid: (schema, name) for oid, schema, name in await cursor.fetchall()}
    for oid, key in after.items():
        if key != before[oid]:
            raise unsupported(f'renaming the tracked table "{before[oid][1]}"')
    gone = {key for oid, key in before.items() if oid not in after}
    for source in metadata["sources"]:
        source["tables"] = [table for table in source["tables"] if key_of(table["table"]) not in gone]


def drop_dependents(metadata: Json, new: list[Json], *, cascade: bool) -> bool:
    """Remove the new inconsistent objects that used what was dropped; return whether there were any.

    Raises QErr `dependency-error` that names them if `cascade` is not set.
    """
    dependents = {text: each for each in new if (text := _dependent(each)) is not None}
    if dependents and not cascade:
        message = f"cannot drop due to the following dependent objects: {', '.join(dependents)}"
        raise QErr("dependency-error", message)
    drop_inconsistent(metadata, list(dependents.values()))
    return bool(dependents)


def _dependent(found: Json) -> str | None:
    """Return how the engine names a part of a table as a dependent, None for other objects."""
    kind, definition = found.get("type", ""), found.get("definition") or {}
    if kind.endswith("_relation"):
        name = f"relationship {spelled(definition['table'])}.{definition['name']}"
    elif kind.endswith("_permission"):
        operation = kind.removesuffix("_permission")
        name = f"permission {spelled(definition['table'])}.{definition['role']}.{operation}"
    elif kind == "event_trigger":
        name = f"event-trigger {spelled(definition['table'])}.{definition['configuration']['name']}"
    else:
        return None
    return f'{name} in source "{found["name"].rpartition(" ")[2]}"'
