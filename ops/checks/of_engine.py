"""What is asked of Hasura: its version and metadata, and what keeps it from making tickets of leads."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ops.checks.model import Facts, Finding, Level, Params
from ops.checks.read_engine import (
    Metadata,
    read_catalog,
    read_configuration,
    read_inconsistencies,
    read_metadata,
    read_missing_variables,
    read_refused_insert,
    read_schedule,
    read_sql_triggers,
    read_version,
)
from ops.metadata.pieces import ACTION, CRON, OF_DIVA, ROLE, Key, describe_places, find_changes, is_allowed

MIN_VERSION = (2, 50, 6)
"""Of 2.48 no patch, and of 2.49 none before 2.49.2, mends CVE-2026-54698; 2.50.1 has the switches that keep
customers' data out of the log; a database that 2.50 has used refuses earlier engines."""
BELOW_VERSION = (2, 51, 0)
"""The first one that was not tried with us."""
REINSTALL = r"""Install it again:
printf 'X-Hasura-Admin-Secret: %s' \
"$HASURA_ADMIN_SECRET" | curl -H @- \
"$HASURA_URL/v1/metadata" -d \
'{"type": "reload_metadata", "args":
{"recreate_event_triggers": true}}'"""
"""The secret goes through a pipe: arguments are seen by every user of the machine. No line is wrapped by a
screen: a shell would take a part for a call, and the secret for its name."""
ENABLE = 'Enable it again as the owner of the table; psql: ALTER TABLE {} ENABLE TRIGGER "{}"'
MIN_CATALOG = 4
"""Before it, an engine behind a transaction pooler can leave `hasura.user` empty, and each INSERT fails."""
RECOVER = "leads metadata recover"
UNDO = "Read what differs with `leads metadata diff`; to undo the change: leads metadata {} --over-drift"
CHECK_ADMIN = "Check HASURA_ADMIN_SECRET: leads config show"
CHECK_ENGINE = (
    "Check HASURA_URL, and start Hasura again (its log says why it ended); with compose: "
    "docker compose up -d hasura"
)
MAX_NAMED = 5
"""So many of what is wrong in the same way are named."""


def ask_engine(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_version)
    yield Finding(Level.GREEN, f"{found.version}, {found.seconds * 1000:.0f} ms")


def ask_version(facts: Facts, params: Params) -> Iterator[Finding]:
    """Say if the engine is too old, or newer than what was tried; an operator takes the `accepted` one."""
    found = facts.get(read_version).version
    numbers = numbers_of(found)
    oldest, below = (".".join(map(str, version)) for version in (MIN_VERSION, BELOW_VERSION))
    if found == params.get("accepted"):
        return
    if not re.match(r"v?\d+\.\d+\.\d+", found) or numbers < MIN_VERSION:
        yield Finding(
            Level.RED, f"the engine is {found}: v{oldest} or later is needed (or --accept-engine {found})"
        )
    elif numbers >= BELOW_VERSION:
        text = f"the engine is {found}: only versions below v{below} were tried (or --accept-engine {found})"
        yield Finding(Level.YELLOW, text)


def numbers_of(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: (2, 50, 6) of v2.50.6."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def ask_readable(facts: Facts, params: Params) -> Iterator[Finding]:
    facts.get(read_metadata)
    yield from ()


def ask_naming(facts: Facts, params: Params) -> Iterator[Finding]:
    """Our stored queries use the names that Hasura gives by default."""
    metadata = facts.get(read_metadata)
    of_source = next(
        each for each in metadata.whole["sources"] if ("source settings", each["name"]) in metadata.held
    )
    custom = of_source.get("customization") or {}
    default = facts.get(read_configuration).get("default_naming_convention") or "hasura-default"
    convention = custom.get("naming_convention") or default
    if convention != "hasura-default":
        text = f"the naming convention is {convention}: our stored queries need hasura-default"
        yield Finding(Level.RED, text)
    for part in ("root_fields", "type_names"):
        for kind, text in (custom.get(part) or {}).items():
            if text:
                said = f"the source gives {part} the {kind} {text!r}"
                yield Finding(Level.RED, f"{said}: our stored queries have names without it")


def ask_catalog(facts: Facts, params: Params) -> Iterator[Finding]:
    version = facts.get(read_catalog)
    if version and (not version.isdecimal() or int(version) < MIN_CATALOG):
        text = f"the source has Hasura's catalog {version}, {MIN_CATALOG} or later is needed"
        yield Finding(Level.RED, text)


def ask_variables(facts: Facts, params: Params) -> Iterator[Finding]:
    for name in facts.get(read_missing_variables):
        text = f"the engine has no environment variable {name}: set it and restart the engine"
        yield Finding(Level.RED, text, about=name)


def ask_insert(facts: Facts, params: Params) -> Iterator[Finding]:
    if refusal := facts.get(read_refused_insert):
        yield Finding(Level.RED, f"the role pancake_handlers cannot store a lead: {refusal}")


def ask_diva_action(facts: Facts, params: Params) -> Iterator[Finding]:
    if OF_DIVA not in facts.get(read_metadata).held:
        yield Finding(Level.RED, f"the action {ACTION} is missing: it is Diva's, apply Diva's metadata")


def ask_permission(facts: Facts, params: Params) -> Iterator[Finding]:
    held = facts.get(read_metadata).held
    if not is_allowed(held):
        yield Finding(Level.RED, f"the action {ACTION} is not allowed for {ROLE}: no notification is sent")


def ask_pieces(facts: Facts, params: Params) -> Iterator[Finding]:
    """Count our pieces that the engine lacks; with `names` all are named."""
    metadata = facts.get(read_metadata)
    wanted = metadata.wanted(params.get("step", "9b"))
    missing = [key for key in wanted if key not in metadata.held]
    if missing:
        most = len(missing) if "names" in params else MAX_NAMED
        names = first([" ".join(key) for key in missing], most)
        text = f"{len(missing)} of {len(wanted)} pieces are missing: {names}"
        yield Finding(Level.RED, text, is_present=len(missing) < len(wanted))
    else:
        yield Finding(Level.GREEN, f"{len(wanted)} pieces, all in place")


def first(names: Sequence[str], most: int = MAX_NAMED) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def ask_drift(facts: Facts, params: Params) -> Iterator[Finding]:
    metadata = facts.get(read_metadata)
    wanted = metadata.wanted(params.get("step", "9b"))
    present = {key: wanted[key] for key in wanted if key in metadata.held}
    for change in find_changes(present, metadata.held):
        text = f"{' '.join(change.key)} differs: {describe_places(change.after, change.before)}"
        step = "9b" if change.key[0] == CRON else "9a"
        yield Finding(Level.RED, text, UNDO.format(step), about=" ".join(change.key))


def sql_triggers(pieces: Mapping[Key, Any]) -> Iterator[tuple[str, str]]:
    """Yield table and name of each SQL trigger that the event triggers on our tables need.

    The names are those of `Backends/Postgres/DDL/EventTrigger.hs`.
    """
    for (kind, table), piece in pieces.items():
        for trigger in piece.get("event_triggers", []) if kind == "table" else []:
            for operation in ("insert", "update", "delete"):
                if operation in trigger["definition"]:
                    yield table, f"notify_hasura_{trigger['name']}_{operation.upper()}"


def ask_event_trigger(facts: Facts, params: Params) -> Iterator[Finding]:
    """Name the SQL triggers of our event trigger that PostgreSQL lacks.

    Without its SQL trigger a row makes no event, and the engine calls that consistent. With `applied` only
    the triggers that the engine has count.
    """
    metadata, fires = facts.get(read_metadata), facts.get(read_sql_triggers)
    for table, name in sql_triggers(_expected(metadata, params)):
        if fires.get((table, name)):
            continue
        is_disabled = (table, name) in fires
        state = "disabled" if is_disabled else "missing"
        text = f"the SQL trigger {name} is {state} on table {table}: its rows make no event"
        yield Finding(Level.RED, text, _enable(metadata, table, name, is_disabled=is_disabled))


def _expected(metadata: Metadata, params: Params) -> Mapping[Key, Any]:
    wanted = metadata.wanted("9b")
    if "applied" not in params:
        return wanted
    return {key: metadata.held[key] for key in wanted if key in metadata.held}


def _enable(metadata: Metadata, table: str, name: str, *, is_disabled: bool) -> str:
    """Return what puts a SQL trigger back: 9a if the engine has no such event trigger any more."""
    if is_disabled:
        return ENABLE.format(table, name)
    if (table, name) in sql_triggers(metadata.held):
        return REINSTALL
    return RECOVER if ("table", table) not in metadata.held else "leads metadata 9a --over-drift"


def ask_allow_list(facts: Facts, params: Params) -> Iterator[Finding]:
    """Name our calls that an allow list stops; with `applied` those that it would stop after 9a."""
    if not facts.get(read_configuration).get("is_allow_list_enabled"):
        yield Finding(Level.GREEN, "off")
        return
    metadata = facts.get(read_metadata)
    wanted = metadata.wanted("9a")
    held = wanted if "applied" in params else metadata.held
    entries = [("allow-list entry", name) for kind, name in wanted if kind == "query collection"]
    needed = dict.fromkeys([*entries, *(key for key in wanted if key[0] == "query collection")])
    for kind, name in needed:
        if (kind, name) not in held:
            yield Finding(Level.RED, f"{kind} {name} is missing: Hasura stops its calls", about=name)


def ask_consistency(facts: Facts, params: Params) -> Iterator[Finding]:
    for name, reason in facts.get(read_inconsistencies).items():
        yield Finding(Level.RED, f"inconsistent: {name} ({reason})", about=name)


def ask_schedule(facts: Facts, params: Params) -> Iterator[Finding]:
    counts = facts.get(read_schedule)
    idle = [name if count == 0 else f"{name} (inconsistent)" for name, count in counts.items() if not count]
    if idle:
        yield Finding(Level.RED, f"no future run of {len(idle)} of {len(counts)} crons: {first(idle)}")
    else:
        yield Finding(Level.GREEN, f"future runs of {len(counts)} crons")
