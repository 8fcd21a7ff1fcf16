"""Cron triggers.

Facts: the engine's `RQL/DDL/ScheduledTrigger` and its tests of scheduled triggers.
"""

from typing import Any

from psycopg.rows import dict_row

from graphql_engine.changes import Context
from graphql_engine.cron.schedule import read_schedule
from graphql_engine.errors import QErr, not_exists
from graphql_engine.metadata.access import (
    DEFAULT_CRON_RETRY,
    Json,
    check_headers,
    mismatch,
    named,
    put_list,
    required,
    without,
)
from graphql_engine.metadata_api.registry import command

# By the key of an argument: its type in the engine.
NEEDED = {"name": "Text", "webhook": "String", "schedule": "CronSchedule"}
# Times end in Z.
TIMES = ", ".join(
    f"(to_json(timezone('UTC', {name}))#>>'{{}}') || 'Z' AS {name}"
    for name in ("scheduled_time", "created_at", "next_retry_at")
)
STATUSES = {"scheduled", "locked", "delivered", "error", "dead"}
KINDS = {"cron", "one_off"}


@command("create_cron_trigger")
async def create_cron_trigger(context: Context, args: Json) -> None:
    """Create a cron trigger, or replace the one of that name and its future events."""
    name = required(args, "name")
    entry = _entry(args)
    triggers = context.metadata.setdefault("cron_triggers", [])
    existing = named(triggers, name)
    if existing is None:
        if args.get("replace"):
            raise not_exists(f"cron trigger with name: {name} does not exist")
        triggers.append(entry)
    elif not args.get("replace"):
        raise QErr("already-exists", f"cron trigger with name: {name} already exists")
    else:
        triggers[triggers.index(existing)] = entry
        context.notes["regenerate"] = {name}
    context.subject = f"cron_trigger {name}"


def _entry(args: Json) -> Json:
    for key, kind in NEEDED.items():
        if required(args, key) is None:
            raise mismatch(kind, "String", None, f"$.{key}")
    if required(args, "include_in_metadata") is None:
        raise QErr("parse-failed", "expected Bool, but encountered Null", "$.include_in_metadata")
    if args["name"] == "":
        raise QErr("parse-failed", "empty string not allowed", "$.name")
    check_headers(args.get("headers"), "$.headers")
    retry = {**DEFAULT_CRON_RETRY, **(args.get("retry_conf") or {})}
    for key, value in retry.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            kind = "Int" if key == "num_retries" else "DiffTime"
            raise mismatch(kind, "Number", value, f"$.retry_conf.{key}")
        if value < 0:
            raise QErr("parse-failed", f"{key} cannot be a negative value", "$.retry_conf")
    entry: Json = {key: args[key] for key in ("name", "webhook", "schedule", "include_in_metadata")}
    entry["schedule"] = read_schedule(args["schedule"])
    if "payload" in args:
        entry["payload"] = args["payload"]
    entry["retry_conf"] = retry
    entry["headers"] = args.get("headers") or []
    for key in ("comment", "request_transform", "response_transform"):
        if args.get(key) is not None:
            entry[key] = args[key]
    return entry


@command("delete_cron_trigger", removes=True)
async def delete_cron_trigger(context: Context, args: Json) -> None:
    """Remove a cron trigger and its future events."""
    name = required(args, "name")
    triggers = context.metadata.get("cron_triggers", [])
    if named(triggers, name) is None:
        raise not_exists(f"cron trigger with name: {name} does not exist")
    put_list(context.metadata, "cron_triggers", without(triggers, name))


@command("get_cron_triggers", changes=False)
async def get_cron_triggers(context: Context, _: Any) -> Json:
    """Return all cron triggers with defaults, including those that exports leave out."""
    shown = []
    for trigger in context.metadata.get("cron_triggers", []):
        retry = {**DEFAULT_CRON_RETRY, **(trigger.get("retry_conf") or {})}
        shown.append({**trigger, "retry_conf": retry, "headers": trigger.get("headers") or []})
    return {"cron_triggers": shown}


@command("get_scheduled_events", changes=False)
async def get_scheduled_events(context: Context, args: Json) -> Json:
    """Return events of a cron trigger, filtered and paged. There are no one-off events."""
    kind, statuses = _kind(args), args.get("status") or []
    for index, status in enumerate(statuses):
        if status not in STATUSES:
            raise QErr("parse-failed", f"unexpected status: {status}", f"$.status[{index}]")
    if kind == "one_off":
        return _answer("events", [], 0, args)
    name = required(args, "trigger_name")
    if named(context.metadata.get("cron_triggers", []), name) is None:
        raise not_exists(f"cron trigger with name: {name} does not exist")
    where = "WHERE trigger_name = %(name)s AND (%(statuses)s::text[] = '{}' OR status = ANY(%(statuses)s))"
    return await _page(
        context,
        f"id, trigger_name, status, tries, {TIMES}",
        f"FROM hdb_catalog.hdb_cron_events AS e {where}",
        "e.scheduled_time",
        "events",
        {**args, "name": name, "statuses": statuses},
    )


@command("get_scheduled_event_invocations", "get_event_invocations", changes=False)
async def get_scheduled_event_invocations(context: Context, args: Json) -> Json:
    """Return invocations of one event or of one cron trigger."""
    if _kind(args) == "one_off":
        return _answer("invocations", [], 0, args)
    where = "l.event_id = %(event_id)s" if args.get("event_id") else "e.trigger_name = %(name)s"
    name = args.get("trigger_name") if args.get("event_id") else required(args, "trigger_name")
    return await _page(
        context,
        "l.id, l.event_id, l.status, l.request, l.response, to_json(l.created_at) AS created_at",
        "FROM hdb_catalog.hdb_cron_event_invocation_logs AS l"
        f" JOIN hdb_catalog.hdb_cron_events AS e ON e.id = l.event_id WHERE {where}",
        "l.created_at DESC",
        "invocations",
        {**args, "name": name},
    )


def _kind(args: Json) -> str:
    kind = required(args, "type")
    if kind not in KINDS:
        raise QErr("parse-failed", f"expected one_off or cron for type, not {kind}", "$.type")
    return str(kind)


def _answer(key: str, rows: list[Any], count: int, args: Json) -> Json:
    return {key: rows} | ({"count": count} if args.get("get_rows_count") else {})


async def _page(context: Context, columns: str, source: str, order: str, key: str, args: Json) -> Json:
    """Return the rows of one page under `key`; with `get_rows_count`, also the number of all rows."""
    page = f"SELECT {columns} {source} ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s"
    parameters = {name: args.get(name) for name in ("name", "event_id", "statuses", "limit")}
    async with context.engine.pool.connection() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(page.encode(), {**parameters, "offset": args.get("offset", 0)})
        rows = await cursor.fetchall()
        await cursor.execute(f"SELECT count(*)::int AS n {source}".encode(), parameters)
        counted = await cursor.fetchall()
    return _answer(key, rows, counted[0]["n"], args)
