"""What is asked of rights: those of the database roles, and those of the roles of Hasura."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ops.checks.engine import held_pieces
from ops.checks.model import Checks, Finding, Level, When
from ops.checks.services import Services, own_metadata
from ops.checks.wording import MAX_NAMED, first
from ops.clients.db_session import QUERIES, DbSession
from ops.clients.hasura_admin import HasuraAdmin, RequestRefused
from ops.failures import CommandFailed, file_reason
from ops.golive.commit import CLONE

CHECKS = Checks()
GRANT = CLONE / "deploy" / "postgres" / "grant_roles.sql"
ROLE = re.compile(r"SELECT '(\w+)'")
RIGHT = re.compile(r"\s+\('([\w.]+)', '([A-Z]+)', (?:NULL|'([\w, ]+)')\),?")
"""A line of the list: table, right, and the columns if it is not for the whole table."""
COLUMN_OF = re.compile(r"^(\w+ \w+ \w+\.\w+) \w+$")
"""A right on a column, as golive/load_rights names it."""


@CHECKS.add_direct(
    "role-rights", "Have the database roles the rights that they need, and no other?", When.BOTH,
    needs="database",
    fine="handlers and operators have their rights",
    cure="As the owner: psql -f deploy/postgres/grant_roles.sql",
    runbook="docs/runbook/install.md#4-migrations",
)  # fmt: skip
def ask_rights(services: Services) -> Iterator[Finding]:
    """Compare the rights of the roles with those that deploy/postgres/grant_roles.sql gives."""
    with services.database() as db:
        row = load_rights(db)
    for level, text, found in (
        (Level.RED, "missing", row["missing"]),
        (Level.YELLOW, "too much", row["further"]),
    ):
        if found:
            yield Finding(level, f"{text}: {first(_by_table(found))}", is_present=bool(row["granted"]))


def _by_table(rights: Sequence[str]) -> list[str]:
    """Return rights as they are; of many the columns are left out."""
    if len(rights) <= MAX_NAMED:
        return list(rights)
    return list(dict.fromkeys(COLUMN_OF.sub(r"\1", each) for each in rights))


def load_rights(session: DbSession) -> Mapping[str, Any]:
    """Return the row of golive/load_rights. Raises DatabaseError and CommandFailed."""
    rights = json.dumps(list(listed_rights()))
    row = session.execute(QUERIES["golive/load_rights"], {"rights": rights}).fetchone()
    assert row is not None
    return row


def listed_rights() -> Iterator[Mapping[str, Any]]:
    """Yield each right that the file lists. Raises CommandFailed without the file."""
    try:
        lines = GRANT.read_text("utf-8").splitlines()
    except OSError as error:
        raise CommandFailed(f"{GRANT} cannot be read: {file_reason(error)}") from error
    role = ""
    for line in lines:
        if found := ROLE.search(line):
            role = found[1]
        elif right := RIGHT.fullmatch(line):
            columns = right[3].split(", ") if right[3] else None
            yield {"role": role, "name": right[1], "privilege": right[2], "columns": columns}


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
    RoleProbe("pancake_list_leads", "pancake_leads", {"figure": {}}),
    RoleProbe("pancake_replay_events", "pancake_settings_replay", {"force": {}}),
    RoleProbe("pancake_trace_lead", "pancake_settings_trace", {"text": {}}),
)


@CHECKS.add_direct(
    "hasura-roles", "Does each role of Hasura see what it should, and no more?", needs="metadata-read",
    fine="each sees what it should",
    cure="See what differs with `leads metadata diff`; then: leads metadata 9a --over-drift",
    runbook="docs/runbook/metadata.md#on-a-shared-engine",
)  # fmt: skip
def ask_roles(services: Services) -> Iterator[Finding]:
    """Ask as each role for each table and action; name what a role sees too much, or too little."""
    operations = stored_operations()
    held = held_pieces(services.engine.export()[0], services.source)
    for role in sorted({*_roles_in(list(held.values())), *_roles_in(services.own)}):
        client = services.open_engine(**{"X-Hasura-Role": role})
        problems = (
            _problem(client, each, operations[each.operation], must_see=role in _seen_by(each.name))
            for each in (*TABLES, *ACTIONS)
        )
        if found := [problem for problem in problems if problem]:
            yield Finding(Level.RED, f"{role} {', '.join(found)}")


def _problem(client: HasuraAdmin, probe: RoleProbe, operation: str, *, must_see: bool) -> str | None:
    refusal = ""
    try:
        client.graphql(operation, probe.variables)
    except RequestRefused as error:
        refusal = error.reason
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
