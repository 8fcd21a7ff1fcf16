"""Find custom names, functions and inherited roles that do not fit.

Facts: recorded answers of a genuine engine of v2.48.10.
"""

from collections.abc import Mapping

from graphql_engine.catalog import Table
from graphql_engine.metadata.access import Json


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
    url = source["configuration"]["connection_info"]["database_url"]
    if isinstance(url, dict) and url["from_env"] not in environment:
        return f"environment variable '{url['from_env']}' not set"
    return None
