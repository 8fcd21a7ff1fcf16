"""Cron triggers.

Facts: the engine's `RQL/DDL/ScheduledTrigger` and its tests of scheduled triggers.
"""

from typing import Any

from graphql_engine.changes import Context
from graphql_engine.cron.schedule import read_schedule
from graphql_engine.errors import QErr, not_exists
from graphql_engine.metadata.access import (
    Json,
    check_headers,
    mismatch,
    named,
    put_list,
    required,
    without,
)
from graphql_engine.metadata.defaults import DEFAULT_CRON_RETRY
from graphql_engine.metadata_api.registry import command
from graphql_engine.metadata_api.transform_check import check_transforms

# By the key of an argument: its type in the engine.
NEEDED = {"name": "Text", "webhook": "String", "schedule": "CronSchedule"}


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
    check_transforms(args)
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
