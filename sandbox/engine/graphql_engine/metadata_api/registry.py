"""The table of commands of the metadata API; the other modules of the package fill it.

Commands of Hasura that this stand-in does not have are in it too: each is refused by name, none is ignored.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from graphql_engine.changes import Context
from graphql_engine.errors import unsupported
from graphql_engine.metadata.access import Json

SUCCESS = {"message": "success"}


Function = Callable[[Context, Json], Awaitable[Any]]
PREFIX = "pg_"
REFUSED = """
add_computed_field add_existing_table_or_view add_host_to_tls_allowlist add_inherited_role
add_query_to_collection add_remote_schema add_remote_schema_permissions add_source bulk_atomic
bulk_keep_going cleanup_event_trigger_logs create_action create_array_relationship
create_function_permission create_object_relationship create_remote_relationship
create_remote_schema_remote_relationship create_scheduled_event dc_add_agent dc_delete_agent
delete_remote_relationship delete_remote_schema_remote_relationship delete_scheduled_event drop_action
drop_computed_field drop_function_permission drop_host_from_tls_allowlist drop_inherited_role
drop_query_collection drop_query_from_collection drop_relationship drop_remote_schema_permissions
drop_rest_endpoint drop_source dump_internal_state get_source_kind_capabilities get_source_tables
introspect_remote_schema pause_event_trigger_cleanups reload_remote_schema remove_api_limits
remove_metrics_config remove_remote_schema rename_query_collection rename_relationship rename_source
resume_event_trigger_cleanups set_api_limits set_apollo_federation_config set_custom_types
set_feature_flag set_function_customization set_metrics_config set_naming_convention
set_opentelemetry_config set_opentelemetry_status set_permission_comment set_query_tags
set_relationship_comment set_table_configuration set_table_custom_fields set_table_customization
set_table_is_enum track_function track_logical_model track_native_query track_stored_procedure track_tables
untrack_function untrack_logical_model untrack_native_query untrack_stored_procedure untrack_table
untrack_tables update_action update_remote_relationship update_remote_schema
update_remote_schema_remote_relationship update_scope_of_collection_in_allowlist update_source
"""


@dataclass(frozen=True)
class Command:
    """A command. changes: it changes metadata; removes: new inconsistencies are a 500; postgres: its name on
    /v1/metadata has the prefix `pg_`, on /v1/query it has not."""

    function: Function
    changes: bool
    removes: bool
    postgres: bool


COMMANDS: dict[str, Command] = {}


def command(
    *names: str, changes: bool = True, removes: bool = False, postgres: bool = False
) -> Callable[[Function], Function]:
    """Register a function under its names; `postgres` adds each name with the prefix `pg_`."""

    def register(function: Function) -> Function:
        for name in names:
            COMMANDS[name] = Command(function, changes, removes, postgres)
            if postgres:
                COMMANDS[PREFIX + name] = COMMANDS[name]
        return function

    return register


def _refusal(name: str) -> Function:
    async def refuse(_: Context, __: Any) -> None:
        raise unsupported(name)

    return refuse


for _name in REFUSED.split():
    command(_name, f"{PREFIX}{_name}", changes=False)(_refusal(_name))
