"""Every key that a metadata directory may contain, file by file.

Facts: the engine's `metadata.openapi.json` and the documentation of the metadata format. Keys that Hasura
supports and this stand-in does not are `Unsupported`: they stop the start instead of being ignored.
"""

from graphql_engine.metadata.shape import ANY, Either, OneOf, Shape, Unsupported

TEXT_OR_NONE: Shape = (str, type(None))
JSON_OBJECT: Shape = (dict, type(None))
TRANSFORM_BODY: Shape = {"action!": str, "template": TEXT_OR_NONE, "form_template": ANY}
REQUEST_TRANSFORM: Shape = {
    "version": OneOf((1, 2)),
    "template_engine": OneOf(("Kriti",)),
    "method": TEXT_OR_NONE,
    "url": TEXT_OR_NONE,
    "query_params": ANY,
    "content_type": TEXT_OR_NONE,
    "request_headers": {"add_headers": JSON_OBJECT, "remove_headers": [str]},
    "body": Either((str, TRANSFORM_BODY)),
}
RESPONSE_TRANSFORM: Shape = {
    "version": OneOf((1, 2)),
    "template_engine": OneOf(("Kriti",)),
    "body": Either((str, TRANSFORM_BODY)),
}


NUMBER: Shape = (int, float)
QUALIFIED: Shape = Either((str, {"name!": str, "schema": str}))
HEADERS: Shape = [{"name!": str, "value": str, "value_from_env": str}]
COLUMNS: Shape = Either((OneOf(("*",)), [str]))
CLEANUP = Unsupported()

EVENT_RETRY: Shape = {
    "num_retries": NUMBER,
    "interval_sec": NUMBER,
    "timeout_sec": (int, float, type(None)),
    "tolerance_seconds": (int, float, type(None)),
}
CRON_RETRY: Shape = {
    "num_retries": NUMBER,
    "retry_interval_seconds": NUMBER,
    "timeout_seconds": NUMBER,
    "tolerance_seconds": NUMBER,
}
OPERATION: Shape = {"columns!": COLUMNS, "payload": COLUMNS}
EVENT_TRIGGER: Shape = {
    "name!": str,
    "definition!": {"enable_manual": bool, "insert": OPERATION, "update": OPERATION, "delete": OPERATION},
    "retry_conf!": EVENT_RETRY,
    "webhook": str,
    "webhook_from_env": str,
    "headers": HEADERS,
    "comment": TEXT_OR_NONE,
    "request_transform": REQUEST_TRANSFORM,
    "response_transform": RESPONSE_TRANSFORM,
    "cleanup_config": CLEANUP,
    "trigger_on_replication": OneOf((False,)),
}
MAPPING: Shape = {"remote_table!": QUALIFIED, "column_mapping!": JSON_OBJECT, "insertion_order": TEXT_OR_NONE}
OBJECT_RELATIONSHIP: Shape = {
    "name!": str,
    "comment": TEXT_OR_NONE,
    "using!": {
        "foreign_key_constraint_on": Either(
            (str, [str], {"table!": QUALIFIED, "column": str, "columns": [str]})
        ),
        "manual_configuration": MAPPING,
    },
}
ARRAY_RELATIONSHIP: Shape = {
    "name!": str,
    "comment": TEXT_OR_NONE,
    "using!": {
        "foreign_key_constraint_on": {"table!": QUALIFIED, "column": str, "columns": [str]},
        "manual_configuration": MAPPING,
    },
}


def _permission(definition: Shape) -> Shape:
    return [{"role!": str, "permission!": definition, "comment": TEXT_OR_NONE}]


SELECT: Shape = {
    "columns!": COLUMNS,
    "filter!": JSON_OBJECT,
    "limit": (int, type(None)),
    "allow_aggregations": bool,
    "computed_fields": [str],
    "query_root_fields": ANY,
    "subscription_root_fields": ANY,
}
INSERT: Shape = {
    "check!": JSON_OBJECT,
    "columns": COLUMNS,
    "set": JSON_OBJECT,
    "backend_only": bool,
    "validate_input": Unsupported(),
}
UPDATE: Shape = {
    "columns!": COLUMNS,
    "filter!": JSON_OBJECT,
    "check": JSON_OBJECT,
    "set": JSON_OBJECT,
    "backend_only": bool,
    "validate_input": Unsupported(),
}
DELETE: Shape = {"filter!": JSON_OBJECT, "backend_only": bool, "validate_input": Unsupported()}
TABLE_CONFIGURATION: Shape = {
    "custom_name": TEXT_OR_NONE,
    "custom_root_fields": JSON_OBJECT,
    "custom_column_names": JSON_OBJECT,
    "column_config": JSON_OBJECT,
    "comment": TEXT_OR_NONE,
}
TABLE: Shape = {
    "table!": QUALIFIED,
    "is_enum": bool,
    "configuration": TABLE_CONFIGURATION,
    "object_relationships": [OBJECT_RELATIONSHIP],
    "array_relationships": [ARRAY_RELATIONSHIP],
    "insert_permissions": _permission(INSERT),
    "select_permissions": _permission(SELECT),
    "update_permissions": _permission(UPDATE),
    "delete_permissions": _permission(DELETE),
    "event_triggers": [EVENT_TRIGGER],
    "computed_fields": [
        {
            "name!": str,
            "definition!": {
                "function!": QUALIFIED,
                "table_argument": TEXT_OR_NONE,
                "session_argument": TEXT_OR_NONE,
            },
            "comment": TEXT_OR_NONE,
        }
    ],
    "remote_relationships": Unsupported(),
    "apollo_federation_config": Unsupported(),
    "logical_model": Unsupported(),
}
FUNCTION: Shape = {
    "function!": QUALIFIED,
    "configuration": ANY,
    "permissions": [{"role!": str}],
    "comment": TEXT_OR_NONE,
}
SOURCE: Shape = {
    "name!": str,
    "kind!": OneOf(("postgres",)),
    "configuration!": {
        "connection_info!": {
            "database_url!": Either((str, {"from_env!": str})),
            "isolation_level": OneOf(("read-committed",)),
            "use_prepared_statements": bool,
            "pool_settings": ANY,
            "ssl_configuration": Unsupported(),
        },
        "read_replicas": Unsupported(),
        "extensions_schema": OneOf(("public", None)),
    },
    "tables!": [TABLE],
    "functions": [FUNCTION],
    "customization": Unsupported(
        (
            {"naming_convention": "hasura-default"},
            {"root_fields": {}, "type_names": {}},
        )
    ),
    "native_queries": Unsupported(),
    "stored_procedures": Unsupported(),
    "logical_models": Unsupported(),
    "query_tags": Unsupported(({"disabled": True},)),
    "health_check": Unsupported(),
}
ACTION: Shape = {
    "name!": str,
    "definition!": {
        "kind": OneOf(("synchronous", "asynchronous", "")),
        "handler!": str,
        "type": OneOf(("mutation", "query")),
        "arguments": [{"name!": str, "type!": str, "description": TEXT_OR_NONE}],
        "output_type": str,
        "forward_client_headers": bool,
        "headers": HEADERS,
        "ignored_client_headers": [str],
        "timeout": int,
        "request_transform": REQUEST_TRANSFORM,
        "response_transform": RESPONSE_TRANSFORM,
    },
    "permissions": [{"role!": str, "comment": TEXT_OR_NONE}],
    "comment": TEXT_OR_NONE,
}
TYPE_FIELD: Shape = {"name!": str, "type!": str, "description": TEXT_OR_NONE, "arguments": Unsupported()}
TYPE_RELATIONSHIP: Shape = {
    "name!": str,
    "type!": OneOf(("object", "array")),
    "remote_table!": QUALIFIED,
    "field_mapping!": JSON_OBJECT,
    "source": str,
}
CUSTOM_TYPES: Shape = {
    "enums": [
        {
            "name!": str,
            "description": TEXT_OR_NONE,
            "values": [{"value!": str, "description": TEXT_OR_NONE, "is_deprecated": (bool, type(None))}],
        }
    ],
    "input_objects": [{"name!": str, "description": TEXT_OR_NONE, "fields": [TYPE_FIELD]}],
    "objects": [
        {
            "name!": str,
            "description": TEXT_OR_NONE,
            "fields": [TYPE_FIELD],
            "relationships": [TYPE_RELATIONSHIP],
        }
    ],
    "scalars": [{"name!": str, "description": TEXT_OR_NONE}],
}
LIMIT: Shape = {"global!": int, "per_role": ANY}
API_LIMITS: Shape = {
    "disabled": bool,
    "depth_limit": LIMIT,
    "node_limit": LIMIT,
    "rate_limit": Unsupported(),
    "time_limit": Unsupported(),
    "batch_limit": Unsupported(),
}
CRON_TRIGGER: Shape = {
    "name!": str,
    "webhook!": str,
    "schedule!": str,
    "include_in_metadata!": bool,
    "payload": ANY,
    "headers": HEADERS,
    "retry_conf": CRON_RETRY,
    "comment": TEXT_OR_NONE,
    "request_transform": REQUEST_TRANSFORM,
    "response_transform": RESPONSE_TRANSFORM,
}
COLLECTION: Shape = {
    "name!": str,
    "definition!": {"queries!": [{"name!": str, "query!": str}]},
    "comment": TEXT_OR_NONE,
}
ENDPOINT: Shape = {
    "name!": str,
    "url!": str,
    "methods!": [OneOf(("GET", "POST", "PUT", "PATCH", "DELETE"))],
    "definition!": {"query!": {"collection_name!": str, "query_name!": str}},
    "comment": TEXT_OR_NONE,
}
