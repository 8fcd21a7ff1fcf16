"""Event triggers and their logs; the trial of a trigger's transform.

Facts: the engine's `RQL/DDL/EventTrigger`; documentation of the event trigger API; recorded answers of a
genuine engine of v2.48.10. The console tries a transform at each keystroke in the form of a trigger or an
action, with one that changes nothing; without values for the variables of the URL the answer names one.
"""

import json
import re
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from graphql_engine.changes import Context
from graphql_engine.errors import QErr, not_exists, unsupported
from graphql_engine.events import store
from graphql_engine.graphql.sql.database import announce
from graphql_engine.metadata.access import (
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
    qualified,
    required,
    spelled,
    without,
)
from graphql_engine.metadata_api.registry import command
from graphql_engine.webhooks.call import TEMPLATE

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
        if qualified(existing["table"]) != qualified(table_name):
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
    real = context.engine.catalog.tables.get(qualified(args["table"]))
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
    """Remove an event trigger and archive its pending events."""
    name = required(args, "name")
    table, _ = find_event_trigger(context.metadata, name, args.get("source"))
    put_list(table, "event_triggers", without(table["event_triggers"], name))


@command("redeliver_event", changes=False, postgres=True)
async def redeliver_event(context: Context, args: Json) -> None:
    find_source(context.metadata, args.get("source"))
    async with context.engine.pool.connection() as connection:
        await store.redeliver(connection, str(required(args, "event_id")))


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
            [*qualified(table["table"]), name, json.dumps({"old": None, "new": payload})],
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
    """Return invocations of a trigger, newest first."""
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
