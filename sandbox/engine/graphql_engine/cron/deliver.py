"""The loops of cron events: one generates cron events, one delivers what is due.

Facts: the engine's `Eventing/ScheduledTrigger`. One loop delivers all due events at once, and waits for the
slowest webhook before it sleeps and looks again. So one slow cron delays every cron.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from psycopg import Error
from psycopg_pool import PoolTimeout

from graphql_engine.cron import store
from graphql_engine.cron.schedule import shown_time
from graphql_engine.cron.store import Due
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.metadata.access import DEFAULT_CRON_RETRY
from graphql_engine.rawjson import canonical
from graphql_engine.traces import of_event
from graphql_engine.webhooks.call import (
    Outgoing,
    Reply,
    call,
    fill_template,
    logged_request,
    refuse_transforms,
    request_headers,
    resolve_headers,
)

log = logging.getLogger("graphql_engine.cron")
GENERATE_EVERY_SECONDS = 60.0


class Scheduler:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locked: set[str] = set()

    async def run(self) -> None:
        """Run until the engine stops, then finish the deliveries in flight."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._repeat, self._generate, GENERATE_EVERY_SECONDS)
            group.start_soon(self._repeat, self._look, self._engine.settings.scheduled_fetch_seconds)

    async def unlock(self) -> None:
        """Unlock the events that a cancelled shutdown left locked."""
        async with self._engine.pool.connection() as connection:
            await store.unlock(connection, list(self._locked))

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause_seconds: float) -> None:
        """Work, then sleep until the pause is over or the clock is moved, until the engine stops."""
        while not self._engine.stop.is_set():
            nudges = self._engine.clock.nudges
            try:
                await work()
            except (Error, PoolTimeout) as error:
                log.error("scheduled events could not be read: %s", error)
            await self._engine.clock.sleep(pause_seconds, nudges)

    async def _look(self) -> None:
        """Deliver what is due, all at once, and wait for the slowest."""
        async with self._engine.pool.connection() as connection:
            due = await store.fetch(connection, self._engine.cron_triggers, self._engine.clock.now())
        self._locked.update(each.id for each in due)
        async with anyio.create_task_group() as group:
            for each in due:
                group.start_soon(self._process, each)

    async def _generate(self) -> None:
        async with self._engine.pool.connection() as connection:
            for trigger in self._engine.cron_triggers.values():
                await store.generate(
                    connection, trigger["name"], trigger["schedule"], self._engine.clock.now()
                )

    async def _process(self, due: Due) -> None:
        try:
            await self._deliver(due)
        except (Error, PoolTimeout) as error:
            log.error("scheduled event %s stays locked: %s", due.id, error)
        self._locked.discard(due.id)

    async def _deliver(self, due: Due) -> None:
        retry = {**DEFAULT_CRON_RETRY, **(due.trigger.get("retry_conf") or {})}
        age = (self._engine.clock.now() - due.scheduled_time).total_seconds()
        if age > retry["tolerance_seconds"]:
            async with self._engine.pool.connection() as connection:
                await store.set_status(connection, due, "dead")
            return
        body = webhook_body(due)
        is_late = False
        environment = self._engine.settings.environment
        try:
            refuse_transforms(due.trigger)
            url = fill_template(due.trigger["webhook"], environment)
            headers = request_headers(resolve_headers(due.trigger.get("headers"), environment))
            outgoing = Outgoing(url, headers, body)
        except QErr as error:
            reply = Reply(None, error.message)
        else:
            seconds = float(retry["timeout_seconds"])
            try:
                reply = await call(self._engine.http, outgoing, seconds, of_event(None))
            except TimeoutError:
                reason = f'Cron Scheduled event "{due.id}" timed out while processing.'
                is_late, body, reply = True, json.dumps({"error": reason}), Reply(500, json.dumps(reason))
        request = logged_request(body, due.trigger.get("headers"), "1", late=is_late)
        await self._record(due, retry, request, reply)

    async def _record(self, due: Due, retry: dict[str, Any], request: str, reply: Reply) -> None:
        response = {**reply.logged(), "version": "1"}
        async with self._engine.pool.connection() as connection, connection.transaction():
            await store.record(connection, due, reply.status, request, response)
            if reply.succeeded:
                await store.set_status(connection, due, "delivered")
            elif reply.retry_after is None and due.tries >= retry["num_retries"]:
                await store.set_status(connection, due, "error")
            else:
                wait = reply.retry_after or float(retry["retry_interval_seconds"])
                await store.retry_at(connection, due, self._engine.clock.now(), wait)


def webhook_body(due: Due) -> str:
    """Return the JSON body of a cron event."""
    body: dict[str, Any] = {
        "id": due.id,
        "scheduled_time": shown_time(due.scheduled_time),
        "name": due.trigger["name"],
        "payload": due.trigger.get("payload"),
    }
    if due.trigger.get("comment") is not None:
        body["comment"] = due.trigger["comment"]
    return canonical(body)
