"""One-off scheduled events, and the events and invocations of both kinds.

Facts: documentation of the scheduled triggers API; the engine's `RQL/DDL/ScheduledTrigger`.
"""

import json
from typing import Any

from psycopg.rows import dict_row

from graphql_engine.changes import Context
from graphql_engine.cron.schedule import parse_time
from graphql_engine.errors import QErr, not_exists
from graphql_engine.metadata.access import Json, named, required
from graphql_engine.metadata.defaults import DEFAULT_CRON_RETRY
from graphql_engine.metadata_api.registry import command

TABLES = {
    "cron": ("hdb_cron_events", "hdb_cron_event_invocation_logs"),
    "one_off": ("hdb_scheduled_events", "hdb_scheduled_event_invocation_logs"),
}
# Times end in Z.
TIMES = ", ".join(
    f"(to_json(timezone('UTC', {name}))#>>'{{}}') || 'Z' AS {name}"
    for name in ("scheduled_time", "created_at", "next_retry_at")
)
COLUMNS = {
    "cron": f"id, trigger_name, status, tries, {TIMES}",
    "one_off": f"id, webhook_conf, retry_conf, payload, header_conf, status, tries, comment, {TIMES},"
    " NULL AS request_transform, NULL AS response_transform",
}
STATUSES = {"scheduled", "locked", "delivered", "error", "dead"}


@command("create_scheduled_event", changes=False)
async def create_scheduled_event(context: Context, args: Json) -> Json:
    """Schedule one call of a webhook."""
    webhook, at = required(args, "webhook"), parse_time(required(args, "schedule_at"))
    retry = {**DEFAULT_CRON_RETRY, **(args.get("retry_conf") or {})}
    async with context.engine.pool.connection() as connection:
        cursor = await connection.execute(
            "INSERT INTO hdb_catalog.hdb_scheduled_events"
            " (webhook_conf, scheduled_time, payload, retry_conf, header_conf, comment)"
            " VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
            [
                json.dumps(webhook),
                at,
                json.dumps(args.get("payload")),
                json.dumps(retry),
                json.dumps(args.get("headers") or []),
                args.get("comment"),
            ],
        )
        row = await cursor.fetchone()
    assert row is not None
    return {"message": "success", "event_id": row[0]}


@command("delete_scheduled_event", changes=False)
async def delete_scheduled_event(context: Context, args: Json) -> None:
    """Remove one event of either kind, if it is there."""
    events, _ = _tables(args)
    async with context.engine.pool.connection() as connection:
        await connection.execute(
            f"DELETE FROM hdb_catalog.{events} WHERE id = %s".encode(), [required(args, "event_id")]
        )


@command("get_scheduled_events", changes=False)
async def get_scheduled_events(context: Context, args: Json) -> Json:
    """Return events of one kind, filtered and paged; with `get_rows_count`, also their number."""
    events, _ = _tables(args)
    statuses = args.get("status") or []
    for index, status in enumerate(statuses):
        if status not in STATUSES:
            raise QErr("parse-failed", f"unexpected status: {status}", f"$.status[{index}]")
    where, parameters = "true", {"statuses": statuses, "name": args.get("trigger_name")}
    if args["type"] == "cron":
        name = required(args, "trigger_name")
        if named(context.metadata.get("cron_triggers", []), name) is None:
            raise not_exists(f"cron trigger with name: {name} does not exist")
        where += " AND trigger_name = %(name)s"
    if statuses:
        where += " AND status = ANY(%(statuses)s)"
    query = f"FROM hdb_catalog.{events} AS e WHERE {where}"
    rows = await _page(
        context, f"SELECT {COLUMNS[args['type']]} {query}", "e.scheduled_time", args, parameters
    )
    answer: Json = {"events": rows}
    if args.get("get_rows_count"):
        answer["count"] = await _count(context, query, parameters)
    return answer


@command("get_scheduled_event_invocations", "get_event_invocations", changes=False)
async def get_scheduled_event_invocations(context: Context, args: Json) -> Json:
    """Return invocations of one event, one cron trigger, or all one-off events."""
    events, logs = _tables(args)
    where, parameters = "true", {"name": args.get("trigger_name"), "event_id": args.get("event_id")}
    if args.get("event_id"):
        where = "l.event_id = %(event_id)s"
    elif args["type"] == "cron":
        required(args, "trigger_name")
        where = "e.trigger_name = %(name)s"
    query = f"FROM hdb_catalog.{logs} AS l JOIN hdb_catalog.{events} AS e ON e.id = l.event_id WHERE {where}"
    columns = "l.id, l.event_id, l.status, l.request, l.response, to_json(l.created_at) AS created_at"
    rows = await _page(context, f"SELECT {columns} {query}", "l.created_at DESC", args, parameters)
    answer: Json = {"invocations": rows}
    if args.get("get_rows_count"):
        answer["count"] = await _count(context, query, parameters)
    return answer


def _tables(args: Json) -> tuple[str, str]:
    kind = required(args, "type")
    if kind not in TABLES:
        raise QErr("parse-failed", f"expected one_off or cron for type, not {kind}", "$.type")
    return TABLES[kind]


async def _page(context: Context, query: str, order: str, args: Json, parameters: Json) -> list[Any]:
    text = f"{query} ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s"
    async with context.engine.pool.connection() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        paging = {"limit": args.get("limit"), "offset": args.get("offset", 0)}
        await cursor.execute(text.encode(), {**parameters, **paging})
        return await cursor.fetchall()


async def _count(context: Context, query: str, parameters: Json) -> int:
    async with context.engine.pool.connection() as connection:
        cursor = await connection.execute(f"SELECT count(*) {query}".encode(), parameters)
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
