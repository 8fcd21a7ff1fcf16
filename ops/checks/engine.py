"""What is asked of Hasura: its version and metadata, and what keeps it from making tickets of leads."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ops.checks.model import Checks, Facts, Finding, Level, Params, When, green, red, yellow
from ops.checks.services import Services
from ops.clients.hasura_admin import Engine
from ops.clients.plain_http import ask
from ops.failures import WrongUsage
from ops.metadata.pieces import (
    ACTION,
    CRON,
    OF_DIVA,
    ROLE,
    Json,
    Key,
    describe_places,
    find_changes,
    is_allowed,
    pieces_of_step,
    split,
)
from ops.output import MAX_NAMED, first

CHECKS = Checks()
MIN_VERSION = (2, 50, 6)
"""Of 2.48 no patch, and of 2.49 none before 2.49.2, mends CVE-2026-54698; 2.50.1 has the switches that keep
customers' data out of the log; a database that 2.50 has used refuses earlier engines."""
BELOW_VERSION = (2, 51, 0)
"""The first one that was not tried with us."""
MIN_CATALOG = 4
"""Before it, an engine behind a transaction pooler can leave `hasura.user` empty, and each INSERT fails."""
ENABLE = """Enable it again as the owner of the table: psql -c 'ALTER TABLE {} ENABLE TRIGGER "{}"'"""
RECOVER = "leads metadata recover"
UNDO = (
    "Read what differs with `leads metadata diff`; to put our metadata back, and leave those of others: "
    "leads metadata {} --over-drift"
)
CHECK_ADMIN = "Check HASURA_ADMIN_SECRET: leads config show"
VARIABLE = re.compile(r'\{\{\s*(\w+)\s*\}\}|"value_from_env": "(\w+)"')
NO_SOURCE = (
    "The engine has no source: its metadata was cleared. Apply Diva's metadata first, which has the source "
    "and Diva's tables, then run this again."
)


@dataclass(frozen=True, slots=True)
class EngineLook:
    """The version of the engine, and how long it took to answer."""

    version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Metadata:
    """The engine's metadata as a whole and in pieces, our directory, and the version of the engine's."""

    whole: Json
    pieces: dict[Key, Any]
    own: Json
    version: int = 0

    def wanted(self, step: str) -> dict[Key, Any]:
        return pieces_of_step(self.own, "default", step)


def export(engine: Engine, source: str, own: Json) -> Metadata:
    """Export the metadata. Raises WrongUsage if the engine does not have the source."""
    whole, version = engine.export()
    try:
        return Metadata(whole, split(whole, source), own, version)
    except KeyError as error:
        names = ", ".join(each["name"] for each in whole.get("sources", []))
        text = f"The engine has no source {source!r}. Choose one with --hasura-source: {names}"
        raise WrongUsage(text if names else NO_SOURCE) from error


def read_version(services: Services) -> EngineLook:
    started = time.monotonic()
    return EngineLook(services.engine.version(), time.monotonic() - started)


def read_clock(services: Services) -> timedelta | None:
    """Return how far the clock of the engine's machine is ahead of this one's."""
    url = services.need("HASURA_URL")
    return ask(f"{url}/healthz", timeout_seconds=services.request_seconds).clock_ahead


def read_metadata(services: Services) -> Metadata:
    return export(services.engine, services.source, services.own)


def read_configuration(services: Services) -> Json:
    return services.engine.configuration()


def read_sql_triggers(services: Services) -> dict[tuple[str, str], bool]:
    """Return whether each SQL trigger of Hasura is on, by table and name."""
    rows = services.engine.run_sql("engine/list_triggers", services.source)
    return {(table, name): is_on == "t" for table, name, is_on in rows}


@CHECKS.add(
    "hasura", "Does Hasura answer?", When.BOTH, read_version, needs="environment",
    cure="Check HASURA_URL, and start Hasura again (its log says why it ended); "
        "with compose: docker compose up -d hasura",
    runbook="docs/runbook/crons-and-engine.md#pancakecronmissed", away=Level.RED, refused=CHECK_ADMIN,
)  # fmt: skip
def ask_engine(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_version)
    yield green(f"{found.version}, {found.seconds * 1000:.0f} ms")


@CHECKS.add(
    "engine-version", "Is Hasura of a version that was tried with us?", When.BOTH | When.APPLY, read_version,
    needs="hasura", fine="one that was tried",
    cure="Start the engine that docs/runbook/install.md names: docker compose up -d hasura",
    runbook="docs/runbook/go-live.md#the-engine",
)  # fmt: skip
def ask_version(facts: Facts, params: Params) -> Iterator[Finding]:
    """Say if the engine is too old, or newer than what was tried; an operator takes the `accepted` one."""
    found = facts.get(read_version).version
    numbers = numbers_of(found)
    oldest, below = (".".join(map(str, version)) for version in (MIN_VERSION, BELOW_VERSION))
    if found == params.get("accepted"):
        return
    if not re.match(r"v?\d+\.\d+\.\d+", found) or numbers < MIN_VERSION:
        yield red(f"the engine is {found}: v{oldest} or later is needed (or --accept-engine {found})")
    elif numbers >= BELOW_VERSION:
        text = f"the engine is {found}: only versions below v{below} were tried (or --accept-engine {found})"
        yield yellow(text)


def numbers_of(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: (2, 50, 6) of v2.50.6."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


@CHECKS.add(
    "metadata-read", "Does Hasura give its metadata, and has it the source of our tables?",
    When.BOTH | When.APPLY | When.VERIFY, read_metadata, needs="hasura", fine="it has the source",
    cure="Apply Diva's metadata, then: leads metadata recover", runbook="docs/runbook/metadata.md",
    away=Level.RED, refused=CHECK_ADMIN,
)  # fmt: skip
def ask_readable(facts: Facts, params: Params) -> Iterator[Finding]:
    facts.get(read_metadata)
    yield from ()


@CHECKS.add(
    "naming", "Does the source name things as our stored queries do?",
    When.DOCTOR | When.APPLY, read_metadata, read_configuration, needs="metadata-read",
    fine="as our stored queries need it",
    cure="Change the source's customization in Diva's metadata, then: leads metadata 9a",
    runbook="docs/runbook/metadata.md#on-a-shared-engine",
)  # fmt: skip
def ask_naming(facts: Facts, params: Params) -> Iterator[Finding]:
    """Our stored queries use the names that Hasura gives by default."""
    pieces = facts.get(read_metadata).pieces
    of_source = next(piece for (kind, _), piece in pieces.items() if kind == "source settings")
    custom = of_source.get("customization") or {}
    default = facts.get(read_configuration).get("default_naming_convention") or "hasura-default"
    convention = custom.get("naming_convention") or default
    if convention != "hasura-default":
        yield red(f"the naming convention is {convention}: our stored queries need hasura-default")
    for part in ("root_fields", "type_names"):
        for kind, text in (custom.get(part) or {}).items():
            if text:
                said = f"the source gives {part} the {kind} {text!r}"
                yield red(f"{said}: our stored queries have names without it")


@CHECKS.add_direct(
    "catalog", "Are Hasura's tables in the source new enough?", When.DOCTOR | When.APPLY,
    needs="metadata-read", fine="new enough",
    cure="Start the source once with the engine that docs/runbook/install.md names: "
        "docker compose up -d hasura",
    runbook="docs/runbook/go-live.md#the-engine",
)  # fmt: skip
def ask_catalog(services: Services) -> Iterator[Finding]:
    if services.engine.run_sql("engine/has_catalog", services.source) != [["t"]]:
        return
    version = services.engine.run_sql("engine/load_catalog", services.source)[0][0]
    if not version.isdecimal() or int(version) < MIN_CATALOG:
        yield red(f"the source has Hasura's catalog {version}, {MIN_CATALOG} or later is needed")


@CHECKS.add_direct(
    "variables", "Has the engine the variables of our metadata?", When.DOCTOR | When.APPLY,
    needs="metadata-read", fine="the engine has those of our metadata",
    cure="Set it as docs/runbook/install.md, step 3, lists it, then: docker compose up -d hasura",
    runbook="docs/runbook/install.md#3-the-engines-environment",
)  # fmt: skip
def ask_variables(services: Services) -> Iterator[Finding]:
    pieces = pieces_of_step(services.own, "default", "9b")
    names = {"".join(names) for names in VARIABLE.findall(json.dumps(list(pieces.values())))}
    for name in services.engine.missing_variables(sorted(names)):
        yield red(f"the engine has no environment variable {name}: set it and restart the engine", about=name)


@CHECKS.add_direct(
    "store-lead", "May the handlers store a lead, through Hasura's trigger?", When.DOCTOR | When.APPLY,
    needs="metadata-read", fine="the handlers may store a lead",
    cure="Apply the migrations, then as the owner: psql -f deploy/postgres/grant_roles.sql",
    runbook="docs/runbook/install.md#4-migrations",
)  # fmt: skip
def ask_insert(services: Services) -> Iterator[Finding]:
    """Store a lead as the handlers do, and undo it.

    An engine whose role may not take that of the handlers is asked for their rights in the catalog instead.
    """
    refusal = services.engine.run_sql("engine/try_lead", services.source, read_only=False)[0][0]
    if "permission denied to set role" in refusal:
        has_rights = services.engine.run_sql("engine/has_rights", services.source) == [["t"]]
        refusal = "" if has_rights else "a right on hdb_catalog is missing"
    if refusal:
        yield red(f"the role pancake_handlers cannot store a lead: {refusal}")


@CHECKS.add(
    "diva-action", "Is Diva's action sendNotifications there?",
    When.BOTH | When.APPLY | When.VERIFY, read_metadata, needs="metadata-read",
    fine="sendNotifications can be allowed to the handlers",
    cure="Apply Diva's metadata, then: leads metadata recover",
    runbook="docs/runbook/metadata.md#pancakenotificationsforbidden",
)  # fmt: skip
def ask_diva_action(facts: Facts, params: Params) -> Iterator[Finding]:
    if OF_DIVA not in facts.get(read_metadata).pieces:
        yield red(f"the action {ACTION} is missing: it is Diva's, apply Diva's metadata")


@CHECKS.add(
    "metadata", "Are all pieces of our metadata on the engine?", When.STATUS | When.VERIFY, read_metadata,
    needs="metadata-read", cure=RECOVER, runbook="docs/runbook/metadata.md#bring-it-back",
)  # fmt: skip
def ask_pieces(facts: Facts, params: Params) -> Iterator[Finding]:
    """Count our pieces that the engine lacks; with `names` all are named."""
    metadata = facts.get(read_metadata)
    wanted = metadata.wanted(params.get("step", "9b"))
    missing = [key for key in wanted if key not in metadata.pieces]
    if missing:
        most = len(missing) if "names" in params else MAX_NAMED
        names = first([" ".join(key) for key in missing], most)
        are = "is" if len(missing) == 1 else "are"
        text = f"{len(missing)} of {len(wanted)} pieces {are} missing: {names}"
        yield red(text, is_present=len(missing) < len(wanted))
    else:
        yield green(f"{len(wanted)} pieces, all in place")


@CHECKS.add(
    "event-trigger", "Has PostgreSQL the SQL triggers of our event trigger?",
    When.BOTH | When.APPLY | When.VERIFY, read_metadata, read_sql_triggers, needs="metadata",
    fine="its SQL triggers are there", cure=RECOVER,
    runbook="docs/runbook/metadata.md#pancakeeventtriggermissing",
)  # fmt: skip
def ask_event_trigger(facts: Facts, params: Params) -> Iterator[Finding]:
    """Name the SQL triggers of our event trigger that PostgreSQL lacks.

    Without its SQL trigger a row makes no event, and the engine calls that consistent. With `applied` only
    the triggers that the engine has count.
    """
    metadata, fires = facts.get(read_metadata), facts.get(read_sql_triggers)
    expected = metadata.wanted("9b")
    if "applied" in params:
        expected = {key: metadata.pieces[key] for key in expected if key in metadata.pieces}
    for table, name in sql_triggers(expected):
        if fires.get((table, name)):
            continue
        is_disabled = (table, name) in fires
        state = "disabled" if is_disabled else "missing"
        text = f"the SQL trigger {name} is {state} on table {table}: its rows make no event"
        yield red(text, _enable(metadata, table, name, is_disabled=is_disabled))


def sql_triggers(pieces: Mapping[Key, Any]) -> Iterator[tuple[str, str]]:
    """Yield table and name of each SQL trigger that the event triggers on our tables need.

    The names are those of `Backends/Postgres/DDL/EventTrigger.hs`.
    """
    for (kind, table), piece in pieces.items():
        for trigger in piece.get("event_triggers", []) if kind == "table" else []:
            for operation in ("insert", "update", "delete"):
                if operation in trigger["definition"]:
                    yield table, f"notify_hasura_{trigger['name']}_{operation.upper()}"


def _enable(metadata: Metadata, table: str, name: str, *, is_disabled: bool) -> str:
    """Return what puts a SQL trigger back: 9a if the engine has no such event trigger any more."""
    if is_disabled:
        return ENABLE.format(table, name)
    is_deleted = ("table", table) in metadata.pieces and (table, name) not in sql_triggers(metadata.pieces)
    return "leads metadata 9a --over-drift" if is_deleted else RECOVER


@CHECKS.add(
    "drift", "Are our pieces on the engine as in our directory?", When.STATUS | When.VERIFY, read_metadata,
    needs="metadata-read event-trigger", fine="all as in our directory", cure=UNDO.format("9a"),
    runbook="docs/runbook/metadata.md#on-a-shared-engine",
)  # fmt: skip
def ask_drift(facts: Facts, params: Params) -> Iterator[Finding]:
    metadata = facts.get(read_metadata)
    wanted = metadata.wanted(params.get("step", "9b"))
    present = {key: wanted[key] for key in wanted if key in metadata.pieces}
    for change in find_changes(present, metadata.pieces):
        text = f"{' '.join(change.key)} differs: {describe_places(change.after, change.before)}"
        step = "9b" if change.key[0] == CRON else "9a"
        yield red(text, UNDO.format(step), about=" ".join(change.key))


@CHECKS.add(
    "allow-list", "Does no allow list stop our calls?", When.BOTH | When.APPLY | When.VERIFY, read_metadata,
    read_configuration, needs="metadata", fine="on, with our calls", cure="leads metadata 9a",
    runbook="docs/runbook/metadata.md#pancakeallowliststopsus",
)  # fmt: skip
def ask_allow_list(facts: Facts, params: Params) -> Iterator[Finding]:
    """Name our calls that an allow list stops; with `applied` those that it would stop after 9a."""
    if not facts.get(read_configuration).get("is_allow_list_enabled"):
        yield green("off")
        return
    metadata = facts.get(read_metadata)
    wanted = metadata.wanted("9a")
    held = wanted if "applied" in params else metadata.pieces
    entries = [("allow-list entry", name) for kind, name in wanted if kind == "query collection"]
    needed = dict.fromkeys([*entries, *(key for key in wanted if key[0] == "query collection")])
    for kind, name in needed:
        if (kind, name) not in held:
            yield red(f"{kind} {name} is missing: Hasura stops its calls", about=name)


@CHECKS.add_direct(
    "consistency", "Is nothing of the engine's metadata inconsistent?", When.STATUS | When.VERIFY,
    needs="metadata-read", fine="nothing is inconsistent",
    cure="Mend what it names, or ask its owner, then: leads metadata verify",
    runbook="docs/runbook/metadata.md#pancakemetadatainconsistent",
)  # fmt: skip
def ask_consistency(services: Services) -> Iterator[Finding]:
    for name, reason in services.engine.inconsistencies().items():
        yield red(f"inconsistent: {name} ({reason})", about=name)


@CHECKS.add_direct(
    "schedule", "Has Hasura future runs of our crons?", When.STATUS | When.VERIFY, needs="metadata",
    cure=RECOVER, runbook="docs/runbook/crons-and-engine.md#pancakecronticksgone",
)  # fmt: skip
def ask_schedule(services: Services) -> Iterator[Finding]:
    counts = services.engine.future_events([each["name"] for each in services.own["cron_triggers"]])
    idle = [name if count == 0 else f"{name} (inconsistent)" for name, count in counts.items() if not count]
    if idle:
        yield red(f"no future run of {len(idle)} of {len(counts)} crons: {first(idle)}")
    else:
        yield green(f"future runs of {len(counts)} crons")


@CHECKS.add(
    "notifications", "May the handlers call sendNotifications?", When.STATUS | When.VERIFY, read_metadata,
    needs="diva-action metadata", fine="allowed to the handlers", cure=RECOVER,
    runbook="docs/runbook/metadata.md#pancakenotificationsforbidden",
)  # fmt: skip
def ask_permission(facts: Facts, params: Params) -> Iterator[Finding]:
    if not is_allowed(facts.get(read_metadata).pieces):
        yield red(f"the action {ACTION} is not allowed for {ROLE}: no notification is sent")
