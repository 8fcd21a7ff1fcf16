"""Read Hasura: that it answers, its metadata, and what it says of its source. Every reader is one request."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.checks.services import Services, own_metadata
from ops.clients.hasura_admin import HasuraAdmin, RequestRefused
from ops.clients.plain_http import ask
from ops.failures import WrongUsage
from ops.metadata.pieces import Json, Key, pieces_of_step, split

VARIABLE = re.compile(r'\{\{\s*(\w+)\s*\}\}|"value_from_env": "(\w+)"')
NO_SOURCE = (
    "The engine has no source: its metadata was cleared. Apply Diva's metadata first, which has the source "
    "and Diva's tables, then run this again."
)


@dataclass(frozen=True, slots=True)
class EngineLook:
    """The version of the engine, and how long it took to answer."""

    version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Metadata:
    """The engine's metadata as a whole and in pieces, and our directory."""

    whole: Json
    held: Mapping[Key, Any]
    own: Json

    def wanted(self, step: str) -> dict[Key, Any]:
        """Return our pieces after a step."""
        return pieces_of_step(self.own, "default", step)


def held_pieces(metadata: Json, source: str) -> dict[Key, Any]:
    """Return the pieces of an engine's metadata. Raises WrongUsage if it does not have the source."""
    try:
        return split(metadata, source)
    except KeyError as error:
        names = ", ".join(each["name"] for each in metadata.get("sources", []))
        text = f"The engine has no source {source!r}. Choose one with --source: {names}"
        raise WrongUsage(text if names else NO_SOURCE) from error


def read_version(services: Services) -> EngineLook:
    """Ask for the version of the engine."""
    started = time.monotonic()
    return EngineLook(services.engine.version(), time.monotonic() - started)


def read_clock(services: Services) -> datetime | None:
    """Return the time of the engine's machine, as its answers have it."""
    url = services.need("HASURA_URL", services.settings.hasura_url)
    return ask(f"{url}/healthz", timeout_seconds=services.request_seconds).date


def read_metadata(services: Services) -> Metadata:
    """Export the metadata. Raises WrongUsage if the engine does not have the source."""
    whole, _ = services.engine.export()
    return Metadata(whole, held_pieces(whole, services.source), services.own)


def read_inconsistencies(services: Services) -> dict[str, str]:
    """Ask for the inconsistent objects, of others too."""
    return services.engine.inconsistencies()


def read_configuration(services: Services) -> Json:
    """Ask for what the console asks first: naming convention, allow list and the like."""
    return services.engine.configuration()


def read_sql_triggers(services: Services) -> dict[tuple[str, str], bool]:
    """Return whether each SQL trigger of Hasura is on, by table and name."""
    rows = services.engine.run_sql("engine/list_triggers", services.source)
    return {(table, name): is_on == "t" for table, name, is_on in rows}


def read_schedule(services: Services) -> dict[str, int | None]:
    """Count the scheduled events of each of our crons; None of one that is inconsistent."""
    return services.engine.future_events([each["name"] for each in services.own["cron_triggers"]])


def read_missing_variables(services: Services) -> list[str]:
    """Return the variables of our metadata that the engine's environment lacks."""
    pieces = pieces_of_step(services.own, "default", "9b")
    found = VARIABLE.findall(json.dumps(list(pieces.values())))
    return services.engine.missing_variables(sorted({"".join(names) for names in found}))


def read_catalog(services: Services) -> str:
    """Return the version of the tables that Hasura keeps in the source; empty without them."""
    if services.engine.run_sql("engine/has_catalog", services.source) != [["t"]]:
        return ""
    return services.engine.run_sql("engine/load_catalog", services.source)[0][0]


def read_refused_insert(services: Services) -> str:
    """Return what refuses a lead that is stored as the handlers do, and undone; empty if nothing does.

    An engine whose role may not take that of the handlers is asked for their rights in the catalog instead.
    """
    refusal = services.engine.run_sql("engine/try_lead", services.source, read_only=False)[0][0]
    if "permission denied to set role" not in refusal:
        return refusal
    has_rights = services.engine.run_sql("engine/has_rights", services.source) == [["t"]]
    return "" if has_rights else "a right on hdb_catalog is missing"


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
