"""Find tables and actions that would have root fields of one name.

Facts: recorded answers of a genuine engine of v2.48.10.
"""

from collections.abc import Iterator

from graphql_engine.catalog import Catalog
from graphql_engine.graphql.model.tables import TrackedTable, build_model
from graphql_engine.metadata.access import DEFAULT_SOURCE, Json

Owners = dict[str, list[str]]
# By the kind of a root field: its name, for a table called {0}.
QUERIES = {"select": "{0}", "select_aggregate": "{0}_aggregate", "select_by_pk": "{0}_by_pk"}
MUTATIONS = {
    "insert": "insert_{0}",
    "insert_one": "insert_{0}_one",
    "update": "update_{0}",
    "update_by_pk": "update_{0}_by_pk",
    "update_many": "update_{0}_many",
    "delete": "delete_{0}",
    "delete_by_pk": "delete_{0}_by_pk",
}


def root_field_clash(metadata: Json, catalog: Catalog) -> str | None:
    """Return the engine's message about root fields that are defined twice, or None."""
    model = build_model(metadata, catalog)
    for root, kinds, actions in (("mutation_root", MUTATIONS, "mutation"), ("query_root", QUERIES, "query")):
        owners: Owners = {}
        for table in model.tables.values():
            place = f"table {_spelled(table)} in source {DEFAULT_SOURCE}"
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
        yield table.root_field(kind, pattern.format(table.name))[0]


def _spelled(table: TrackedTable) -> str:
    schema, name = table.table.key
    return name if schema == "public" else f"{schema}.{name}"
