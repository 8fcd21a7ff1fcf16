"""Read what each role of Hasura sees of our tables and actions, by calls of the stored operations.

An allow list lets no other operation through. A call of an action has an argument that none takes: Hasura
refuses it before anything runs, and names the argument only to a role that sees the action.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops.checks.read_engine import held_pieces
from ops.checks.services import Services, own_metadata
from ops.clients.hasura_admin import HasuraAdmin, RequestRefused

HIDDEN = ("'{}' not found in type", "no mutations exist")
"""What Hasura answers a role that has no right on a table or action."""
NOT_ALLOWED = "query is not allowed"
"""The answer of the allow list, before rights are looked at."""
WRONG_ARGUMENT = "expected "
"""What Hasura answers a role that sees an action, about the argument."""


@dataclass(frozen=True, slots=True)
class RoleProbe:
    """A call that shows whether a role sees a table, with those that the operation joins, or an action."""

    name: str
    operation: str
    variables: Mapping[str, Any]


TABLES = (
    RoleProbe("pancake_connection", "pancake_settings_connections", {}),
    RoleProbe("pancake_source", "pancake_settings_sources", {}),
    RoleProbe("pancake_webhook_event", "pancake_settings_events", {"limit": 1}),
    RoleProbe("pancake_cron_run", "pancake_settings_runs", {"limit": 1}),
    RoleProbe("integration_change", "pancake_settings_history", {"limit": 1}),
    RoleProbe("view_pancake_report_source", "pancake_report", {"week": "2026-01-05"}),
)
ACTIONS = (
    RoleProbe("pancake_ingest_record", "pancake_record", {"token_sha256": {}}),
    RoleProbe("pancake_replay_events", "pancake_settings_replay", {"force": {}}),
    RoleProbe("pancake_trace_lead", "pancake_settings_trace", {"text": {}}),
)


def read_role_faults(services: Services) -> list[str]:
    """Ask as each role for each table and action; return what a role sees too much, or too little."""
    operations = stored_operations()
    held = held_pieces(services.engine.export()[0], services.source)
    faults = []
    for role in sorted({*_roles_in(list(held.values())), *_roles_in(services.own)}):
        client = services.open_engine(**{"X-Hasura-Role": role})
        problems = (
            _problem(client, each, operations[each.operation], must_see=role in _seen_by(each.name))
            for each in (*TABLES, *ACTIONS)
        )
        if found := [problem for problem in problems if problem]:
            faults.append(f"{role} {', '.join(found)}")
    return faults


def _problem(client: HasuraAdmin, probe: RoleProbe, operation: str, *, must_see: bool) -> str | None:
    refusal = ""
    try:
        client.graphql(operation, probe.variables)
    except RequestRefused as error:
        refusal = str(error)
    if must_see:
        sees = not refusal or (probe in ACTIONS and WRONG_ARGUMENT in refusal)
        return None if sees else f"may not use {probe.name}: {refusal}"
    is_hidden = any(text.format(probe.name) in refusal for text in (*HIDDEN, NOT_ALLOWED))
    return None if is_hidden else f"sees {probe.name} or a part of it"


def stored_operations() -> dict[str, str]:
    """Return the text of each operation of our collections by its name."""
    return {
        each["name"]: each["query"]
        for collection in own_metadata()["query_collections"]
        for each in collection["definition"]["queries"]
    }


def _seen_by(name: str) -> set[str]:
    """Return the roles that may read a table, or call an action, by our metadata."""
    own = own_metadata()
    tables = {
        table["table"]["name"]: table["select_permissions"]
        for source in own["sources"]
        for table in source["tables"]
        if "select_permissions" in table
    }
    actions = {action["name"]: action["permissions"] for action in own["actions"]}
    return {permission["role"] for permission in (tables | actions)[name]}


def _roles_in(metadata: object) -> Iterator[str]:
    """Yield every role that metadata name."""
    if isinstance(metadata, Mapping):
        if isinstance(metadata.get("role"), str):
            yield metadata["role"]
        for part in metadata.values():
            yield from _roles_in(part)
    elif isinstance(metadata, list):
        for part in metadata:
            yield from _roles_in(part)
