"""What is asked of rights: those of the database roles, and those of the roles of Hasura."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leads.adapters.database import SESSION_OPTIONS
from ops.checks.database import read_server, read_state, run_sql
from ops.checks.engine import read_metadata
from ops.checks.model import Checks, Facts, Finding, Level, Params, When, red
from ops.checks.services import Services, own_metadata
from ops.clients.db_session import QUERIES, DbSession, load_row, load_rows
from ops.clients.hasura_admin import Engine, RequestRefused
from ops.failures import CommandFailed, file_reason
from ops.metadata.pieces import split
from ops.output import MAX_NAMED, first
from ops.settings import CLONE

CHECKS = Checks()
GRANT = CLONE / "deploy" / "postgres" / "grant_roles.sql"
ROLE = re.compile(r"SELECT '(\w+)'")
RIGHT = re.compile(r"\s+\('([\w.]+)', '([A-Z]+)', (?:NULL|'([\w, ]+)')\),?")
"""A line of the list: table, right, and the columns if it is not for the whole table."""
COLUMN_OF = re.compile(r"^(\w+ \w+ \w+\.\w+) \w+$")
"""A right on a column, as golive/load_rights names it."""
NEEDED_SECONDS = {
    "statement_timeout": 10,
    "lock_timeout": 5,
    "idle_in_transaction_session_timeout": 20,
    "transaction_timeout": 20,
}
"""How long a login has to leave a statement; the handlers ask for as much themselves (SESSION_OPTIONS)."""
STOPS_HANDLERS = {
    "default_transaction_read_only": True,
    "session_replication_role": "replica",
    "row_security": False,
}
"""Settings that the handlers do not send, with the value that stops them."""
CONNECTION_LIMIT = "CONNECTION LIMIT"
CONNECTIONS_OF_HANDLERS = 10
"""Of one process, in its two pools."""
LEAST_CONNECTIONS = 3
"""One of each pool, and one for a cron or a dry run, which connect by themselves."""
BOOLEANS = {
    **dict.fromkeys(("on", "true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("off", "false", "f", "no", "n", "0"), False),
}
"""ALTER ROLE stores them as they were typed."""
DURATION = re.compile(r"([\d.]+) *(us|ms|s|min|h|d|)")
SECONDS_OF = {"us": 1e-6, "ms": 1e-3, "": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
"""A number without a unit is of milliseconds."""


@CHECKS.add_direct(
    "role-rights", "Have the database roles the rights that they need, and no other?", When.BOTH,
    needs="database",
    fine="handlers and operators have their rights",
    cure="As the owner: psql -f deploy/postgres/grant_roles.sql",
    runbook="docs/runbook/install.md#4-migrations",
)  # fmt: skip
def ask_rights(services: Services) -> Iterator[Finding]:
    with services.database() as db:
        row = load_rights(db)
        secured = db.execute(QUERIES["probes/list_row_security"], _rights()).fetchall()
    for level, text, found in (
        (Level.RED, "missing", row["missing"]),
        (Level.YELLOW, "too much", row["further"]),
    ):
        if found:
            yield Finding(level, f"{text}: {first(_by_table(found))}", is_present=bool(row["granted"]))
    for row in secured:
        table, roles = row["name"], ", ".join(row["roles"])
        what = "lets no row pass to" if row["is_closed"] else "may keep rows from"
        end = f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"
        policy = run_sql(f"CREATE POLICY pancake ON {table} TO {roles} USING (true)")
        cure = f"Its DBA ends it ({end}), or adds a policy; as the owner: {policy}"
        level = Level.RED if row["is_closed"] else Level.YELLOW
        yield Finding(level, f"row level security of {table} {what} {roles}", cure, table)


def _by_table(rights: Sequence[str]) -> list[str]:
    """Return rights as they are; of many the columns are left out."""
    if len(rights) <= MAX_NAMED:
        return list(rights)
    return list(dict.fromkeys(COLUMN_OF.sub(r"\1", each) for each in rights))


def load_rights(session: DbSession) -> Mapping[str, Any]:
    return load_row(session, "golive/load_rights", _rights())


def _rights() -> dict[str, str]:
    return {"rights": json.dumps(list(listed_rights()))}


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


@dataclass(frozen=True, slots=True)
class RoleSetting:
    """A row of probes/list_role_settings."""

    login: str
    uses_it: str
    name: str
    setting: str
    is_of_role: bool
    is_of_database: bool
    sessions: int = 0

    @property
    def is_replaced(self) -> bool:
        """Whether each session sends another value, so that this one has no effect."""
        return self.uses_it == "handlers" and f"-c {self.name}=" in SESSION_OPTIONS

    @property
    def is_used_up(self) -> bool:
        return self.name == CONNECTION_LIMIT and int(self.setting) < max(self.sessions + 1, LEAST_CONNECTIONS)

    @property
    def problem(self) -> str:
        """What is wrong with it; empty if nothing is."""
        shown = f"{self.name} is {self.setting}"
        setting = self.setting.lower()
        if self.name == CONNECTION_LIMIT:
            if int(setting) < CONNECTIONS_OF_HANDLERS:
                return f"{shown}, {CONNECTIONS_OF_HANDLERS} are needed"
            return f"{shown}, and all are in use" if self.is_used_up else ""
        if STOPS_HANDLERS.get(self.name) == BOOLEANS.get(setting, setting):
            return shown
        duration = DURATION.fullmatch(self.setting)
        needed = NEEDED_SECONDS.get(self.name, 0)
        if duration and 0 < float(duration[1]) * SECONDS_OF[duration[2]] < needed:
            return f"{shown}, {needed} s are needed"
        if self.name == "search_path" and "public" not in re.findall(r"\w+", self.setting):
            return f"{shown}, without public"
        return ""

    def cure(self, database: str) -> str:
        """Return the command that takes it out, and ends the sessions that began with it."""
        of = f'ROLE "{self.login}"' if self.is_of_role else "ROLE ALL"
        if self.name == CONNECTION_LIMIT:
            of = of if self.is_of_role else f'DATABASE "{database}"'
            return f"Take it out, as a superuser: {run_sql(f'ALTER {of} CONNECTION LIMIT -1')}"
        if self.is_of_database:
            of = f'{of} IN DATABASE "{database}"' if self.is_of_role else f'DATABASE "{database}"'
        sessions = f"FROM pg_stat_activity WHERE usename = $${self.login}$$ AND pid <> pg_backend_pid()"
        command = run_sql(f"ALTER {of} RESET {self.name}", f"SELECT pg_terminate_backend(pid) {sessions}")
        return f"Take it out, and end the sessions that began with it; as a superuser: {command}"


def read_role_settings(services: Services) -> list[RoleSetting]:
    params = {"names": [*NEEDED_SECONDS, *STOPS_HANDLERS, "search_path"]}
    with services.database() as db:
        return load_rows(db, RoleSetting, "probes/list_role_settings", params)


@CHECKS.add(
    "role-settings", "Does no setting of a database role stop leads?", When.BOTH, read_role_settings,
    read_server, read_state, needs="database",
    fine="none stops them", cure=f"See what is set: {run_sql(chr(92) + 'drds')}",
    runbook="docs/observability.md#pancakedatabasereadonly",
)  # fmt: skip
def ask_role_settings(facts: Facts, params: Params) -> Iterator[Finding]:
    """Name settings of a login: red if they stop the handlers; while leads fail, possible causes too."""
    state, database = facts.known(read_state), facts.get(read_server).name
    leads_fail = state and (state.tickets.failing or any(each.late for each in state.queue))
    for each in facts.get(read_role_settings):
        # Of the whole database `database` names it.
        if not each.problem or (each.name == "default_transaction_read_only" and not each.is_of_role):
            continue
        is_certain = each.uses_it == "handlers" and (each.name in STOPS_HANDLERS or each.is_used_up)
        may_be_cause = each.uses_it != "operators" and not each.is_replaced
        is_red = is_certain or (may_be_cause and leads_fail)
        text = f"{each.login}, the login of {each.uses_it}: {each.problem}"
        yield Finding(Level.RED if is_red else Level.YELLOW, text, each.cure(database), each.login)


HIDDEN = ("'{}' not found in type", "no mutations exist")
"""What Hasura answers a role that has no right on a table or action."""
NOT_ALLOWED = "query is not allowed"
"""The answer of the allow list, before rights are looked at."""
WRONG_ARGUMENT = "expected "
"""What Hasura answers a role that sees an action, about the argument."""


Probes = Mapping[str, tuple[str, Mapping[str, Any]]]
"""By table, with those that the operation joins, or by action: a call that shows whether a role sees it."""
TABLES: Probes = {
    "pancake_connection": ("pancake_settings_connections", {}),
    "pancake_source": ("pancake_settings_sources", {}),
    "pancake_webhook_event": ("pancake_settings_events", {"limit": 1}),
    "pancake_cron_run": ("pancake_settings_runs", {"limit": 1}),
    "integration_change": ("pancake_settings_history", {"limit": 1}),
    "view_pancake_report_source": ("pancake_report", {"week": "2026-01-05"}),
}
ACTIONS: Probes = {
    "pancake_ingest_record": ("pancake_record", {"token_sha256": {}}),
    "pancake_list_leads": ("pancake_leads", {"figure": {}}),
    "pancake_replay_events": ("pancake_settings_replay", {"force": {}}),
    "pancake_trace_lead": ("pancake_settings_trace", {"text": {}}),
}


@CHECKS.add_direct(
    "hasura-roles", "Does each role of Hasura see what it should, and no more?", needs="metadata-read",
    fine="each sees what it should",
    cure="See what differs with `leads metadata diff`; then: leads metadata 9a --over-drift",
    runbook="docs/runbook/metadata.md#on-a-shared-engine",
)  # fmt: skip
def ask_roles(services: Services) -> Iterator[Finding]:
    """Ask as each role for each table and action; name what a role sees too much, or too little."""
    operations = stored_operations()
    held = read_metadata(services).pieces
    for role in sorted({*_roles_in(list(held.values())), *_roles_in(services.own)}):
        client = services.open_engine(**{"X-Hasura-Role": role})
        problems = (
            _problem(client, name, operations[operation], variables, must_see=role in _seen_by(name))
            for name, (operation, variables) in {**TABLES, **ACTIONS}.items()
        )
        if found := [problem for problem in problems if problem]:
            yield red(f"{role} {', '.join(found)}")


def _problem(
    client: Engine, name: str, operation: str, variables: Mapping[str, Any], *, must_see: bool
) -> str | None:
    refusal = ""
    try:
        client.graphql(operation, variables)
    except RequestRefused as error:
        refusal = error.reason
    if must_see:
        sees = not refusal or (name in ACTIONS and WRONG_ARGUMENT in refusal)
        return None if sees else f"may not use {name}: {refusal}"
    is_hidden = any(text.format(name) in refusal for text in (*HIDDEN, NOT_ALLOWED))
    return None if is_hidden else f"sees {name} or a part of it"


def stored_operations() -> dict[str, str]:
    return {
        each["name"]: each["query"]
        for collection in own_metadata()["query_collections"]
        for each in collection["definition"]["queries"]
    }


def _seen_by(name: str) -> set[str]:
    """Return the roles that may read a table, or call an action, by our metadata."""
    pieces = split(own_metadata(), "default")
    piece = pieces.get(("action", name)) or pieces["table", f"public.{name}"]
    return {each["role"] for each in piece.get("permissions") or piece["select_permissions"]}


def _roles_in(metadata: object) -> Iterator[str]:
    if isinstance(metadata, Mapping):
        if isinstance(metadata.get("role"), str):
            yield metadata["role"]
        for part in metadata.values():
            yield from _roles_in(part)
    elif isinstance(metadata, list):
        for part in metadata:
            yield from _roles_in(part)
