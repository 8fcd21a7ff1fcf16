"""Commands of Hasura that this stand-in does not support: each is refused by name, none is ignored."""

from typing import Any

from graphql_engine.changes import Context
from graphql_engine.errors import QErr
from graphql_engine.metadata_api.registry import COMMANDS, PREFIX, Function, command

REFUSED = (
    "add_remote_schema", "update_remote_schema", "remove_remote_schema", "reload_remote_schema",
    "introspect_remote_schema", "add_remote_schema_permissions", "drop_remote_schema_permissions",
    "create_remote_schema_remote_relationship", "update_remote_schema_remote_relationship",
    "delete_remote_schema_remote_relationship",
    "set_opentelemetry_config", "set_opentelemetry_status", "add_host_to_tls_allowlist",
    "drop_host_from_tls_allowlist", "set_query_tags",
    "set_metrics_config", "remove_metrics_config", "dc_add_agent",
    "dc_delete_agent",
    "get_source_kind_capabilities", "cleanup_event_trigger_logs",
    "resume_event_trigger_cleanups", "pause_event_trigger_cleanups",
    "update_scope_of_collection_in_allowlist",
    "set_feature_flag", "create_remote_relationship", "update_remote_relationship",
    "delete_remote_relationship", "track_native_query", "untrack_native_query", "track_logical_model",
    "untrack_logical_model", "track_stored_procedure", "untrack_stored_procedure",
    "set_naming_convention",
)  # fmt: skip


def _refusal(name: str) -> Function:
    async def refuse(_: Context, __: Any) -> None:
        raise QErr("not-supported", f"{name} is not supported by this stand-in")

    return refuse


for _name in REFUSED:
    for _spelled in (_name, f"{PREFIX}{_name}"):
        if _spelled not in COMMANDS:
            command(_spelled, changes=False)(_refusal(_name))
