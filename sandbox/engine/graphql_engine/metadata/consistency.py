"""Find objects of the metadata that do not fit the database: the engine's inconsistent objects.

Facts: the engine's `RQL/DDL/Schema/Cache` and its tests of inconsistencies (names, reasons, types).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphql_engine.catalog import Catalog, Table
from graphql_engine.errors import QErr
from graphql_engine.metadata.access import Json, qualified, spelled, table_object
from graphql_engine.metadata.endpoint_check import endpoint_problems
from graphql_engine.metadata.inconsistent import inconsistent
from graphql_engine.metadata.names import permission_name
from graphql_engine.metadata.object_checks import (
    configuration_problem,
    source_problem,
)
from graphql_engine.metadata.permission_check import Checker
from graphql_engine.metadata.query_check import stored_query_problems
from graphql_engine.metadata.type_check import (
    action_problems,
    complete_action,
    complete_types,
    custom_type_problem,
)
from graphql_engine.webhooks.environment import fill_template, resolve_headers, resolve_webhook

PERMISSIONS = ("insert", "select", "update", "delete")
CUSTOM_TYPES = "custom_types custom_types"
NO_ADMIN = "cannot define permission for admin role"
DEFAULTS: dict[str, Json] = {
    "select": {"computed_fields": [], "allow_aggregations": False},
    "insert": {"set": {}, "backend_only": False},
    "update": {"set": {}, "backend_only": False, "check": None},
    "delete": {"backend_only": False},
}


@dataclass(frozen=True)
class Place:
    """The metadata, the catalog and the environment, for the checks."""

    metadata: Json
    catalog: Catalog
    environment: Mapping[str, str]

    def tracked(self, source: Json, key: tuple[str, str]) -> Json | None:
        """Return the entry of a table, or None if it is not tracked."""
        return next((t for t in source["tables"] if qualified(t["table"]) == key), None)


def find_inconsistencies(metadata: Json, catalog: Catalog, environment: Mapping[str, str]) -> list[Json]:
    """Return every inconsistent object: its name, type, definition and reason."""
    place = Place(metadata, catalog, environment)
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
    real = place.catalog.tables.get(qualified(table["table"]))
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
    yield from _permissions(place.catalog, source, table, real)
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
        remote_key = qualified(manual["remote_table"])
        remote = place.catalog.tables.get(remote_key)
        sides = [(real, manual["column_mapping"]), (remote, manual["column_mapping"].values())]
        for side, columns in sides:
            for column in columns:
                if side is not None and column not in side.columns:
                    shown = spelled({"schema": side.schema, "name": side.name})
                    return f'table "{shown}" has no field named "{column}"'
    else:
        on = using.get("foreign_key_constraint_on")
        if on is None:
            return "expecting one of foreign_key_constraint_on or manual_configuration"
        if isinstance(on, dict):
            remote_key = qualified(on["table"])
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
        schema, plain = remote_key
        return f'table "{spelled({"schema": schema, "name": plain})}" is not tracked'
    return None


def _permissions(catalog: Catalog, source: Json, table: Json, real: Table) -> Iterator[Json]:
    name, checker = spelled(table["table"]), Checker(source, catalog)
    for kind in PERMISSIONS:
        for item in table.get(f"{kind}_permissions", []):
            reason = NO_ADMIN if item["role"] == "admin" else None
            reason = reason or checker.problem(table, real, item["permission"])
            if reason:
                label = permission_name(kind, item["role"], name, source["name"])
                definition = {"source": source["name"], "table": table_object(table["table"])}
                permission = DEFAULTS[kind] | item["permission"]
                definition |= {"role": item["role"], "permission": permission, "comment": item.get("comment")}
                full = f'in table "{name}": in permission for role "{item["role"]}": {reason}'
                yield inconsistent(f"{kind}_permission", label, definition, full)


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
