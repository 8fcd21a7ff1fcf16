"""Remove inconsistent objects from the metadata."""

from graphql_engine.metadata.access import Json, put_list, query_name, spelled

TABLE_PARTS = {
    "object_relationships": ("object_relation {0} in table {1}", "name"),
    "array_relationships": ("array_relation {0} in table {1}", "name"),
    "insert_permissions": ("insert_permission {0} in table {1}", "role"),
    "select_permissions": ("select_permission {0} in table {1}", "role"),
    "update_permissions": ("update_permission {0} in table {1}", "role"),
    "delete_permissions": ("delete_permission {0} in table {1}", "role"),
    "event_triggers": ("event_trigger {0} in table {1}", "name"),
}


def drop_inconsistent(metadata: Json, inconsistent: list[Json]) -> None:
    """Remove every named object from the metadata, in place."""
    broken = {each["name"] for each in inconsistent}
    for source in metadata["sources"]:
        suffix = f" in source {source['name']}"
        if f"source {source['name']}" in broken:
            source["tables"] = []
        source["tables"] = [
            t for t in source["tables"] if f"table {spelled(t['table'])}{suffix}" not in broken
        ]
        for table in source["tables"]:
            for part, (pattern, key) in TABLE_PARTS.items():
                name = spelled(table["table"])
                kept = [i for i in table.get(part, []) if pattern.format(i[key], name) + suffix not in broken]
                put_list(table, part, kept)
    for part, word in (
        ("actions", "action"),
        ("cron_triggers", "cron_trigger"),
        ("rest_endpoints", "rest_endpoint"),
    ):
        kept = [item for item in metadata.get(part, []) if f"{word} {item['name']}" not in broken]
        put_list(metadata, part, kept)
    for collection in metadata.get("query_collections", []):
        queries = collection["definition"]["queries"]
        collection["definition"]["queries"] = [
            query for query in queries if query_name(query["name"], collection["name"]) not in broken
        ]
