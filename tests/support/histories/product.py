"""The product on a real database, called without HTTP, for histories of thousands of steps."""

import asyncio
import base64
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from types import TracebackType
from typing import Any, Self, TypeVar
from unittest.mock import patch

import psycopg
import uvloop
from psycopg.abc import PQGen
from psycopg.rows import dict_row, tuple_row
from psycopg.waiting import wait

from cron.retry_failed import retry_failed
from handlers.ingest_record import ingest_record
from handlers.process_record import process_record
from leads.adapters.hasura_calls import ActionCall, CronCall, EventCall
from leads.adapters.round_trip import PreparingConnection
from leads.adapters.secrets import KeyRing
from leads.domain.replay import ReplayRequest, read_request
from leads.runtime import Runtime, run_cron
from leads.services.redelivery import replay_event
from leads.services.replay_events import dry_run, find_events, statement_of
from sandbox.postgres.database import grant_rights
from tests.support.crons import HDB_CATALOG
from tests.support.fakes import FakeHasura, SteadyClock
from tests.support.handlers import DatabaseRows
from tests.support.histories.vocabulary import SOURCES, TELESALES, WORKSPACES, source_name
from tests.support.histories.vocabulary import TABLES as RECORD_TABLES
from tests.support.settings import ADMIN_ID, handler_settings

Result = TypeVar("Result")
Row = dict[str, Any]
Rows = dict[str, dict[Any, Row]]
"""All rows of each table that the checks read, by id, as JSON objects."""

TABLES = (
    "account",
    "contact_book",
    "ticket",
    "customer_consent",
    "pancake_assignee",
    "pancake_webhook_event",
    "staff",
    "pancake_connection",
    "pancake_source",
)
_EVENT = (
    "(SELECT t.id, t.connection_id, t.table_name, t.record_id, t.status, t.outcome, t.error_code,"
    " t.normalized_phone, t.account_id, t.ticket_id, t.notifications, t.notified_at,"
    " t.evidence -> 'error' AS error)"
)
"""Without bodies and most of the evidence, which are longer than all other rows."""
_READ = " UNION ALL ".join(
    f"SELECT '{table}', count(*),"
    " jsonb_agg(r) FILTER (WHERE age(t.xmin) <= coalesce(age(%(since)s::xid8::xid), 2147483647)),"
    f" pg_snapshot_xmin(pg_current_snapshot())::text FROM {table} AS t CROSS JOIN LATERAL"
    f" {_EVENT if table == 'pancake_webhook_event' else '(SELECT t.*)'} AS r"
    for table in TABLES
)
"""Of each table the number of rows, those that transactions from `since` on wrote (or all), the next one."""
_EMPTIED = (*reversed(TABLES[:6]), "pancake_cron_run")
_RESET = f"""
{"".join(f"DELETE FROM {table};" for table in _EMPTIED)}
UPDATE pancake_source SET is_active = true WHERE NOT is_active;
UPDATE staff SET is_active = true, on_duty = true WHERE NOT (is_active AND on_duty);
INSERT INTO pancake_assignee (id, staff_id)
SELECT s, s FROM unnest(ARRAY['{"', '".join(TELESALES)}']::uuid[]) AS s;
UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{{pancake_integration,kill_switch}}', 'false')
"""
RESETS_PER_TRUNCATE = 200
"""Deleted rows stay in the tables until they are truncated."""


def row_key(row: Row) -> Any:
    return row.get("id") or row["account_id"]


def no_rows() -> Rows:
    return {table: {} for table in TABLES}


class BlockingConnection(PreparingConnection):
    """Waits without the event loop, which has nothing else to do meanwhile, and would take longer."""

    async def wait(self, gen: PQGen[Result], interval: float = 0.1, *_: Any, **__: Any) -> Result:
        return wait(gen, self.pgconn.socket, interval)


class KeptConnection(BlockingConnection):
    """Stays open for the next run of a cron, which otherwise begins with planning its statements."""

    async def close(self) -> None:
        return None


class FrozenClock(SteadyClock):
    """Stands still until a test moves it; a sleep takes no time."""

    def __init__(self) -> None:
        self.time = self.start = datetime.now(UTC).replace(microsecond=0)

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        return None


@dataclass(frozen=True)
class Sent:
    """A notification as sendNotifications got it."""

    key: str
    template: str
    recipients: frozenset[str]


class RecordingHasura(FakeHasura):
    """Also keeps every notification that it was asked to send, and those that arrived, with repeats."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[Sent] = []
        self.received: list[Sent] = []

    async def send_notifications(self, notifications: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        sent = [
            Sent(each["idempotency_key"], each["template_code"], frozenset(each["recipient_ids"]))
            for each in notifications
        ]
        self.attempts += sent
        answer = await super().send_notifications(notifications)
        self.received += sent
        return answer

    def reset(self) -> None:
        self.failing = False
        for kept in (self.sent, self.calls, self.taken, self.attempts, self.received):
            kept.clear()


class Product(DatabaseRows):
    """One process of the handlers and one session of the test, on one database. A context manager."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self.clock, self.hasura = FrozenClock(), RecordingHasura()
        settings = handler_settings(database_url, KeyRing({"test": bytes(32)}))
        with patch("leads.adapters.database.PreparingConnection", BlockingConnection):
            self._runtime = Runtime.assemble(settings, clock=self.clock, graphql=self.hasura)
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._running: AbstractAsyncContextManager[None] = self._runtime.running()
        self._session = psycopg.connect(database_url, autocommit=True, row_factory=dict_row)
        self._kept: KeptConnection | None = None
        self._resets = self._ticks = 0
        self._rows: Rows = no_rows()
        self._next: str | None = None

    def __enter__(self) -> Self:
        self.sql(HDB_CATALOG.read_text())
        grant_rights(self._url)
        # Planning a statement at each execution takes longer than running it on so few rows.
        self.sql(f'ALTER DATABASE "{self._session.info.dbname}" SET plan_cache_mode = force_generic_plan')
        self._call(self._running.__aenter__())
        for number, name in enumerate(WORKSPACES):
            self._seed_connection(number, name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._running.__aexit__(None, None, None))
        self._runner.close()
        self._session.close()
        if self._kept:
            self._kept.pgconn.finish()

    async def _connect_once(self, url: str, settings: dict[str, Any]) -> KeptConnection:
        if self._kept is None:
            self._kept = await KeptConnection.connect(url, **settings)
        return self._kept

    def _call(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(coroutine)

    def _seed_connection(self, number: int, name: str) -> None:
        tables = list(RECORD_TABLES) if number == 0 else ["lead"]
        row = self.sql(
            "INSERT INTO pancake_connection (name, workspace_id, table_names, token_sha256)"
            " VALUES (%s, %s, %s, %s) RETURNING id",
            name,
            number + 1,
            tables,
            sha256(name.encode()).digest(),
        )[0]
        self.sql(
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
            " SELECT %s, s, name, true FROM unnest(%s::text[], %s::text[]) AS t (s, name)",
            row["id"],
            list(SOURCES),
            list(map(source_name, SOURCES)),
        )

    def reset(self) -> None:
        """Go back to the state before a history: no leads, three telesales on duty in the roster."""
        if self._resets % RESETS_PER_TRUNCATE == 0:
            tables = ", ".join((*_EMPTIED, "hdb_catalog.event_log"))
            self.sql(f"SET pancake.delete_events = 'on'; TRUNCATE {tables} CASCADE")
            self.sql("ANALYZE")
        self._resets += 1
        self.sql(_RESET)
        self._rows, self._next = no_rows(), None
        self.clock.time = self.clock.start
        self.hasura.reset()

    def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        """Run statements and return the rows of the last one, if it has any."""
        cursor = self._session.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []

    def rows(self) -> Rows:
        """Return all rows, of which those are read that were written since the last call.

        If rows are gone all are read.
        """
        rows, is_complete = self._read(self._rows, self._next)
        self._rows = rows if is_complete else self.all_rows()
        return self._rows

    def all_rows(self) -> Rows:
        """Read the rows of all tables that the checks read."""
        return self._read(no_rows(), None)[0]

    def _read(self, known: Rows, since: str | None) -> tuple[Rows, bool]:
        """Return the known rows with those written since, and whether they are as many as the tables have."""
        rows, is_complete = known.copy(), True
        read = self._session.cursor(row_factory=tuple_row).execute(_READ, {"since": since})
        for table, number, written, self._next in read:
            if written:
                rows[table] = known[table] | {row_key(row): row for row in written}
            is_complete = is_complete and len(rows[table]) == number
        return rows, is_complete

    # The calls of Hasura

    def deliver(self, workspace: str, raw: bytes) -> dict[str, Any]:
        """Post a body as the edge does, and return the answer."""
        given = {
            "token_sha256": sha256(workspace.encode()).hexdigest(),
            "raw": base64.b64encode(raw).decode(),
        }
        call = ActionCall(given, {"x-hasura-role": "pancake_edge"}, b"")
        return self._call(ingest_record(self._runtime, call))

    def process(self, event_id: int) -> str:
        """Deliver the event's trigger, and return the result."""
        call = EventCall("", "UPDATE", {"id": event_id})
        return str(self._call(process_record(self._runtime, call))["result"])

    def replay_request(self, event_id: int, *, force: bool, corrected_phone: str | None) -> ReplayRequest:
        given: dict[str, Any] = {"ids": [event_id], "force": force}
        if corrected_phone:
            given["corrected_phone"] = corrected_phone
        return read_request(given, {"x-hasura-role": "crm_admin", "x-hasura-user-id": ADMIN_ID})

    def may_replay(self, request: ReplayRequest) -> bool:
        found = self._call(find_events(self._runtime.db, request))
        return found.switched_on and bool(found.ids)

    def replay(self, request: ReplayRequest) -> None:
        """Set the event of a request to received."""
        (event_id,) = request.ids or ()
        statement = statement_of(request, [event_id], self.clock.now())
        is_done, _ = self._call(replay_event(self._runtime.db, event_id, statement))
        assert is_done

    def dry_run(self, request: ReplayRequest) -> dict[str, Any]:
        """Return what processing the event of a request would change."""
        ids, runtime = list(request.ids or ()), self._runtime
        (change,) = self._call(dry_run(runtime.db, self.clock, request, ids, {}, runtime.digester))
        return change

    def retry(self) -> dict[str, Any]:
        """Run the retry cron, and return its report."""
        self._ticks += 1
        call = CronCall(f"tick-{self._ticks}", "pancake_retry_failed", self.clock.now(), {})
        with patch("leads.adapters.database._connect", self._connect_once):
            answer = self._call(run_cron(retry_failed)(self._runtime, call))
        assert answer["result"] == "succeeded", answer
        report: dict[str, Any] = answer["report"]
        return report
