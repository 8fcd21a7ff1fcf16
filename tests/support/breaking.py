"""Break a part of a running sandbox for the length of a block, and mend it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from leads.cli.metadata.directory import read_directory
from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.edge.nginx import NginxEdge
from sandbox.stack.stack import Sandbox
from tests.support.edge_status import edge_status
from tests.support.end_to_end import CHANGE_SETTINGS

Variables = dict[str, str]
"""What the operator's command gets besides the sandbox's own variables."""
Break = Callable[[Sandbox], AbstractContextManager[Variables]]


def sql(sandbox: Sandbox, statement: str, *values: Any) -> None:
    with psycopg.connect(sandbox.database_url, autocommit=True) as db:
        db.execute(statement, values)


def api(sandbox: Sandbox, kind: str, **args: Any) -> Any:
    """Send a request to the metadata API; return the answer."""
    answer = httpx.post(
        f"{sandbox.hasura_url}/v1/metadata",
        json={"type": kind, "args": args, **({"version": 2} if kind == "export_metadata" else {})},
        headers={"X-Hasura-Admin-Secret": sandbox.keys.admin_secret},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def by_sql(broken: str, mended: str) -> Break:
    """Break and mend something with a statement each."""

    @contextmanager
    def change(sandbox: Sandbox) -> Iterator[Variables]:
        sql(sandbox, broken)
        try:
            yield {}
        finally:
            sql(sandbox, mended)

    return change


def by_setting(name: str) -> Break:
    """Switch a setting on, then off."""
    return by_sql(
        CHANGE_SETTINGS.replace("%s", f"'{{\"{name}\": true}}'"),
        CHANGE_SETTINGS.replace("%s", f"'{{\"{name}\": false}}'"),
    )


@contextmanager
def by_metadata(sandbox: Sandbox, kind: str, **args: Any) -> Iterator[Variables]:
    """Send a request to the metadata API, and put everything back."""
    before = api(sandbox, "export_metadata")["metadata"]
    api(sandbox, kind, **args)
    try:
        yield {}
    finally:
        api(sandbox, "replace_metadata", **before)


def metadata(kind: str, **args: Any) -> Break:
    return lambda sandbox: by_metadata(sandbox, kind, **args)


@contextmanager
def without_crons(sandbox: Sandbox) -> Iterator[Variables]:
    before = api(sandbox, "export_metadata")["metadata"]
    for cron in before["cron_triggers"]:
        if cron["name"].startswith("pancake_"):
            api(sandbox, "delete_cron_trigger", name=cron["name"])
    try:
        yield {}
    finally:
        api(sandbox, "replace_metadata", **before)


@contextmanager
def without_sql_triggers(sandbox: Sandbox) -> Iterator[Variables]:
    """Disable them: a dump that was restored without triggers has the same effect."""
    name = "notify_hasura_pancake_webhook_event_status_update_INSERT"
    sql(sandbox, f'ALTER TABLE pancake_webhook_event DISABLE TRIGGER "{name}"')
    try:
        yield {}
    finally:
        sql(sandbox, f'ALTER TABLE pancake_webhook_event ENABLE TRIGGER "{name}"')


def without_service(name: str) -> Break:
    """Stop a service of the sandbox and start it again."""

    @contextmanager
    def stopped(sandbox: Sandbox) -> Iterator[Variables]:
        service = getattr(sandbox, name)
        service.stop()
        try:
            yield {}
        finally:
            service.start()
            service.wait_ready()

    return stopped


@contextmanager
def without_database(sandbox: Sandbox) -> Iterator[Variables]:
    """Refuse every connection to the database, and end those that are open."""
    with psycopg.connect(sandbox.cluster.url("postgres"), autocommit=True) as db:
        db.execute(f"ALTER DATABASE {sandbox.database} ALLOW_CONNECTIONS false".encode())
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [sandbox.database]
        )
        try:
            yield {}
        finally:
            db.execute(f"ALTER DATABASE {sandbox.database} ALLOW_CONNECTIONS true".encode())
    sandbox.handlers.wait_ready()
    sandbox.hasura.wait_ready()


@contextmanager
def with_variables(**variables: str) -> Iterator[Variables]:
    yield variables


@contextmanager
def locked_table(sandbox: Sandbox) -> Iterator[Variables]:
    with psycopg.connect(sandbox.database_url, application_name="forgotten psql") as db:
        db.execute("LOCK TABLE pancake_webhook_event")
        yield {}


@contextmanager
def waiting_event(sandbox: Sandbox) -> Iterator[Variables]:
    """An event that is claimed again and again for 20 minutes, and whose present claim is valid."""
    with psycopg.connect(sandbox.database_url, autocommit=True) as db:
        db.execute("SET session_replication_role = replica")
        db.execute(
            "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, payload,"
            " status, claim_id, ingested_at, received_at, arrived_at, created_at)"
            " SELECT c.id, 'poll', 'waiting', sha256('waiting'), '{}', 'ingested', gen_random_uuid(), now(),"
            " now(), now(), now() - interval '20 minutes' FROM pancake_connection AS c"
        )
        try:
            yield {}
        finally:
            db.execute("SET pancake.delete_events = 'on'")
            db.execute("DELETE FROM pancake_webhook_event WHERE record_id = 'waiting'")


@contextmanager
def without_edge(sandbox: Sandbox) -> Iterator[Variables]:
    if not isinstance(sandbox.edge, NginxEdge):
        pytest.skip("the stand-in of the edge has no internal listener")
    sandbox.edge.stop()
    try:
        yield {}
    finally:
        sandbox.edge.start()
        sandbox.edge.wait_ready()
        sandbox.edge.wait_policy()


@contextmanager
def spooling_edge(sandbox: Sandbox) -> Iterator[Variables]:
    """An edge whose path to Hasura fails, and whose spool has grown."""
    with edge_status(spooled=640, skipped="hasura") as url:
        yield {"EDGE_STATUS_URL": url}


@contextmanager
def refused_key(sandbox: Sandbox) -> Iterator[Variables]:
    faults = f"{sandbox.pancake_url}/control/faults"
    httpx.post(faults, json={"unauthorized": True}).raise_for_status()
    try:
        yield {}
    finally:
        httpx.delete(faults).raise_for_status()


@contextmanager
def wiped(sandbox: Sandbox) -> Iterator[Variables]:
    with by_metadata(sandbox, "replace_metadata", **read_directory(DIVA_METADATA)) as variables:
        yield variables


@contextmanager
def without_future_runs(sandbox: Sandbox) -> Iterator[Variables]:
    """Delete them, as a restored dump of the metadata database would; new metadata make them again."""
    before = api(sandbox, "export_metadata")["metadata"]
    sql(sandbox, "DELETE FROM hdb_catalog.hdb_cron_events WHERE status = 'scheduled'")
    try:
        yield {}
    finally:
        api(sandbox, "replace_metadata", **(before | {"cron_triggers": []}))
        api(sandbox, "replace_metadata", **before)


def with_(**variables: str) -> Break:
    return lambda sandbox: with_variables(**variables)


@contextmanager
def wrong_password(sandbox: Sandbox) -> Iterator[Variables]:
    yield {"DATABASE_URL": sandbox.database_url.replace("@", "x@")}
