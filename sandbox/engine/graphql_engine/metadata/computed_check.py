"""Check functions of computed fields, and the computed fields that permissions name.

Facts: the engine's tests under `v1/computed_fields` (reasons and their wording).
"""

from graphql_engine.catalog import Catalog, Function, Key
from graphql_engine.metadata.access import Json, named, qualified, spelled

BULLET = "\n  • "


def computed_field_problem(catalog: Catalog, table: Key, table_name: str, item: Json) -> str | None:
    """Return the reason why a computed field is invalid, or None."""
    name, definition = item["name"], item["definition"]
    function_name = spelled(definition["function"])
    if table in catalog.tables and name in catalog.tables[table].columns:
        return "field definition conflicts with postgres column"
    place = f'in table "{table_name}": in computed field "{name}": '
    found = catalog.functions.get(qualified(definition["function"]))
    if not found:
        return f'{place}no such function exists: "{function_name}"'
    if len(found) > 1:
        return f'{place}function "{function_name}" is overloaded. Overloaded functions are not supported'
    reasons = _reasons(found[0], function_name, table, definition)
    if not reasons:
        return None
    start = f'{place}the computed field "{name}" cannot be added to table "{table_name}"'
    if len(reasons) == 1:
        return f"{start} because {reasons[0]}"
    return f"{start} for the following reasons:{''.join(BULLET + reason for reason in reasons)}\n"


def _reasons(function: Function, shown: str, table: Key, definition: Json) -> list[str]:
    reasons = []
    if function.volatile:
        reasons.append(f'the function "{shown}" is of type VOLATILE; cannot be added as a computed field')
    if not function.arguments:
        return [*reasons, f'the function "{shown}" has no input arguments']
    wanted = definition.get("table_argument")
    if wanted is None:
        argument, subject = function.arguments[0], f'first argument of the function "{shown}"'
    else:
        argument = next((a for a in function.arguments if a.name == wanted), function.arguments[0])
        subject = f'"{wanted}" argument of the function "{shown}"'
        if argument.name != wanted:
            return [*reasons, f'"{wanted}" is not an input argument of "{shown}" function']
    if argument.type.kind != "c":
        reasons.append(f"{subject} is not COMPOSITE type")
    if argument.type.internal != table[1]:
        schema = "pg_catalog" if argument.type.kind == "b" else table[0]
        given = spelled({"schema": schema, "name": argument.type.internal})
        reasons.append(
            f'{subject} of type "{given}" is not the table to which the computed field is being added'
        )
    return reasons


def permitted_computed_problem(catalog: Catalog, table: Json, permission: Json) -> str | None:
    """Return the reason why a permission may not name its computed fields, or None."""
    for name in permission.get("computed_fields") or []:
        item = named(table.get("computed_fields", []), name)
        if item is None:
            return f'computed field "{name}" does not exist'
        found = catalog.functions.get(qualified(item["definition"]["function"]), [])
        if found and found[0].returns_table is not None:
            schema, plain = found[0].returns_table
            shown = spelled({"schema": schema, "name": plain})
            return (
                f'select permissions on computed field "{name}" are auto-derived from the permissions on'
                f' its returning table "{shown}" and cannot be specified manually'
            )
    return None
