"""The application on a real database, with a fake Hasura and a clock that tests can move."""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import httpx
import psycopg
from starlette.applications import Starlette

from app import create_app
from leads.adapters.metrics import Metrics
from leads.adapters.settings import Settings
from leads.runtime import Runtime
from sandbox.postgres.database import owner_url
from tests.support.databases import SESSION_NAME, Session, borrowed_pools, owner_session
from tests.support.fakes import FakeHasura, MovableClock
from tests.support.leads import LEAD
from tests.support.settings import (
    ADMIN_ID,
    CHANGE_SETTINGS,
    HANDLER_SECRET,
    WEBHOOK_TOKEN,
    WEBHOOK_TOKEN_SHA256,
)


class DatabaseRows(ABC):
    """The rows of a database under test: the base of the harnesses, each of another level.

    A database: DatabaseHarness, and Pilot with a session for each statement. A process of the handlers:
    HandlerHarness by HTTP, CronHarness with Pancake too, and Product by direct calls, of which random
    histories make thousands. An engine with Diva's metadata: Shared. Engine and handlers: SettingsHarness.
    The whole system: EndToEndHarness, and System with a sender at its edge. The edge alone: EdgeHarness,
    which has no database.
    """

    @abstractmethod
    def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        """Run a statement, commit it, and return its rows, if it has any."""

    def one(self, statement: str, *params: Any) -> dict[str, Any]:
        (row,) = self.sql(statement, *params)
        return row

    def insert(self, table: str, **columns: Any) -> dict[str, Any]:
        places = ", ".join(["%s"] * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places}) RETURNING *"
        return self.one(statement, *columns.values())

    def count(self, table: str, where: str = "true") -> int:
        return int(self.one(f"SELECT count(*) FROM {table} WHERE {where}")["count"])

    def count_tickets(self) -> int:
        return self.count("ticket", "source_id = 'ticket_source_pancake'")

    def event(self, event_id: int) -> dict[str, Any]:
        return self.one("SELECT * FROM pancake_webhook_event WHERE id = %s", event_id)

    def digests(self) -> dict[str, str]:
        """Return a digest of the rows of each table: of Diva, of ours and of the engine's logs."""
        tables = "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r' AND oid >= 16384"
        of_table = "SELECT '{0}' AS name, md5(string_agg(t::text, ';' ORDER BY t::text)) AS sum FROM {0} AS t"
        digests = self.sql(" UNION ALL ".join(of_table.format(row["name"]) for row in self.sql(tables)))
        return {row["name"]: row["sum"] for row in digests}

    def change_settings(self, **settings: Any) -> None:
        """Change settings of the integration, for example kill_switch=True."""
        self.sql(CHANGE_SETTINGS, json.dumps(settings))


@dataclass
class DatabaseHarness(DatabaseRows):
    """The database under test, seen through a session of the test; each statement commits."""

    session: psycopg.Connection[dict[str, Any]]
    _at_end: list[str] = field(default_factory=list, init=False)

    def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        cursor = self.session.execute(statement, params)
        return cursor.fetchall() if cursor.description else []

    def enforce_header(self) -> None:
        """Let the edge pass only deliveries with the header: those that reach the handlers are proved."""
        self.sql(
            "UPDATE pancake_connection SET signature_mode = 'enforce', header_secret_encrypted = 'sealed'"
        )

    def fill_roster(self, size: int = 3, source: str | None = None, **columns: Any) -> list[str]:
        """Add the first telesale staff to the roster of a source, or to the default one; return their ids."""
        names = "".join(f", {name}" for name in columns)
        values = "".join(", %s" for _ in columns)
        rows = self.sql(
            f"INSERT INTO pancake_assignee (staff_id, source_id{names})"
            f" SELECT s.id, (SELECT id FROM pancake_source WHERE pancake_source_id = %s){values}"
            " FROM staff AS s WHERE s.role = 'telesale' AND s.is_active AND s.on_duty"
            " ORDER BY s.id LIMIT %s RETURNING staff_id::text",
            source,
            *columns.values(),
            size,
        )
        return [row["staff_id"] for row in rows]

    def staff(self, role: str) -> set[str]:
        """Return the ids of the active staff of a role, of whom there are some."""
        rows = self.sql("SELECT id::text AS id FROM staff WHERE role = %s AND is_active", role)
        assert rows
        return {row["id"] for row in rows}

    def slow_down(self, table: str, seconds: float) -> None:
        """Delay every insert into a table, so that concurrent ones overlap.

        A test needs no `own_database` for this and `refuse_tickets`: the harness drops what they created, and
        the check of the emptied database finds it if not.
        """
        self._at_end.append(f"DROP FUNCTION slow_{table} CASCADE")
        self.session.execute(
            f"CREATE FUNCTION slow_{table}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;"
            f" CREATE TRIGGER a_slow_{table} BEFORE INSERT ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION slow_{table}()"
        )

    def refuse_tickets(self, reason: str, times: int) -> None:
        """Make the next `times` inserts of a ticket run `reason`, a PL/pgSQL statement."""
        self._at_end += ["DROP SEQUENCE IF EXISTS refused", "DROP FUNCTION IF EXISTS refuse_ticket CASCADE"]
        self.session.execute(
            "CREATE SEQUENCE IF NOT EXISTS refused;"
            " CREATE OR REPLACE FUNCTION refuse_ticket() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
            f" AS $$ BEGIN IF nextval('refused') <= {times} THEN {reason}; END IF; RETURN NEW; END $$;"
            " CREATE OR REPLACE TRIGGER refuse_ticket BEFORE INSERT ON ticket"
            " FOR EACH ROW EXECUTE FUNCTION refuse_ticket()"
        )

    def stop_disturbing(self) -> None:
        """Drop what `slow_down` and `refuse_tickets` created."""
        while self._at_end:
            self.sql(self._at_end.pop())

    def terminate_backends(self) -> None:
        """Cut every connection of the handlers to the database, as a restart does; return when all ended."""
        self.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name <> %s",
            SESSION_NAME,
        )

    def expire_leases(self) -> None:
        """Age every claim that is not finished by 61 seconds, more than its lease, and every wait."""
        columns = ("ingested_at", "notify_claimed_at", "notify_next_at")
        aged = ", ".join(f"{column} = {column} - interval '61 seconds'" for column in columns)
        self.sql(f"UPDATE pancake_webhook_event SET {aged}")


def seed_connection(database_url: str) -> str:
    """Switch the kill switch off, and insert a connection with WEBHOOK_TOKEN and two sources; return its id.

    Source -1 is active, and source -3 is not.
    """
    with owner_session(database_url) as session:
        db, token = DatabaseHarness(session), bytes.fromhex(WEBHOOK_TOKEN_SHA256)
        of = db.insert("pancake_connection", name="test", workspace_id=123, token_sha256=token)["id"]
        db.sql(
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
            " VALUES (%s, '-1', 'Facebook', true), (%s, '-3', 'Instagram', false)",
            *(of, of),
        )
        db.change_settings(kill_switch=False)
    return str(of)


@dataclass
class HandlerHarness(DatabaseHarness):
    """One process of the handlers: call it as Hasura and the edge do, and read its rows."""

    client: httpx.AsyncClient
    hasura: FakeHasura
    clock: MovableClock
    runtime: Runtime
    database_url: str
    """The owner's URL; the handlers have a role with fewer rights."""

    connection_id: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"X-Handler-Secret": HANDLER_SECRET})

    async def deliver(
        self, body: bytes | str | dict[str, Any], token: str = WEBHOOK_TOKEN, **input_: Any
    ) -> dict[str, Any]:
        """Post a body as the edge does and return the handler's answer."""
        if isinstance(body, dict):
            body = json.dumps(body, ensure_ascii=False)
        raw = body.encode() if isinstance(body, str) else body
        digest = sha256(token.encode(errors="backslashreplace")).hexdigest()
        response = await self.call_action(
            {"token_sha256": digest, "raw": base64.b64encode(raw).decode(), **input_}
        )
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def call_action(
        self,
        input_: dict[str, Any],
        headers: dict[str, str] | None = None,
        name: str = "ingest_record",
        session: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Call an action's handler as Hasura does."""
        envelope = {
            "action": {"name": f"pancake_{name}"},
            "input": input_,
            "session_variables": session or {"x-hasura-role": "pancake_edge"},
            "request_query": "mutation { … }",
        }
        return await self.client.post(
            f"/actions/{name}", content=json.dumps(envelope).encode(), headers=headers or self.headers
        )

    async def request_replay(self, **input_: Any) -> httpx.Response:
        """Call replay_events as an administrator of Diva."""
        session = {"x-hasura-role": "crm_admin", "x-hasura-user-id": ADMIN_ID}
        return await self.call_action(input_, name="replay_events", session=session)

    async def replay(self, **input_: Any) -> dict[str, Any]:
        response = await self.request_replay(**input_)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def fire(
        self,
        event_id: int,
        op: str = "INSERT",
        current_retry: int = 0,
        hasura_event_id: str = "0b8f6c1e-3f1a-4f0e-9a51-0d6a8c1f7a11",
        session: dict[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        trace: object = None,
        **more_columns: Any,
    ) -> httpx.Response:
        """Deliver the row's event as Hasura does.

        `current_retry`: how often it was delivered before. `session`: the session variables of who fired it.
        `headers` besides the secret. `more_columns`: of the row, besides those that our trigger delivers.
        """
        new = {"id": event_id, "status": "received", "received_at": "2026-03-04T05:06:07.123456+00:00"}
        data = {"old": None, "new": new | more_columns}
        body = {
            "id": hasura_event_id,
            "created_at": "2026-03-04T05:06:07.123456",
            "table": {"schema": "public", "name": "pancake_webhook_event"},
            "trigger": {"name": "pancake_webhook_event_status_update"},
            "delivery_info": {"current_retry": current_retry, "max_retries": 20},
            "event": {"op": op, "data": data, "session_variables": session, "trace_context": trace},
        }
        sent = self.headers | dict(headers or {})
        return await self.client.post("/events/process_record", json=body, headers=sent)

    async def process(self, event_id: int, op: str = "INSERT") -> str:
        """Deliver the row's event and return the result."""
        response = await self.fire(event_id, op)
        assert response.status_code == 200, response.text
        return str(response.json()["result"])

    async def process_received(self) -> dict[int, str]:
        """Deliver the event of each row that is `received`, oldest first; return the results by id."""
        rows = self.sql("SELECT id FROM pancake_webhook_event WHERE status = 'received' ORDER BY id")
        return {row["id"]: await self.process(row["id"], "UPDATE") for row in rows}

    async def recover(self) -> None:
        """Do what the retry cron and the engine do about unfinished work."""
        self.expire_leases()
        self.sql(
            "UPDATE pancake_webhook_event SET status = 'received' WHERE status IN ('ingested', 'failed')"
        )
        for row in self.sql("SELECT id FROM pancake_webhook_event ORDER BY id"):
            await self.process(row["id"])

    def notices(self, reason: str) -> list[Mapping[str, Any]]:
        """Return the notifications sent that have this reason."""
        return [sent for sent in self.hasura.sent.values() if sent["data"].get("reason") == reason]

    def value(self, series: str, **labels: str) -> float | None:
        return value_of(self.runtime.metrics, series, **labels)

    async def scrape(self, series: str, **labels: str) -> float | None:
        """Scrape the process, with every figure read anew; return the value of a series."""
        self.runtime.scrape.answer_within_seconds = 60.0
        for reading in (each for sql in self.runtime.scrape.sql for each in sql._readings.values()):
            reading.due_at = 0.0
        assert (await self.client.get("/metrics")).status_code == 200
        await self.runtime.scrape.settle()
        return self.value(series, **labels)

    async def process_lead(self, **fields: Any) -> tuple[int, str]:
        """Deliver LEAD with these fields changed and process it; return event id and result."""
        answer = await self.deliver(LEAD | fields)
        event_id = answer["event_id"]
        return event_id, await self.process(event_id)


def value_of(metrics: Metrics, series: str, **labels: str) -> float | None:
    """Return the value of a series as the process has it now: nothing is read from the database."""
    value: float | None = metrics.registry.get_sample_value(series, labels)
    return value


def ingest_answer(status: str, event_id: int | None = None, error_code: str | None = None) -> dict[str, Any]:
    return {"status": status, "event_id": event_id, "error_code": error_code}


@asynccontextmanager
async def started(app: Starlette, database_url: str) -> AsyncIterator[tuple[httpx.AsyncClient, Session]]:
    """Run the application's lifespan; give a client of it and the test's session on its database."""
    async with (
        borrowed_pools(app.state.runtime.db) as ends,
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://handlers") as client,
    ):
        with owner_session(database_url) as session:
            yield client, session
        ends()


@asynccontextmanager
async def running_handlers(
    settings: Settings, connection_id: str, hasura: FakeHasura
) -> AsyncIterator[HandlerHarness]:
    clock = MovableClock()
    app = create_app(Runtime.assemble(settings, clock=clock, graphql=hasura))
    url = owner_url(settings.database_url)
    async with started(app, url) as (client, session):
        harness = HandlerHarness(session, client, hasura, clock, app.state.runtime, url, connection_id)
        yield harness
        harness.stop_disturbing()
