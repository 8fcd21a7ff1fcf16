"""Event triggers and cron triggers with their logs; the trial of a trigger's transform.

Facts: the engine's `RQL/DDL/EventTrigger` and `RQL/DDL/ScheduledTrigger` with their tests; documentation of
the event trigger API; recorded answers of a genuine engine of v2.48.10. The console tries a transform at each
keystroke in the form of a trigger or an action, with one that changes nothing; without values for the
variables of the URL the answer names one.
"""

import json
import re
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from graphql_engine import events
from graphql_engine.catalog import key_of, spelled
from graphql_engine.changes import Context
from graphql_engine.cron import read_schedule
from graphql_engine.errors import QErr, not_exists, unsupported
from graphql_engine.graphql.sql import announce
from graphql_engine.metadata.access import (
    DEFAULT_CRON_RETRY,
    DEFAULT_SOURCE,
    Json,
    check_headers,
    dict_of,
    find_event_trigger,
    find_source,
    find_table,
    mismatch,
    named,
    put_list,
    required,
    without,
)
from graphql_engine.metadata_api.dispatch import command
from graphql_engine.webhooks import TEMPLATE

# Names of event triggers that the engine accepts.
NAME = re.compile(r"[A-Za-z]+[A-Za-z0-9_-]*\Z")
# Names of SQL triggers and functions are `notify_hasura_NAME_OPERATION`, at most 63 bytes.
MAX_NAME_CHARACTERS = 42
DEFAULT_RETRY = {"interval_sec": 10, "num_retries": 0, "timeout_sec": 60}
EVENT_COLUMNS = (
    "id, schema_name, table_name, trigger_name, payload, delivered, error, tries, to_json(created_at)"
    " AS created_at, to_json(locked) AS locked, to_json(next_retry_at) AS next_retry_at, archived"
)
INVOCATION_COLUMNS = (
    "id, trigger_name, event_id, status AS http_status, request, response, to_json(created_at) AS created_at"
)
CONTEXT = (
    "https://hasura.io/docs/latest/graphql/core/actions/rest-connectors/#action-transforms-sample-context"
)


@command("create_event_trigger", postgres=True)
async def create_event_trigger(context: Context, args: Json) -> None:
    """Create an event trigger, or replace the one of that name on the same table."""
    name, table_name, source = required(args, "name"), required(args, "table"), args.get("source")
    _check_arguments(args)
    table = find_table(context.metadata, table_name, source)
    _check_columns(context, args)
    existing = _owner(context.metadata, name, source)
    if args.get("replace"):
        if existing is None:
            raise not_exists(f'event trigger "{name}" does not exist')
        if key_of(existing["table"]) != key_of(table_name):
            raise QErr("not-supported", "cannot replace table or schema for trigger")
        existing["event_triggers"] = without(existing["event_triggers"], name)
    elif existing is not None:
        raise QErr("already-exists", f'Event trigger with name "{name}" already exists')
    table.setdefault("event_triggers", []).append(_entry(args))
    context.subject = (
        f"event_trigger {name} in table {spelled(table_name)} in source {source or DEFAULT_SOURCE}"
    )
    context.refresh = True


def _check_arguments(args: Json) -> None:
    name = args["name"]
    if name == "":
        raise QErr("parse-failed", "empty string not allowed", "$.name")
    if not isinstance(name, str) or not NAME.match(name):
        raise QErr("parse-failed", "only alphanumeric and underscore and hyphens allowed for name")
    if len(name) > MAX_NAME_CHARACTERS:
        raise QErr("parse-failed", "event trigger name can be at most 42 characters")
    specs = [args.get(operation) for operation in ("insert", "update", "delete")]
    if not any(specs) and not args.get("enable_manual"):
        raise QErr(
            "parse-failed", "atleast one amongst insert/update/delete/enable_manual spec must be provided"
        )
    webhooks = [key for key in ("webhook", "webhook_from_env") if args.get(key) is not None]
    if not webhooks:
        raise QErr("parse-failed", "must provide webhook or webhook_from_env")
    if len(webhooks) > 1:
        raise QErr("parse-failed", "only one of webhook or webhook_from_env should be given")
    if any(spec and (spec.get("columns") == [] or spec.get("payload") == []) for spec in specs):
        raise QErr("parse-failed", "found empty column specification")
    for operation in ("insert", "update", "delete"):
        columns = (args.get(operation) or {}).get("columns", "*")
        if columns != "*" and not isinstance(columns, list):
            raise QErr("parse-failed", "only * or [] allowed", f"$.{operation}.columns")
    check_headers(args.get("headers"), "$.headers")
    for key, value in (args.get("retry_conf") or {}).items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise mismatch("Int", "Number", value, f"$.retry_conf.{key}")
    if args.get("cleanup_config"):
        raise unsupported("cleanup_config")


def _check_columns(context: Context, args: Json) -> None:
    real = context.engine.catalog.tables.get(key_of(args["table"]))
    for operation in ("insert", "update", "delete"):
        columns = (args.get(operation) or {}).get("columns", "*")
        for column in [] if columns == "*" else columns:
            if real is not None and column not in real.columns:
                raise not_exists(f'column "{column}" does not exist')


def _entry(args: Json) -> Json:
    definition: Json = {"enable_manual": bool(args.get("enable_manual"))}
    for operation in ("insert", "update", "delete"):
        if args.get(operation) is not None:
            definition[operation] = args[operation]
    retry = {**DEFAULT_RETRY, **(args.get("retry_conf") or {})}
    entry: Json = {"name": args["name"], "definition": definition, "retry_conf": retry}
    kept = ("webhook", "webhook_from_env", "headers", "comment", "request_transform", "response_transform")
    for key in kept:
        if args.get(key):
            entry[key] = args[key]
    return entry


def _owner(metadata: Json, name: str, source: str | None) -> Json | None:
    for table in find_source(metadata, source)["tables"]:
        if named(table.get("event_triggers", []), name):
            return dict_of(table)
    return None


@command("delete_event_trigger", removes=True, postgres=True)
async def delete_event_trigger(context: Context, args: Json) -> None:
    name = required(args, "name")
    table, _ = find_event_trigger(context.metadata, name, args.get("source"))
    put_list(table, "event_triggers", without(table["event_triggers"], name))


@command("redeliver_event", changes=False, postgres=True)
async def redeliver_event(context: Context, args: Json) -> None:
    find_source(context.metadata, args.get("source"))
    async with context.engine.pool.connection() as connection:
        await events.redeliver(connection, str(required(args, "event_id")))


@command("invoke_event_trigger", changes=False, postgres=True)
async def invoke_event_trigger(context: Context, args: Json) -> Json:
    """Create a MANUAL event; its data has the payload as the new row."""
    name = required(args, "name")
    table, trigger = find_event_trigger(context.metadata, name, args.get("source"))
    if not trigger["definition"].get("enable_manual"):
        raise QErr("not-supported", "manual mode is not enabled for event trigger")
    async with context.engine.pool.connection() as connection:
        event_id = await _insert_manual(connection, context, table, name, required(args, "payload"))
    return {"event_id": event_id}


async def _insert_manual(
    connection: AsyncConnection, context: Context, table: Json, name: str, payload: Any
) -> str:
    async with connection.transaction():
        await announce(connection, context.session)
        cursor = await connection.execute(
            "SELECT hdb_catalog.insert_event_log(%s, %s, %s, 'MANUAL', %s::json)",
            [*key_of(table["table"]), name, json.dumps({"old": None, "new": payload})],
        )
        row = await cursor.fetchone()
        assert row is not None
        return str(row[0])


@command("get_event_logs", changes=False, postgres=True)
async def get_event_logs(context: Context, args: Json) -> Any:
    """Return events of a trigger, newest first; `status` is pending or processed."""
    name = required(args, "name")
    find_event_trigger(context.metadata, name, args.get("source"))
    status = args.get("status")
    if status not in (None, "pending", "processed"):
        raise QErr("parse-failed", "Only 'pending', 'processed' allowed for status", "$.status")
    where = {
        None: "true",
        "pending": "NOT delivered AND NOT error AND NOT archived",
        "processed": "(delivered OR error) AND NOT archived",
    }[status]
    query = (
        f"SELECT {EVENT_COLUMNS} FROM hdb_catalog.event_log AS l WHERE trigger_name = %(name)s AND {where}"
    )
    return await _page(context, query, args, {"name": name})


@command("get_event_invocation_logs", changes=False, postgres=True)
async def get_event_invocation_logs(context: Context, args: Json) -> Any:
    name = required(args, "name")
    find_event_trigger(context.metadata, name, args.get("source"))
    logs = "hdb_catalog.event_invocation_logs AS l"
    query = f"SELECT {INVOCATION_COLUMNS} FROM {logs} WHERE trigger_name = %(name)s"
    return await _page(context, query, args, {"name": name})


@command("get_event_by_id", changes=False, postgres=True)
async def get_event_by_id(context: Context, args: Json) -> Json:
    event_id = required(args, "event_id")
    find_source(context.metadata, args.get("source"))
    query = f"SELECT {EVENT_COLUMNS} FROM hdb_catalog.event_log AS l WHERE id = %(id)s"
    events = await _page(context, query, {}, {"id": event_id})
    if not events:
        raise not_exists(f"event id {event_id} does not exist")
    query = f"SELECT {INVOCATION_COLUMNS} FROM hdb_catalog.event_invocation_logs AS l WHERE event_id = %(id)s"
    paging = {"limit": args.get("invocation_log_limit", 100), "offset": args.get("invocation_log_offset", 0)}
    return {"event": events[0], "invocations": await _page(context, query, paging, {"id": event_id})}


async def _page(context: Context, query: str, args: Json, parameters: Json) -> list[Json]:
    limit, offset = args.get("limit", 100), args.get("offset", 0)
    text = f"{query} ORDER BY l.created_at DESC LIMIT %(limit)s OFFSET %(offset)s"
    async with context.engine.pool.connection() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(text.encode(), {**parameters, "limit": limit, "offset": offset})
        return await cursor.fetchall()


@command("test_webhook_transform", changes=False)
async def try_transform(_: Context, args: Json) -> Json:
    """Name the first variable that the request has no value for; refuse to execute the transform."""
    webhook, given = required(args, "webhook_url"), args.get("env") or {}
    names = [str(required(webhook, "from_env"))] if isinstance(webhook, dict) else TEMPLATE.findall(webhook)
    for name in names:
        if name not in given:
            raise _missing(name)
    required(args, "body")
    required(args, "request_transform")
    raise unsupported("request_transform")


def _missing(name: Any) -> QErr:
    return QErr(
        "not-found",
        f"Missing Env Var: {name}. For security reasons when testing request options real environment"
        " variable values are not available. Please enter a mock value for"
        f" {name} in the Sample Env Variables list. See {CONTEXT}",
    )


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
    entry = _cron_entry(args)
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


def _cron_entry(args: Json) -> Json:
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
    return await _cron_page(
        context,
        f"id, trigger_name, status, tries, {TIMES}",
        f"FROM hdb_catalog.hdb_cron_events AS e {where}",
        "e.scheduled_time",
        "events",
        {**args, "name": name, "statuses": statuses},
    )


@command("get_scheduled_event_invocations", "get_event_invocations", changes=False)
async def get_scheduled_event_invocations(context: Context, args: Json) -> Json:
    if _kind(args) == "one_off":
        return _answer("invocations", [], 0, args)
    where = "l.event_id = %(event_id)s" if args.get("event_id") else "e.trigger_name = %(name)s"
    name = args.get("trigger_name") if args.get("event_id") else required(args, "trigger_name")
    return await _cron_page(
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


async def _cron_page(context: Context, columns: str, source: str, order: str, key: str, args: Json) -> Json:
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
