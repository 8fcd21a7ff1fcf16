"""Event triggers: their SQL triggers, the event log, and the loop that delivers it.

The loop fetches batches, calls webhooks concurrently, and records the results. Facts: the engine's
`Eventing/EventTrigger` (prefetch, pool size, retry rules), `Backends/Postgres/DDL/EventTrigger` and its
trigger template.
"""

import json
import logging
from dataclasses import dataclass
from typing import Any, Literal

import anyio
from anyio.abc import TaskGroup
from psycopg import AsyncConnection, Error, sql
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, not_exists
from graphql_engine.rawjson import canonical, loads
from graphql_engine.sql import statement
from graphql_engine.webhooks import Reply, Trace, deliver, logged_request, of_event

OPERATIONS = ("INSERT", "UPDATE", "DELETE")


async def install_trigger(
    connection: AsyncConnection, table: tuple[str, str], trigger: dict[str, Any]
) -> None:
    """Replace the functions and SQL triggers of one event trigger; `table` is (schema, name).

    Raises QErr `not-exists` for a column that the table lacks.
    """
    await drop_trigger(connection, trigger["name"])
    columns = await _columns(connection, table)
    for operation in OPERATIONS:
        spec = trigger["definition"].get(operation.lower())
        if spec is not None:
            await _create(connection, table, trigger["name"], operation, spec, columns)


async def create_event_log(connection: AsyncConnection) -> None:
    """Create what the source needs for event triggers, with its first one; what is there stays."""
    await connection.execute(statement("init_source"))


async def drop_event_log(connection: AsyncConnection) -> None:
    """Drop it with its events, as the engine does with the source."""
    await connection.execute(statement("drop_source"))


async def drop_trigger(connection: AsyncConnection, name: str) -> None:
    """Drop the SQL triggers and functions of an event trigger; its events stay."""
    for operation in OPERATIONS:
        await connection.execute(
            sql.SQL("DROP FUNCTION IF EXISTS {} CASCADE").format(_function(name, operation))
        )


async def archive_events(connection: AsyncConnection, name: str) -> None:
    """Archive the events of a dropped trigger: a new trigger of that name does not deliver them."""
    await connection.execute(
        "UPDATE hdb_catalog.event_log SET archived = true WHERE trigger_name = %s", [name]
    )


async def installed_triggers(connection: AsyncConnection) -> set[str]:
    """Return the names of the event triggers whose functions exist in the database."""
    cursor = await connection.execute(
        "SELECT DISTINCT regexp_replace(p.proname, '^notify_hasura_(.*)_(INSERT|UPDATE|DELETE)$', '\\1')"
        " FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'hdb_catalog' AND p.proname ~ '^notify_hasura_.*_(INSERT|UPDATE|DELETE)$'"
    )
    return {str(row[0]) for row in await cursor.fetchall()}


def _function(trigger: str, operation: str) -> sql.Composed:
    name = sql.Identifier("hdb_catalog", f"notify_hasura_{trigger}_{operation}")
    return sql.SQL("{}()").format(name)


async def _columns(connection: AsyncConnection, table: tuple[str, str]) -> list[str]:
    cursor = await connection.execute(
        "SELECT a.attname FROM pg_attribute AS a"
        " WHERE a.attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))"
        " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        list(table),
    )
    found = [str(name) for (name,) in await cursor.fetchall()]
    if not found:
        raise not_exists(f'table "{table[1]}" does not exist')
    return found


async def _create(
    connection: AsyncConnection,
    table: tuple[str, str],
    name: str,
    operation: str,
    spec: dict[str, Any],
    columns: list[str],
) -> None:
    listened = _chosen(spec.get("columns", "*"), columns)
    delivered = _chosen(spec.get("payload") or "*", columns)
    null = sql.SQL("NULL::json")
    old = null if operation == "INSERT" else _row_to_json("OLD", delivered)
    new = null if operation == "DELETE" else _row_to_json("NEW", delivered)
    body = sql.SQL(
        "BEGIN RETURN NULL; END" if operation == "UPDATE" and not listened else _template(operation)
    ).format(
        old_row=_row("OLD", listened),
        new_row=_row("NEW", listened),
        old=old,
        new=new,
        trigger=sql.Literal(name),
    )
    await connection.execute(
        sql.SQL("CREATE OR REPLACE FUNCTION {} RETURNS trigger LANGUAGE plpgsql AS {}").format(
            _function(name, operation), sql.Literal(body.as_string(connection))
        )
    )
    await connection.execute(
        sql.SQL("CREATE TRIGGER {} AFTER {} ON {} FOR EACH ROW EXECUTE FUNCTION {}").format(
            sql.Identifier(f"notify_hasura_{name}_{operation}"),
            sql.SQL(operation),
            sql.Identifier(*table),
            _function(name, operation),
        )
    )


def _template(operation: str) -> str:
    insert = (
        "PERFORM hdb_catalog.insert_event_log(TG_TABLE_SCHEMA::text, TG_TABLE_NAME::text, {trigger}, TG_OP,"
        " json_build_object('old', {old}, 'new', {new}));"
    )
    if operation != "UPDATE":
        return f"BEGIN {insert} RETURN NULL; END"
    return (
        "DECLARE _old record; _new record; _differs boolean;"
        " BEGIN _old := {old_row}; _new := {new_row};"
        " BEGIN _differs := _old <> _new;"
        " EXCEPTION WHEN undefined_function THEN _differs := _old *<> _new; END;"
        f" IF _differs THEN {insert} END IF; RETURN NULL; END"
    )


def _chosen(spec: str | list[str], columns: list[str]) -> list[str]:
    if spec == "*":
        return list(columns)
    for name in spec:
        if name not in columns:
            raise QErr("not-exists", f'column "{name}" does not exist')
    return list(spec)


def _row(variable: str, names: list[str]) -> sql.Composed:
    return sql.SQL("ROW({})").format(_fields(variable, names))


def _row_to_json(variable: str, names: list[str]) -> sql.Composed:
    selected = _fields(variable, names)
    return sql.SQL("row_to_json((SELECT e FROM (SELECT {}) AS e))").format(selected)


def _fields(variable: str, names: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL(variable + ".{}").format(sql.Identifier(name)) for name in names)


LOGGED = """
WITH logged AS (
  INSERT INTO hdb_catalog.event_invocation_logs (event_id, trigger_name, status, request, response)
  VALUES (%(id)s, %(trigger)s, %(status)s, %(request)s, %(response)s)
)
UPDATE hdb_catalog.event_log SET locked = NULL, tries = tries + 1, """
STATES = {
    "delivered": "delivered = true, next_retry_at = NULL",
    "error": "error = true, next_retry_at = NULL",
    "retry": "next_retry_at = now() + make_interval(secs => %(delay)s)",
}
FINISH = {kind: f"{LOGGED}{state} WHERE id = %(id)s".encode() for kind, state in STATES.items()}


@dataclass(frozen=True)
class Outcome:
    """The result of a delivery; `delay` is in seconds and used for a retry only."""

    kind: Literal["delivered", "retry", "error"]
    delay: float = 0.0


DELIVERED = Outcome("delivered")
FAILED = Outcome("error")


async def finish(
    connection: AsyncConnection,
    event_id: str,
    trigger: str,
    status: int | None,
    request: str,
    response: dict[str, Any],
    outcome: Outcome,
) -> None:
    """Log the invocation and set the state of the event, in one statement."""
    parameters: dict[str, Any] = {
        "id": event_id,
        "trigger": trigger,
        "status": status,
        "request": request,
        "response": json.dumps(response).replace("\\u0000", ""),
    }
    if outcome.kind == "retry":
        parameters["delay"] = outcome.delay
    await connection.execute(FINISH[outcome.kind], parameters)


async def retry_later(connection: AsyncConnection, event_id: str, delay: float) -> None:
    """Unlock an event and try it again after `delay` seconds, without counting a try."""
    await connection.execute(
        "UPDATE hdb_catalog.event_log SET next_retry_at = now() + make_interval(secs => %s), locked = NULL"
        " WHERE id = %s",
        [delay, event_id],
    )


async def unlock(connection: AsyncConnection, event_ids: list[str]) -> int:
    """Unlock those of the events that are still locked; return their number."""
    cursor = await connection.execute(
        "UPDATE hdb_catalog.event_log SET locked = NULL WHERE id = ANY(%s) AND locked IS NOT NULL",
        [event_ids],
    )
    return cursor.rowcount


async def redeliver(connection: AsyncConnection, event_id: str) -> None:
    """Make an event pending again; its `next_retry_at` stays.

    Raises QErr `not-exists` or `busy`.
    """
    async with connection.transaction():
        cursor = await connection.execute(
            "SELECT locked IS NOT NULL AND locked >= now() - interval '30 minute'"
            " FROM hdb_catalog.event_log WHERE id = %s",
            [event_id],
        )
        row = await cursor.fetchone()
        if row is None:
            raise QErr("not-exists", "event not found")
        if row[0]:
            raise QErr("busy", "event is already being processed")
        await connection.execute(
            "UPDATE hdb_catalog.event_log SET delivered = false, error = false, tries = 0 WHERE id = %s",
            [event_id],
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
            return await unlock(connection, locked)

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
                await self._record(retry_later, event.id, 60.0)
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
        seconds = min(MAX_TIMEOUT_SECONDS, float(retry.get("timeout_sec") or DEFAULT_TIMEOUT_SECONDS))
        environment = self._engine.settings.environment
        trace = event.trace() if self._engine.is_traced else None
        try:
            reply = await deliver(self._engine.http, trigger, environment, body, seconds, trace)
        except TimeoutError:
            reason = f'Event Trigger "{event.trigger}" timed out while processing.'
            body, reply = "null", Reply(500, json.dumps(reason))
        request = logged_request(body, trigger.get("headers"))
        outcome = _outcome(event, retry, reply)
        await self._record(finish, event.id, event.trigger, reply.status, request, reply.logged(), outcome)

    async def _record(self, operation: Any, *arguments: Any) -> None:
        async with self._engine.pool.connection() as connection:
            await operation(connection, *arguments)


def _outcome(event: Event, retry: dict[str, Any], reply: Reply) -> Outcome:
    """Return delivered, retry or failed. A usable Retry-After ignores the retry limit."""
    if reply.succeeded:
        return DELIVERED
    wait = reply.retry_after
    if wait is None and event.tries >= int(retry.get("num_retries", 0)):
        return FAILED
    return Outcome("retry", float(wait if wait is not None else retry.get("interval_sec", 10)))
