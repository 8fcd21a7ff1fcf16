"""How a part of a running sandbox is broken and mended; breakages.yaml says what names it."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psycopg

from leads.adapters.database import load_queries
from leads.services.cron_runs import CRONS
from ops.checks.database import RED_AFTER_SECONDS
from ops.metadata.directory import read_directory
from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.edge import NginxEdge
from sandbox.postgres.database import GRANTS, HANDLERS, LOGINS
from sandbox.postgres.server import free_port
from sandbox.stack.connection import STAFF
from sandbox.stack.stack import Sandbox

TIMEOUT_SECONDS = 60.0
STATEMENTS = {name: text.decode() for name, text in load_queries(Path(__file__).parent).items()}
Variables = dict[str, str]
"""What the operator's command gets besides the sandbox's own variables."""


def metadata_api(url: str, secret: str, kind: str, arguments: Any = None) -> Any:
    """Call the metadata API of an engine as an administrator; return the answer."""
    is_second = kind == "export_metadata" or "allow_inconsistent_metadata" in (arguments or {})
    body = {"type": kind, "args": arguments or {}, "version": 2 if is_second else 1}
    headers = {"X-Hasura-Admin-Secret": secret}
    answer = httpx.post(f"{url}/v1/metadata", json=body, headers=headers, timeout=TIMEOUT_SECONDS)
    assert answer.is_success, answer.text
    return answer.json()


class Installation:
    """A running sandbox, and what changes its database and its metadata."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def sql(self, statement: str, parameters: Mapping[str, object] | None = None) -> int:
        """Run a statement with all rights, and return the number of rows."""
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as db_connection:
            return db_connection.execute(statement.encode(), parameters).rowcount

    def metadata(self, kind: str, arguments: Any = None) -> Any:
        return metadata_api(self.sandbox.hasura_url, self.sandbox.keys.admin_secret, kind, arguments)

    @contextmanager
    def restored_metadata(self) -> Iterator[dict[str, Any]]:
        """Give the present metadata, and put them back at the end of the block."""
        before: dict[str, Any] = self.metadata("export_metadata")["metadata"]
        try:
            yield before
        finally:
            self.metadata("replace_metadata", before)


Break = Callable[[Installation], AbstractContextManager[Variables]]
"""Breaks something on entry, gives variables for the command, and mends it on exit."""


def by(breaks: Callable[[Installation], object], mends: Callable[[Installation], object]) -> Break:
    @contextmanager
    def change(system: Installation) -> Iterator[Variables]:
        breaks(system)
        try:
            yield {}
        finally:
            mends(system)

    return change


def by_sql(broken: str, mended: str) -> Break:
    return by(lambda system: system.sql(broken), lambda system: system.sql(mended))


def change_setting(name: str, value: str) -> str:
    """Return a statement that sets a member of the integration's settings; `value` is jsonb in SQL."""
    return (
        "UPDATE app_setting"
        f" SET app_settings = jsonb_set(app_settings, '{{pancake_integration,{name}}}', {value}) WHERE id = 1"
    )


def rename_setting(old: str, new: str) -> str:
    value = f"jsonb_build_object('{new}', app_settings -> '{old}')"
    return f"UPDATE app_setting SET app_settings = app_settings - '{old}' || {value}"


def by_setting(name: str) -> Break:
    return by_sql(change_setting(name, "'true'"), change_setting(name, "'false'"))


def by_variable(name: str, value: Callable[[Sandbox], str]) -> Break:
    """Give the command another variable; nothing is broken."""
    return lambda system: nullcontext({name: value(system.sandbox)})


def by_metadata(*requests: tuple[str, Any]) -> Break:
    """Send requests to the metadata API, and put everything back."""

    @contextmanager
    def change(system: Installation) -> Iterator[Variables]:
        with system.restored_metadata():
            for kind, args in requests:
                system.metadata(kind, args)
            yield {}

    return change


TRIGGER = "pancake_webhook_event_status_update"
TRIGGER_SAVED_IN_CONSOLE = {
    "name": TRIGGER, "table": {"schema": "public", "name": "pancake_webhook_event"},
    "webhook": "{{HANDLERS_URL}}/events/process_record", "webhook_from_env": None,
    "insert": {"columns": "*"}, "update": {"columns": ["received_at"]}, "delete": None,
    "enable_manual": True, "replace": True, "source": "default",
    "retry_conf": {"num_retries": 20, "interval_sec": 15, "timeout_sec": 30},
    "headers": [{"name": "X-Handler-Secret", "value_from_env": "HANDLER_SECRET"}],
}  # fmt: skip
"""What pg_create_event_trigger gets when our trigger is saved in the console, as it was recorded."""
SQL_TRIGGER = f'"notify_hasura_{TRIGGER}_INSERT"'
NO_SQL_TRIGGER = f"ALTER TABLE pancake_webhook_event DISABLE TRIGGER {SQL_TRIGGER}"
NO_SOURCE = "UPDATE pancake_source SET is_active = false"
SOURCES = "UPDATE pancake_source SET is_active = true WHERE pancake_source_id IN ('-1', '24895', '-5')"
ON_DUTY = f"UPDATE staff SET on_duty = true WHERE id = ANY ('{{{','.join(STAFF[:5])}}}')"

wrong_password = by_variable("DATABASE_URL", lambda sandbox: sandbox.database_url.replace("@", "x@"))
wrong_secret = by_variable("HASURA_ADMIN_SECRET", lambda _: "wrong")
other_public_url = by_variable("PUBLIC_URL", lambda sandbox: sandbox.hasura_url)
saved_in_console = by_metadata(("pg_create_event_trigger", TRIGGER_SAVED_IN_CONSOLE))
disabled_sql_trigger = by_sql(NO_SQL_TRIGGER, NO_SQL_TRIGGER.replace("DISABLE", "ENABLE"))
dropped_sql_trigger = by(
    lambda system: system.sql(f"DROP TRIGGER {SQL_TRIGGER} ON pancake_webhook_event"),
    lambda system: system.metadata("reload_metadata", {"recreate_event_triggers": True}),
)
lost_settings = by_sql(
    rename_setting("pancake_integration", "lost"), rename_setting("lost", "pancake_integration")
)
without_sources = by_sql(NO_SOURCE, SOURCES)
held_lead = by_sql(STATEMENTS["breakages/hold_lead"], f"{SOURCES}; {STATEMENTS['breakages/delete_waiting']}")
all_off_duty = by_sql("UPDATE staff SET on_duty = false", ON_DUTY)


def project_without_ours() -> dict[str, Any]:
    """Return Diva's own project, in which our role has no permission."""
    project = read_directory(DIVA_METADATA)
    for action in project["actions"]:
        action["permissions"] = []
    return project


wiped = by_metadata(("replace_metadata", project_without_ours()))
without_crons = by_metadata(*(("delete_cron_trigger", {"name": f"pancake_{name}"}) for name in CRONS))


@contextmanager
def without_future_runs(system: Installation) -> Iterator[Variables]:
    """Delete them, as a restored dump of the metadata database would; new metadata make them again."""
    with system.restored_metadata() as before:
        system.sql("DELETE FROM hdb_catalog.hdb_cron_events WHERE status = 'scheduled'")
        try:
            yield {}
        finally:
            system.metadata("replace_metadata", before | {"cron_triggers": []})


def without_service(name: str) -> Break:
    """Stop a service of the sandbox and start it again."""

    def start_again(system: Installation) -> None:
        service = getattr(system.sandbox, name)
        service.stop()  # if a cure has started it already
        service.bring_up()

    return by(lambda system: getattr(system.sandbox, name).stop(), start_again)


@contextmanager
def without_edge(system: Installation) -> Iterator[Variables]:
    """The stand-in of the edge has no internal listener: then the command gets an address without one."""
    if not isinstance(system.sandbox.edge, NginxEdge):
        yield {"EDGE_STATUS_URL": f"http://127.0.0.1:{free_port()}"}
        return
    with without_service("edge")(system):
        yield {}


END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
END_SESSIONS_OF = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %(login)s"


@contextmanager
def without_database(system: Installation) -> Iterator[Variables]:
    """Refuse every connection to the database, and end those that are open."""
    sandbox = system.sandbox
    with psycopg.connect(sandbox.cluster.url("postgres"), autocommit=True) as db:
        db.execute(f"ALTER DATABASE {sandbox.database} ALLOW_CONNECTIONS false".encode())
        db.execute(END_SESSIONS, [sandbox.database])
        try:
            yield {}
        finally:
            db.execute(f"ALTER DATABASE {sandbox.database} ALLOW_CONNECTIONS true".encode())
    sandbox.handlers.wait_ready()
    sandbox.hasura.wait_ready()


@contextmanager
def read_only_database(system: Installation) -> Iterator[Variables]:
    """New sessions can only read, as on a server whose disk is full and that was set so."""
    sandbox = system.sandbox
    change = f"ALTER DATABASE {sandbox.database} {{}} default_transaction_read_only"
    with psycopg.connect(sandbox.cluster.url("postgres"), autocommit=True) as db:
        db.execute(f"{change.format('SET')} = on".encode())
        try:
            yield {}
        finally:
            db.execute(change.format("RESET").encode())
            db.execute(END_SESSIONS, [sandbox.database])  # a session keeps what held when it began
    sandbox.handlers.wait_ready()
    sandbox.hasura.wait_ready()


def without_rights(system: Installation) -> AbstractContextManager[Variables]:
    return by_sql("REVOKE ALL ON ticket FROM pancake_handlers", GRANTS.read_text("utf-8"))(system)


def by_role_setting(role: str, setting: str, *, is_of_database: bool = False) -> Break:
    """Set it for the login of that role in new sessions, and end those that are open."""

    @contextmanager
    def change(system: Installation) -> Iterator[Variables]:
        login = next(login for login, (of, _) in LOGINS.items() if of == role)
        alter = f'ALTER ROLE "{login}"' + f" IN DATABASE {system.sandbox.database}" * is_of_database
        system.sql(f"{alter} SET {setting}")
        system.sql(END_SESSIONS_OF, {"login": login})
        try:
            yield {}
        finally:
            system.sql(f"{alter} RESET {setting.partition(' ')[0]}")
            system.sql(END_SESSIONS_OF, {"login": login})

    return change


read_only_login = by_role_setting(HANDLERS, "default_transaction_read_only = on")
impatient_login = by_role_setting(HANDLERS, "statement_timeout = '500ms'", is_of_database=True)


@contextmanager
def full_disk(system: Installation) -> Iterator[Variables]:
    """PostgreSQL answers as with a full disk when it has to write a file, and when a lead is stored."""
    sandbox = system.sandbox
    system.sql(STATEMENTS["breakages/fill_disk"])
    path = f"ALTER DATABASE {sandbox.database} {{}} search_path"
    system.sql(f"{path.format('SET')} = full_disk, pg_catalog, public")
    try:
        yield {}
    finally:
        system.sql(path.format("RESET"))
        system.sql("DROP SCHEMA full_disk CASCADE")


@contextmanager
def locked_table(system: Installation) -> Iterator[Variables]:
    session = psycopg.connect(system.sandbox.database_url, application_name="forgotten psql")
    session.execute("LOCK TABLE pancake_webhook_event")
    try:
        yield {}
    finally:
        session.close()


@contextmanager
def locked_rosters(system: Installation) -> Iterator[Variables]:
    """A transaction that nobody ended, and a session that has waited for it for long."""
    change = "UPDATE pancake_assignee SET weight = weight"
    with psycopg.connect(system.sandbox.database_url, application_name="forgotten psql") as session:
        session.execute(change)
        waiting = Thread(target=lambda: system.sql(change))
        waiting.start()
        time.sleep(RED_AFTER_SECONDS)
        try:
            yield {}
        finally:
            session.close()
            waiting.join()


@contextmanager
def few_connections(system: Installation) -> Iterator[Variables]:
    """The login of the handlers may open two connections."""
    login = next(login for login, (of, _) in LOGINS.items() if of == HANDLERS)
    system.sql(f'ALTER ROLE "{login}" CONNECTION LIMIT 2')
    system.sql(END_SESSIONS_OF, {"login": login})
    try:
        yield {}
    finally:
        system.sql(f'ALTER ROLE "{login}" CONNECTION LIMIT -1')


@contextmanager
def moved_webhook(system: Installation) -> Iterator[Variables]:
    """Our event trigger calls another address."""
    ours, other = "{{HANDLERS_URL}}/events", "http://127.0.0.1:8080/events"
    with system.restored_metadata() as before:
        system.metadata("replace_metadata", json.loads(json.dumps(before).replace(ours, other)))
        yield {}


def by_pancake(fault: str) -> Break:
    @contextmanager
    def change(system: Installation) -> Iterator[Variables]:
        faults = f"{system.sandbox.pancake_url}/control/faults"
        httpx.post(faults, json={fault: True}).raise_for_status()
        try:
            yield {}
        finally:
            httpx.delete(faults).raise_for_status()

    return change


@contextmanager
def pancake_outage(system: Installation) -> Iterator[Variables]:
    """Pancake answers nothing, and check_connection has seen it."""
    status = "UPDATE pancake_connection SET status = '{}'"
    seen = by_sql(status.format("outage"), status.format("active"))
    with by_pancake("down")(system), seen(system):
        yield {}


@contextmanager
def broken_object(system: Installation) -> Iterator[Variables]:
    with system.restored_metadata():
        system.sql("CREATE TABLE of_others (id integer PRIMARY KEY)")
        system.metadata("pg_track_table", {"source": "default", "table": "of_others"})
        system.sql("DROP TABLE of_others")
        system.metadata("reload_metadata")
        yield {}
