"""Call the handlers as Hasura, the edge and operators do: each repeats what was not answered with 2xx."""

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx
import psycopg

from proofs.bench.environment import action_call
from proofs.chaos.crashes.edge import CrashEdge
from proofs.chaos.crashes.handler import Handlers
from proofs.chaos.crashes.points import Moment
from proofs.chaos.crashes.tripwire import Tripwire
from sandbox.accelerated_clock import AcceleratedClock

ADMIN_SESSION = {"x-hasura-role": "crm_admin", "x-hasura-user-id": "c0000000-0000-4000-8000-000000000009"}
RETRY_AFTER = timedelta(seconds=10)
"""When Hasura, the edge or an operator repeats."""
MAX_REPEATS = 12
EVENT_LABEL = "lock and answer"

_LOCK_EVENT = """
    UPDATE hdb_catalog.event_log SET locked = now()
    WHERE id = (
        SELECT l.id FROM hdb_catalog.event_log AS l
        WHERE NOT l.delivered AND NOT l.error AND NOT l.archived
            AND (l.locked IS NULL OR l.locked < now() - interval '30 minutes')
            AND (l.next_retry_at IS NULL OR l.next_retry_at <= now())
        ORDER BY l.created_at LIMIT 1
    )
    RETURNING id, trigger_name, payload, tries
"""
_AGE_LEASES = """
    UPDATE pancake_webhook_event SET
        received_at = received_at - %(by)s, ingested_at = ingested_at - %(by)s,
        notify_claimed_at = notify_claimed_at - %(by)s;
    UPDATE pancake_cron_run SET notify_claimed_at = notify_claimed_at - %(by)s;
    UPDATE hdb_catalog.event_log SET
        locked = locked - %(by)s, next_retry_at = next_retry_at - %(by)s, created_at = created_at - %(by)s;
"""


class NotAnswered(Exception):
    """A call was repeated MAX_REPEATS times without an answer of 2xx."""


class Callers:
    """The callers of one run, on its database."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        session: psycopg.AsyncConnection[Any],
        clock: AcceleratedClock,
        handlers: Handlers,
        edge: CrashEdge,
        wire: Tripwire,
    ) -> None:
        """`session` is a superuser's, with the triggers off."""
        self._http = http
        self._session = session
        self.clock = clock
        self._handlers = handlers
        self._faults_seen = 0
        self._edge = edge
        self._wire = wire
        self.passed = timedelta()
        """The time that `pass_time` let pass."""

    async def close(self) -> None:
        await self._session.close()

    async def sql(self, statement: str, params: Mapping[str, object] | None = None) -> list[Any]:
        """Run statements as a superuser, without triggers."""
        cursor = await psycopg.AsyncClientCursor(self._session).execute(statement.encode(), params)
        return await cursor.fetchall() if cursor.description else []

    async def pass_time(self, by: timedelta) -> None:
        """Let time pass for the handlers' clock, and for leases and locks, which the database's clock ends.

        That clock cannot be changed, so what it wrote is moved into the past.
        """
        self.clock.advance(by)
        await self.sql(_AGE_LEASES, {"by": by})
        self.passed += by

    async def deliver(self, record: Mapping[str, Any], token: str) -> None:
        """Deliver a body as the edge does."""
        raw = json.dumps(record, ensure_ascii=False).encode()
        given: dict[str, object] = {
            "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
            "raw": base64.b64encode(raw).decode(),
            "arrived_at": self.clock.now().isoformat(),
        }
        await self._until_answered("/actions/ingest_record", action_call("pancake_ingest_record", given))

    async def post(self, record: Mapping[str, Any], token: str) -> None:
        """Post a body to the edge as Pancake does, until it is answered with 200. Raises NotAnswered."""
        for _ in range(MAX_REPEATS):
            if await self._edge.post(self._http, record, token):
                return
            await self.pass_time(RETRY_AFTER)
        raise NotAnswered(f"the edge, {MAX_REPEATS} times")

    async def wait_drained(self) -> None:
        """Wait until the edge holds no delivery. Raises NotDrained."""
        await self._edge.wait_drained()

    def cut_edge(self, is_cut: bool) -> None:
        """Let the edge reach neither Hasura nor the handlers, or both again."""
        self._edge.cut(is_cut)

    async def start_handlers(self) -> None:
        """Let the next process take the calls if a fault has struck, and start it if it is not running."""
        if len(self._wire.struck) > self._faults_seen:
            self._faults_seen = len(self._wire.struck)
            self._handlers.pass_on()
        await self._handlers.ensure_running()

    async def tick(self, name: str) -> None:
        """Deliver a tick of a cron, due at this minute of the accelerated clock."""
        due = self.clock.now().replace(second=0, microsecond=0)
        call = {"id": "tick", "name": f"pancake_{name}", "scheduled_time": due.isoformat(), "payload": {}}
        await self._until_answered(f"/cron/{name}", json.dumps(call).encode())

    async def replay(self, **given: object) -> None:
        """Replay events, without waiting for their results."""
        envelope = {
            "action": {"name": "pancake_replay_events"}, "input": {**given, "wait": False},
            "session_variables": ADMIN_SESSION, "request_query": "mutation { … }",
        }  # fmt: skip
        await self._until_answered("/actions/replay_events", json.dumps(envelope).encode())

    async def deliver_events(self) -> None:
        """Deliver every due event of the event log, one by one; an event without 2xx is due again later."""
        while event := await self._lock_event():
            id_, trigger, payload, tries = event
            moment = self._wire.reached("event", EVENT_LABEL)
            if moment == Moment.BEFORE:
                continue  # killed: the event stays locked, and the next instance goes on with others
            call = {
                "id": id_, "created_at": "2026-11-20T02:00:00", "event": payload,
                "table": {"schema": "public", "name": "pancake_webhook_event"}, "trigger": {"name": trigger},
                "delivery_info": {"current_retry": tries, "max_retries": 20},
            }  # fmt: skip
            answer = await self._post("/events/process_record", json.dumps(call).encode())
            if moment == Moment.AFTER:
                continue
            is_delivered = answer is not None and answer.is_success
            await self.sql(
                "UPDATE hdb_catalog.event_log SET locked = NULL, tries = tries + 1, delivered = %(done)s,"
                " next_retry_at = CASE WHEN NOT %(done)s THEN now() + %(wait)s END WHERE id = %(id)s",
                {"done": is_delivered, "wait": RETRY_AFTER, "id": id_},
            )

    async def _lock_event(self) -> tuple[Any, ...] | None:
        rows = await self.sql(_LOCK_EVENT)
        return rows[0] if rows else None

    async def _until_answered(self, path: str, body: bytes) -> None:
        """Repeat a call until it is answered with 2xx. Raises NotAnswered."""
        for _ in range(MAX_REPEATS):
            answer = await self._post(path, body)
            if answer is not None and answer.is_success:
                return
            await self.pass_time(RETRY_AFTER)
        described = f"{answer.status_code} {answer.text}" if answer is not None else "no answer"
        raise NotAnswered(f"{path}, {MAX_REPEATS} times: {described}")

    async def _post(self, path: str, body: bytes) -> httpx.Response | None:
        """Call the handlers, which are started again if they were killed; None without an answer."""
        await self.start_handlers()
        try:
            return await self._http.post(path, content=body)
        except httpx.TransportError:
            return None
