"""Apply a change of the metadata: check it first, then update event triggers and cron events.

Facts: the engine's `RQL/Types/SchemaCache/Build` (the error of each inconsistency).
"""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import WrongObjectType

from graphql_engine import cron, events
from graphql_engine.auth import Session
from graphql_engine.catalog import key_of, load_catalog, spelled
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, postgres_error, unexpected, unsupported
from graphql_engine.metadata.access import (
    DEFAULT_CRON_RETRY,
    DEFAULT_SOURCE,
    Json,
    inconsistent,
    source_url,
    table_object,
)
from graphql_engine.metadata.consistency import find_inconsistencies, root_field_clash

log = logging.getLogger("graphql_engine.metadata")


@dataclass
class Context:
    """The working state of a metadata command.

    metadata: a copy that the engine adopts if the command succeeds; refresh: read the catalog again;
    subject: the object of the command: its inconsistency is reported as `invalid-configuration`;
    before_storing: the last check, after all others; raises QErr.
    """

    engine: Engine
    session: Session
    metadata: Json
    subject: str | None = None
    refresh: bool = False
    allow_inconsistent: bool = False
    notes: Json = field(default_factory=dict)
    before_storing: Callable[[], None] = lambda: None


async def change(engine: Engine, context: Context, *, removes: bool) -> None:
    """Adopt the metadata of a command, and connect to their source if it is another one.

    Raises QErr `invalid-configuration` if the command's own object is inconsistent, `unexpected` if another
    object becomes inconsistent; then nothing changes.
    """
    former = engine.database_url
    try:
        if await _connect(engine, context.metadata):
            context.refresh = True
        await _change(engine, context, removes=removes)
    except Exception:
        if engine.database_url != former:
            await engine.connect(former)
            await restore(engine, engine.metadata, engine.resource_version)
        raise


async def _connect(engine: Engine, metadata: Json) -> bool:
    """Connect to the source of these metadata if the engine has another one; return whether it had."""
    urls = {source_url(source, engine.settings.environment) for source in metadata["sources"]}
    if len(urls - {None}) > 1:
        raise unsupported("metadata with sources in two databases")
    others = urls - {None, engine.database_url}
    for url in others:
        await engine.connect(str(url))
    return bool(others)


async def _change(engine: Engine, context: Context, *, removes: bool) -> None:
    async with engine.pool.connection() as connection:
        if context.refresh or engine.catalog_stale:
            engine.catalog = await load_catalog(connection)
            engine.catalog_stale = False
        found = find_inconsistencies(context.metadata, engine.catalog, engine.settings.environment)
        if context.notes.get("whole"):
            await _forget_future_events(engine, connection, context.metadata)
        if not context.allow_inconsistent:
            _refuse_new(engine, context, found, removes=removes)
        if clash := root_field_clash(context.metadata, engine.catalog):
            raise unexpected(clash)
        context.before_storing()
        async with connection.transaction():
            regenerate = context.notes.get("regenerate", set())
            await adopt(
                engine, connection, context.metadata, found, regenerate,
                reinstall=context.notes.get("reinstall", False), clears=context.notes.get("clears", False),
                refill=context.notes.get("refill", False),
            )  # fmt: skip
    if not context.notes.get("keep_version"):
        engine.resource_version += 1


async def _forget_future_events(engine: Engine, connection: AsyncConnection, metadata: Json) -> None:
    """Delete the future events of changed and removed crons, before anything is checked.

    A refused replace_metadata has lost them: the generator or a reload brings them back.
    """
    after = {trigger["name"]: complete_cron(trigger) for trigger in metadata.get("cron_triggers", [])}
    gone = [name for name, trigger in engine.cron_triggers.items() if trigger != after.get(name)]
    if gone:
        await cron.delete_future(connection, gone, engine.clock.now())


async def rebuild(engine: Engine) -> None:
    """Derive everything again from the metadata and the structure of the database."""
    found = await find_again(engine, engine.metadata)
    async with engine.pool.connection() as connection, connection.transaction():
        await adopt(engine, connection, engine.metadata, found, set())


async def find_again(engine: Engine, metadata: Json) -> list[Json]:
    """Read the catalog again and return what does not fit it."""
    async with engine.pool.connection() as connection:
        engine.catalog = await load_catalog(connection)
    engine.catalog_stale = False
    return find_inconsistencies(metadata, engine.catalog, engine.settings.environment)


async def restore(engine: Engine, metadata: Json, resource_version: int) -> None:
    await _connect(engine, metadata)
    engine.metadata = metadata
    await rebuild(engine)
    engine.resource_version = resource_version


def _refuse_new(engine: Engine, context: Context, found: list[Json], *, removes: bool) -> None:
    if context.notes.get("whole"):
        if found:
            raise QErr("unexpected", "cannot continue due to inconsistent metadata", internal=found)
        return
    known = {each["name"] for each in engine.inconsistent}
    new = [each for each in found if each["name"] not in known]
    if not new:
        return
    if removes:
        raise newly_found(new)
    own = [each for each in new if context.subject in _names(each)]
    if own:
        reasons = ", ".join(each["reason"] for each in own)
        raise QErr("invalid-configuration", reasons, internal=shown(own))
    raise QErr("unexpected", "cannot continue due to new inconsistent metadata", internal=shown(new))


def _names(found: Json) -> list[str]:
    conflicts = [f"rest_endpoint {each['name']}" for each in found.get("conflicts", [])]
    return [found["name"], *conflicts]


def shown(found: list[Json]) -> list[Json]:
    """Return inconsistent objects as clients see them: conflicts have no name."""
    return [{k: v for k, v in each.items() if k != "name" or "conflicts" not in each} for each in found]


def newly_found(new: list[Json]) -> QErr:
    """Return the error for a change that makes other objects inconsistent."""
    message = "cannot continue due to newly found inconsistent metadata"
    return QErr("unexpected", message, status=500, internal=shown(new))


async def adopt(
    engine: Engine,
    connection: AsyncConnection,
    metadata: Json,
    found: list[Json],
    regenerate: set[str],
    *,
    reinstall: bool = False,
    clears: bool = False,
    refill: bool = False,
) -> None:
    """Make this metadata the engine's, and update its event triggers and cron events.

    refill: cron triggers with too few future events get more at once, as the generator does each minute;
    clears: the sources lose what the engine keeps in them, the event log with its events;
    regenerate: cron triggers whose future events are replaced even if their definition is unchanged;
    reinstall: create every SQL trigger again (after DDL, or because a reload asks for it).
    """
    broken = {each["name"] for each in found}
    triggers = await install_event_triggers(engine, connection, metadata, broken, reinstall=reinstall)
    if clears or not metadata["sources"]:
        await events.drop_event_log(connection)
    if metadata.get("api_limits"):
        log.warning("api_limits are stored and not applied by this stand-in")
    engine.cron_triggers = await _cron_triggers(engine, connection, metadata, regenerate, refill=refill)
    engine.event_triggers = triggers
    engine.metadata = metadata
    engine.inconsistent = found
    engine.clock.nudge()


async def install_event_triggers(
    engine: Engine, connection: AsyncConnection, metadata: Json, broken: set[str], *, reinstall: bool
) -> dict[str, dict[str, Any]]:
    """Make the SQL triggers of the consistent event triggers, remove others; return the made ones by name."""
    wanted = event_triggers_of(metadata, broken)
    for name in await events.installed_triggers(connection) - set(wanted):
        await events.drop_trigger(connection, name)
        await events.archive_events(connection, name)
    for name in set(engine.event_triggers) - set(wanted):
        await events.archive_events(connection, name)
    if wanted and not engine.event_triggers:
        await events.create_event_log(connection)
    for name, trigger in wanted.items():
        if reinstall or engine.event_triggers.get(name) != trigger:
            table = key_of(trigger["table"])
            try:
                await events.install_trigger(connection, table, trigger)
            except WrongObjectType as error:  # a view
                raise _no_trigger(trigger, error) from error
    return wanted


def _no_trigger(trigger: Json, error: WrongObjectType) -> QErr:
    place = f"table {spelled(trigger['table'])} in source {DEFAULT_SOURCE}"
    configuration = {key: value for key, value in trigger.items() if key != "table"}
    definition = {"configuration": configuration, "table": table_object(trigger["table"])}
    found = inconsistent(
        "event_trigger", f"event_trigger {trigger['name']} in {place}", definition, "database query error"
    )
    report = postgres_error(error, "CREATE TRIGGER")
    return QErr("invalid-configuration", found["reason"], internal=[found | {"message": report}])


def event_triggers_of(metadata: Json, broken: set[str]) -> dict[str, dict[str, Any]]:
    """Return the consistent event triggers by name, each with its table."""
    wanted = {}
    for source in metadata["sources"]:
        for table in source["tables"]:
            place = f"table {spelled(table['table'])} in source {source['name']}"
            for trigger in table.get("event_triggers", []):
                if not broken & {place, f"event_trigger {trigger['name']} in {place}"}:
                    wanted[trigger["name"]] = {**trigger, "table": table["table"]}
    return wanted


def complete_cron(trigger: Json) -> Json:
    """Return a cron trigger with its defaults filled in, so that leaving out a default is not a change."""
    complete = {"payload": None, "comment": None, **copy.deepcopy(trigger)}
    complete["headers"] = complete.get("headers") or []
    complete["retry_conf"] = {**DEFAULT_CRON_RETRY, **(complete.get("retry_conf") or {})}
    return complete


async def _cron_triggers(
    engine: Engine, connection: AsyncConnection, metadata: Json, regenerate: set[str], *, refill: bool
) -> dict[str, Json]:
    before = engine.cron_triggers
    after = {trigger["name"]: complete_cron(trigger) for trigger in metadata.get("cron_triggers", [])}
    gone = [name for name in before if before[name] != after.get(name) or name in regenerate]
    now = engine.clock.now()
    if gone:
        await cron.delete_future(connection, gone, now)
    for name, trigger in after.items():
        if refill or before.get(name) != trigger or name in regenerate:
            await cron.generate(connection, name, trigger["schedule"], now)
    return after
