"""Find custom names, functions and inherited roles that do not fit.

Facts: recorded answers of a genuine engine of v2.48.10.
"""

from collections.abc import Iterator, Mapping

from graphql_engine.catalog import Catalog, Function, Table
from graphql_engine.metadata.access import Json, qualified, spelled, table_object
from graphql_engine.metadata.inconsistent import inconsistent
from graphql_engine.metadata.names import inherited_role_name

PERMISSIONS = ("insert_permissions", "select_permissions", "update_permissions", "delete_permissions")


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


def could_be_enum(real: Table) -> bool:
    """Whether a table has the shape of an enum table, and rows."""
    key = real.primary_key
    return key is not None and len(key.columns) == 1 and bool(real.enum_values)


def enum_reason(name: str, real: Table) -> str:
    """Return why a table cannot be used as an enum."""
    reasons = []
    key = real.primary_key
    if key is None:
        reasons.append("the table must have a primary key")
    elif len(key.columns) != 1:
        columns = ", ".join(sorted(key.columns))
        reasons.append(f"the table’s primary key must not span multiple columns ({columns})")
    elif real.columns[key.columns[0]].type.internal != "text":
        kind = real.columns[key.columns[0]].type.name
        reasons.append(
            f'the table’s primary key ("{key.columns[0]}") must have type "text", not type "{kind}"'
        )
    if len(real.columns) > 2:
        columns = ", ".join(sorted(real.columns))
        reasons.append(
            "the table must have exactly one primary key and optionally one comment column, not"
            f" {len(real.columns)} columns ({columns})"
        )
    if not reasons:
        reasons.append("the table is empty")
    start = f'the table "{name}" cannot be used as an enum'
    if len(reasons) == 1:
        return f"{start} because {reasons[0]}"
    listed = "\n".join(f"  • {reason}" for reason in reasons)
    return f"{start} for the following reasons:\n{listed}\n"


def source_problem(source: Json, environment: Mapping[str, str]) -> str | None:
    """Return the reason why a source cannot be used, or None: its variable is not set."""
    url = source["configuration"]["connection_info"]["database_url"]
    if isinstance(url, dict) and url["from_env"] not in environment:
        return f"environment variable '{url['from_env']}' not set"
    return None


def function_problems(source: Json, catalog: Catalog) -> Iterator[Json]:
    """Return the tracked functions of a source that do not fit."""
    tracked = {qualified(table["table"]) for table in source["tables"]}
    for item in source.get("functions", []):
        name = spelled(item["function"])
        found = catalog.functions.get(qualified(item["function"]))
        if not found:
            reason = f'in function "{name}": no such function exists: "{name}"'
        else:
            reason = _function_problem(name, found[0], tracked) or ""
        if reason:
            label = f"function {name} in source {source['name']}"
            yield inconsistent("function", label, table_object(item["function"]), reason)


def _function_problem(name: str, function: Function, tracked: set[tuple[str, str]]) -> str | None:
    if function.returns_table is None:
        reasons = ["the function does not return a table"]
        if function.returns.kind != "c":
            reasons.insert(0, 'the function does not return a "COMPOSITE" type')
        listed = "\n".join(f"  • {reason}" for reason in reasons)
        start = f'in function "{name}": the function "{name}" cannot be tracked'
        if len(reasons) == 1:
            return f"{start} because {reasons[0]}"
        return f"{start} for the following reasons:\n{listed}\n"
    if function.returns_table not in tracked:
        schema, table = function.returns_table
        return f'table "{spelled({"schema": schema, "name": table})}" is not tracked'
    return None


def inherited_role_problems(metadata: Json) -> Iterator[Json]:
    """Return the inherited roles of which a parent has no permission and is no inherited role."""
    inherited = metadata.get("inherited_roles", [])
    known = {"admin", *(item["role_name"] for item in inherited), *_roles(metadata)}
    for item in inherited:
        name, missing = item["role_name"], [role for role in item["role_set"] if role not in known]
        if missing:
            reason = (
                f"in inherited role {name}: the following parent role(s) are not found: {', '.join(missing)}"
                f' which are required to construct the inherited role: "{name}"'
            )
            yield inconsistent("inherited_role", inherited_role_name(name), item, reason)


def _roles(metadata: Json) -> Iterator[str]:
    holders = list(metadata.get("actions", []))
    for source in metadata["sources"]:
        holders += source.get("functions", [])
        for table in source["tables"]:
            for kind in PERMISSIONS:
                yield from (item["role"] for item in table.get(kind, []))
    for holder in holders:
        yield from (item["role"] for item in holder.get("permissions") or [])
