"""The application on a real database, with a fake Hasura behind it and a clock that tests can move."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from app import create_app
from leads.adapters.clock import Clock
from leads.adapters.database import Database, Params, Row, Statement, Transaction
from leads.adapters.graphql import Graphql
from leads.adapters.logs import JsonFormatter
from leads.adapters.secrets import KeyRing
from leads.adapters.settings import Settings
from leads.domain.errors import HasuraUnavailable
from leads.services.outbox import Outbox, Unsent
from leads.services.runtime import Runtime

TOKEN = "token-of-the-test-connection"
SECRET = "handler-secret-for-tests"
PREVIOUS_SECRET = "handler-secret-before-it"
EDGE_SECRET = "edge-secret-for-tests"
ADMIN = "a0000000-0000-4000-8000-000000000001"


class MovableClock(Clock):
    """Real time plus what a test added to it; sleeping only moves it on; no jitter."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)
        await super().sleep(0)

    def jitter(self) -> float:
        return 0.0


class FakeHasura(Graphql):
    """Takes notifications as sendNotifications does, honours idempotency keys, and fails when told to."""

    def __init__(self) -> None:
        self.sent: dict[str, dict[str, Any]] = {}
        self.failing = False
        self.taking: int | None = None
        self.calls = 0

    async def send_notifications(self, notifications: Sequence[dict[str, Any]]) -> dict[str, int]:
        self.calls += 1
        if self.failing:
            raise HasuraUnavailable
        notifications = notifications[: self.taking]
        new = {n["idempotency_key"]: n for n in notifications if n["idempotency_key"] not in self.sent}
        self.sent |= new
        return {"accepted": len(new), "duplicates": len(notifications) - len(new)}

    async def healthy(self) -> bool:
        return not self.failing

    async def close(self) -> None:
        return None


@dataclass
class House:
    """Everything a handler test needs in one hand."""

    client: httpx.AsyncClient
    hasura: FakeHasura
    clock: MovableClock
    session: psycopg.Connection[dict[str, Any]]
    runtime: Runtime
    database_url: str
    connection_id: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"X-Handler-Secret": SECRET})

    def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        """Run SQL as somebody else would: on a connection of its own, committed at once."""
        cursor = self.session.execute(statement, params)
        return cursor.fetchall() if cursor.description else []

    def one(self, statement: str, *params: Any) -> dict[str, Any]:
        (row,) = self.sql(statement, *params)
        return row

    def event(self, event_id: int) -> dict[str, Any]:
        return self.one("SELECT * FROM pancake_webhook_event WHERE id = %s", event_id)

    def terminate_backends(self) -> None:
        """Cut every connection to the database, as a restart of PostgreSQL does."""
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name <> 'test'"
        )

    def switch(self, **settings: Any) -> None:
        """Change settings of the integration, say kill_switch=True."""
        self.sql(
            "UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{pancake_integration}',"
            " app_settings -> 'pancake_integration' || %s) WHERE id = 1",
            json.dumps(settings),
        )

    async def deliver(
        self, body: bytes | str | dict[str, Any], token: str = TOKEN, **input_: Any
    ) -> dict[str, Any]:
        """Post a body as the edge does and return the handler's answer."""
        if isinstance(body, dict):
            body = json.dumps(body, ensure_ascii=False)
        raw = body.encode() if isinstance(body, str) else body
        response = await self.act({"token": token, "raw": base64.b64encode(raw).decode(), **input_})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def act(
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

    async def order(self, **input_: Any) -> httpx.Response:
        """Ask for a replay as an administrator of Diva does."""
        session = {"x-hasura-role": "crm_admin", "x-hasura-user-id": ADMIN}
        return await self.act(input_, name="replay_events", session=session)

    async def replay(self, **input_: Any) -> dict[str, Any]:
        """The report of a replay that is carried out."""
        response = await self.order(**input_)
        assert response.status_code == 200, response.text
        report: dict[str, Any] = response.json()
        return report

    async def process_received(self) -> dict[int, str]:
        """Deliver the event of each row that is `received`, oldest first: results by id."""
        rows = self.sql("SELECT id FROM pancake_webhook_event WHERE status = 'received' ORDER BY id")
        return {row["id"]: await self.process(row["id"], "UPDATE") for row in rows}

    async def fire(self, event_id: int, op: str = "INSERT") -> httpx.Response:
        """Deliver the row's event as Hasura does."""
        body = {
            "id": "0b8f6c1e-3f1a-4f0e-9a51-0d6a8c1f7a11",
            "created_at": "2026-03-04T05:06:07.123456",
            "table": {"schema": "public", "name": "pancake_webhook_event"},
            "trigger": {"name": "pancake_webhook_event_status_update"},
            "delivery_info": {"current_retry": 0, "max_retries": 3},
            "event": {
                "op": op,
                "data": {"old": None, "new": {"id": event_id, "status": "received"}},
                "session_variables": None,
                "trace_context": None,
            },
        }
        return await self.client.post("/events/process_record", json=body, headers=self.headers)

    async def process(self, event_id: int, op: str = "INSERT") -> str:
        response = await self.fire(event_id, op)
        assert response.status_code == 200, response.text
        return str(response.json()["result"])

    def roster(self, size: int = 3, source: str | None = None, **columns: Any) -> list[str]:
        """Put the first telesale staff on the roster of a source, or on the default one; their ids."""
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

    def slow_down(self, table: str, seconds: float) -> None:
        """Let every insert into a table take its time, so that concurrent ones meet."""
        self.sql(
            f"CREATE FUNCTION slow_{table}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"
        )
        self.sql(
            f"CREATE TRIGGER a_slow_{table} BEFORE INSERT ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION slow_{table}()"
        )

    def expire_leases(self) -> None:
        """Let a minute pass for everything that was claimed and not finished."""
        self.sql(
            "UPDATE pancake_webhook_event SET ingested_at = ingested_at - interval '61 seconds',"
            " notify_claimed_at = notify_claimed_at - interval '61 seconds'"
        )

    async def recover(self) -> None:
        """What the retry cron and the engine do about work that was left lying."""
        self.expire_leases()
        self.sql(
            "UPDATE pancake_webhook_event SET status = 'received' WHERE status IN ('ingested', 'failed')"
        )
        for row in self.sql("SELECT id FROM pancake_webhook_event ORDER BY id"):
            await self.process(row["id"])

    async def lead(self, **fields: Any) -> tuple[int, str]:
        """Deliver a lead with these fields over some defaults and process it: (event id, result)."""
        record = {
            "id": "2f941efe-d9a3-4d9a-affe-e123b06b8a44",
            "name": "Nguyễn Văn A",
            "phone_number": "0905111222",
            "source": ["-1"],
            "modified_on": "2026-05-14T02:35:56.000000",
        }
        answer = await self.deliver(record | fields)
        event_id = answer["event_id"]
        return event_id, await self.process(event_id)


@pytest.fixture
def key_ring() -> KeyRing:
    return KeyRing({"test": bytes(32)})


@pytest.fixture
def connection_id(database: str) -> str:
    """A connection with TOKEN, the sources -1 (active) and -3 (inactive), and the kill switch off."""
    with psycopg.connect(database, autocommit=True) as connection:
        (found,) = connection.execute(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
            " VALUES ('test', 123, %s) RETURNING id",
            (sha256(TOKEN.encode()).digest(),),
        ).fetchone() or ("",)
        connection.execute(
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
            " VALUES (%s, '-1', 'Facebook', true), (%s, '-3', 'Instagram', false)",
            (found, found),
        )
        connection.execute(
            "UPDATE app_setting SET app_settings ="
            " jsonb_set(app_settings, '{pancake_integration,kill_switch}', 'false') WHERE id = 1"
        )
    return str(found)


def _settings(database: str, key_ring: KeyRing) -> Settings:
    return Settings(
        database_url=database,
        metadata_database_url=database,
        hasura_url="http://127.0.0.1:9",
        hasura_service_token="unused",
        handler_secrets=(SECRET, PREVIOUS_SECRET),
        edge_secrets=(EDGE_SECRET,),
        key_ring=key_ring,
    )


@asynccontextmanager
async def running(settings: Settings, connection_id: str, hasura: FakeHasura) -> AsyncIterator[House]:
    """The application, started, as one process of it."""
    clock = MovableClock()
    app = create_app(settings, clock, hasura)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://handlers") as client,
    ):
        url = settings.database_url
        with psycopg.connect(
            url, autocommit=True, row_factory=dict_row, application_name="test"
        ) as connection:
            yield House(client, hasura, clock, connection, app.state.runtime, url, connection_id)


async def deadlocks(*houses: House) -> int:
    """How many there were since the database was made. Ends the houses' connections: only then they tell."""
    for house in houses:
        await house.runtime.db.close()
    others = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'test'"
    )
    async with asyncio.timeout(10):
        while houses[0].sql(others):  # noqa: ASYNC110 - it is the server that is waited for
            await asyncio.sleep(0.01)
    found = houses[0].one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(found["deadlocks"])


class Crash(BaseException):
    """The process is gone: nothing of ours may catch this."""


class Fuse:
    """Burns at the n-th of the steps that it is asked about."""

    def __init__(self, step: int) -> None:
        self.left = step

    def burn(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash


class CrashingDatabase(Database):
    """A database whose caller dies before or after one of its round trips."""

    def __init__(self, real: Database, fuse: Fuse) -> None:
        self._real = real
        self._fuse = fuse

    async def fetch_all(self, name: str, params: Params) -> list[Row]:
        self._fuse.burn()
        rows = await self._real.fetch_all(name, params)
        self._fuse.burn()
        return rows

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        async with self._real.place():
            yield

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._real.transaction() as transaction:
            yield CrashingTransaction(transaction, self._fuse)


class CrashingTransaction(Transaction):
    def __init__(self, real: Transaction, fuse: Fuse) -> None:
        self._real = real
        self._fuse = fuse

    async def run(self, *statements: Statement, commit: bool = False) -> list[list[Row]]:
        self._fuse.burn()
        rows = await self._real.run(*statements, commit=commit)
        self._fuse.burn()
        return rows


class CrashingHasura(Graphql):
    def __init__(self, real: Graphql, fuse: Fuse) -> None:
        self._real = real
        self._fuse = fuse

    async def send_notifications(self, notifications: Sequence[dict[str, Any]]) -> dict[str, int]:
        self._fuse.burn()
        result = await self._real.send_notifications(notifications)
        self._fuse.burn()
        return result


def crashing(on: Runtime, step: int) -> Runtime:
    """The same process, which dies at that step of what it does with its database and Hasura."""
    fuse = Fuse(step)
    db, graphql = CrashingDatabase(on.db, fuse), CrashingHasura(on.graphql, fuse)
    return replace(on, db=db, graphql=graphql, outbox=DirectOutbox(db, graphql, on.metrics, on.clock))


class DirectOutbox(Outbox):
    """Sends in the caller's own task, so that a crash there is the caller's."""

    async def send(self, events: Iterable[Unsent]) -> int:
        return sum([bool(result) for event in events for result in await self._send([event])])


@pytest.fixture
async def house(database: str, connection_id: str, key_ring: KeyRing) -> AsyncIterator[House]:
    async with running(_settings(database, key_ring), connection_id, FakeHasura()) as house:
        yield house


@pytest.fixture
async def second_house(house: House, database: str, key_ring: KeyRing) -> AsyncIterator[House]:
    """A second process on the same database, with the same Hasura."""
    async with running(_settings(database, key_ring), house.connection_id, house.hasura) as second:
        yield second


@pytest.fixture
def capture_logs() -> Iterator[list[str]]:
    """Every line that would be written to standard output, as it would be written."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler, root = Keep(), logging.getLogger()
    handler.setFormatter(JsonFormatter())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.setLevel(level)
    root.removeHandler(handler)
