"""The loop that delivers the event log: it fetches batches, calls webhooks concurrently, records the results.

Facts: the engine's `Eventing/EventTrigger` (prefetch, pool size, retry rules).
"""

import json
import logging
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup
from psycopg import Error
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.events import store
from graphql_engine.rawjson import canonical, loads
from graphql_engine.sql import statement
from graphql_engine.traces import Trace, of_event
from graphql_engine.webhooks.call import (
    Outgoing,
    Reply,
    call,
    logged_request,
    refuse_transforms,
    request_headers,
    resolve_headers,
    resolve_webhook,
)

log = logging.getLogger("graphql_engine.events")
MAX_TIMEOUT_SECONDS = 30 * 60.0  # after half an hour another engine may take the lock over
DEFAULT_TIMEOUT_SECONDS = 60.0


COLUMNS = {"schema": "schema_name", "table": "table_name", "trigger": "trigger_name"}
COLUMNS |= {name: name for name in ("id", "payload", "tries", "created_at")}


@dataclass(frozen=True)
class Event:
    """A locked row of the event log; `payload` and `created_at` are JSON texts."""

    id: str
    schema: str
    table: str
    trigger: str
    payload: str
    tries: int
    created_at: str

    def body(self, max_retries: int) -> str:
        """Return the JSON body for the webhook."""
        return canonical(
            {
                "id": self.id,
                "created_at": json.loads(self.created_at),
                "table": {"schema": self.schema, "name": self.table},
                "trigger": {"name": self.trigger},
                "delivery_info": {"current_retry": self.tries, "max_retries": max_retries},
                "event": loads(self.payload),
            }
        )

    def trace(self) -> Trace:
        """Return a span in the trace in which the row was written."""
        return of_event(json.loads(self.payload).get("trace_context"))


class Deliverer:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._capacity = anyio.CapacityLimiter(engine.settings.events_pool_size)
        self._locked: set[str] = set()

    async def run(self) -> None:
        """Deliver until the engine stops, then finish the locked events. After a cancel, call `unlock`."""
        if (
            self._engine.settings.events_fetch_interval_seconds <= 0
            or self._engine.settings.events_batch_size <= 0
        ):
            return
        async with anyio.create_task_group() as group:
            events = await self._fetch()
            while events or not self._engine.stop.is_set():
                if not events:
                    with anyio.move_on_after(self._engine.settings.events_fetch_interval_seconds):
                        await self._engine.stop.wait()
                events = await self._work(events, group)

    async def unlock(self) -> int:
        """Unlock the events still locked, for the next start to deliver; return their number."""
        locked, self._locked = list(self._locked), set()
        async with self._engine.pool.connection() as connection:
            return await store.unlock(connection, locked)

    async def _work(self, events: list[Event], group: TaskGroup) -> list[Event]:
        following: list[Event] = []

        async def prefetch() -> None:
            following.extend(await self._fetch())

        async with anyio.create_task_group() as inner:
            inner.start_soon(prefetch)
            for event in events:
                await self._capacity.acquire_on_behalf_of(event)
                group.start_soon(self._process, event)
        return following

    async def _fetch(self) -> list[Event]:
        triggers = list(self._engine.event_triggers)
        if not triggers or self._engine.stop.is_set():
            return []
        try:
            async with self._engine.pool.connection() as connection:
                cursor = connection.cursor(row_factory=dict_row)
                await cursor.execute(
                    statement("fetch_events"),
                    {"triggers": triggers, "batch": self._engine.settings.events_batch_size},
                )
                rows = await cursor.fetchall()
        except (Error, PoolTimeout) as error:
            log.error("events could not be fetched: %s", error)
            return []
        rows.sort(key=lambda row: row["sort_key"])
        events = [Event(**{key: row[column] for key, column in COLUMNS.items()}) for row in rows]
        self._locked.update(event.id for event in events)
        return events

    async def _process(self, event: Event) -> None:
        try:
            trigger = self._engine.event_triggers.get(event.trigger)
            if trigger is None:
                log.error("event trigger %r not found", event.trigger)
                await self._record(store.retry_later, event.id, 60.0)
            else:
                await self._deliver(event, trigger)
        except (Error, PoolTimeout) as error:
            log.error("event %s stays locked: its outcome could not be recorded: %s", event.id, error)
        finally:
            self._capacity.release_on_behalf_of(event)
        self._locked.discard(event.id)  # not reached after a cancel: `unlock` needs the id then

    async def _deliver(self, event: Event, trigger: dict[str, Any]) -> None:
        retry = trigger.get("retry_conf", {})
        body = event.body(int(retry.get("num_retries", 0)))
        try:
            refuse_transforms(trigger)
            url = resolve_webhook(trigger, self._engine.settings.environment)
            configured = resolve_headers(trigger.get("headers"), self._engine.settings.environment)
        except QErr as error:
            reply = Reply(None, error.message)
        else:
            seconds = min(MAX_TIMEOUT_SECONDS, float(retry.get("timeout_sec") or DEFAULT_TIMEOUT_SECONDS))
            outgoing = Outgoing(url, request_headers(configured), body)
            try:
                reply = await call(self._engine.http, outgoing, seconds, event.trace())
            except TimeoutError:
                reason = f'Event Trigger "{event.trigger}" timed out while processing.'
                body, reply = "null", Reply(500, json.dumps(reason))
        request = logged_request(body, trigger.get("headers"))
        outcome = _outcome(event, retry, reply)
        await self._record(
            store.finish, event.id, event.trigger, reply.status, request, reply.logged(), outcome
        )

    async def _record(self, operation: Any, *arguments: Any) -> None:
        async with self._engine.pool.connection() as connection:
            await operation(connection, *arguments)


def _outcome(event: Event, retry: dict[str, Any], reply: Reply) -> store.Outcome:
    """Return delivered, retry or failed. A usable Retry-After ignores the retry limit."""
    if reply.succeeded:
        return store.DELIVERED
    wait = reply.retry_after
    if wait is None and event.tries >= int(retry.get("num_retries", 0)):
        return store.FAILED
    return store.Outcome("retry", float(wait if wait is not None else retry.get("interval_sec", 10)))
