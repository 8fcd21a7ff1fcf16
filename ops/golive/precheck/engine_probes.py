"""Probes of Hasura: version, catalog, settings, triggers, crons, rights."""

import re
from collections.abc import Iterable

from leads.services.redelivery import MAX_WAITING
from ops.golive.judgement import Measurement
from ops.golive.precheck.link import Link
from ops.metadata.checks import find_idle_crons, find_inconsistencies, find_stopped_calls
from ops.metadata.pieces import CRON
from ops.metadata.preflight import find_old_version
from ops.metadata.source import find_missing_triggers, find_old_catalog, try_insert

SHOWN = 5
OUR_NIGHTLY_MINUTE = 19 * 60
"""02:00 in Vietnam, by the clock of the engine, which is UTC."""
NEAR_MINUTES = 15
DEFAULT_POOL, DEFAULT_SHUTDOWN_SECONDS = 100.0, 60.0
LEAKING_LOGS = {"http-log", "websocket-log", "query-log", "action-handler-log", "http-response-log"}
DEFAULT_LOG_TYPES = "startup,http-log,webhook-log,websocket-log,jwk-refresh-log"
REDACTIONS = ("EVENT_TRIGGER", "SCHEDULED_TRIGGER", "ACTION_HANDLER")


def counted(problems: Iterable[str]) -> Measurement:
    """Return the number of problems, with the first ones in words."""
    found = list(problems)
    return Measurement(value=float(len(found)), details="; ".join(found[:SHOWN]))


def wrong_engine(link: Link, below: str) -> Measurement:
    """Count what is wrong with the engine's version; `below` is the first one that was not tried with us."""
    faults = list(find_old_version(link.deployment.engine, ""))
    running = link.deployment.engine.version()
    if _numbers(running) >= _numbers(below):
        faults.append(f"the engine is {running}: one below v{below} is needed")
    return counted(faults)


def old_catalog(link: Link) -> Measurement:
    """Count what is wrong with the tables that Hasura keeps in the source."""
    return counted(find_old_catalog(link.deployment.engine, link.source))


def older_image(link: Link) -> Measurement:
    """Return 1 if the manifest names an older engine than runs: it would refuse the catalog of the newer."""
    running, wanted = link.deployment.engine.version(), link.manifest.image
    if not wanted:
        return Measurement(problem="The image of the manifest has no version as its tag.")
    is_older = _numbers(wanted) < _numbers(running)
    return Measurement(value=float(is_older), details=f"{running} runs, the manifest has {wanted}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def inconsistent_metadata(link: Link) -> Measurement:
    """Count the inconsistent objects, of other applications too."""
    return counted(find_inconsistencies(link.deployment.engine))


def missing_triggers(link: Link) -> Measurement:
    """Count the SQL triggers of our event trigger that PostgreSQL lacks."""
    deployment = link.deployment
    return counted(find_missing_triggers(deployment.engine, deployment.source, deployment.wanted("9a")))


def crons_without_events(link: Link) -> Measurement:
    """Count our cron triggers that the engine will not run."""
    deployment = link.deployment
    crons = [name for kind, name in deployment.wanted("9b") if kind == CRON]
    return counted(find_idle_crons(deployment.engine, crons, 0))


def crons_at_two(link: Link) -> Measurement:
    """Count the crons of others that are due within 15 minutes of 02:00 in Vietnam."""
    own = {name for kind, name in link.deployment.wanted("9b") if kind == CRON}
    metadata, _ = link.deployment.engine.export()
    return counted(
        f"{each['name']} ({each['schedule']})"
        for each in metadata.get("cron_triggers", [])
        if each["name"] not in own and _is_near(str(each["schedule"]))
    )


def _is_near(schedule: str) -> bool:
    """Whether a schedule is due near that minute on some day; one of every hour is no nightly batch."""
    minute, hour, *_ = [*schedule.split(), "*", "*"]
    hours = _expand(hour, 24)
    if len(hours) == 24:
        return False
    due = {each * 60 + minutes for each in hours for minutes in _expand(minute, 60)}
    distances = (abs(each - OUR_NIGHTLY_MINUTE) for each in due)
    return any(min(distance, 24 * 60 - distance) <= NEAR_MINUTES for distance in distances)


def _expand(field: str, end: int) -> set[int]:
    """Return the numbers below `end` that a field of a cron schedule names: lists, ranges and steps."""
    found: set[int] = set()
    for part in field.split(","):
        numbers, _, step = part.partition("/")
        first, is_range, last = ("0", "-", str(end - 1)) if numbers == "*" else numbers.partition("-")
        if not is_range:
            last = str(end - 1) if step else first
        found.update(range(int(first), int(last) + 1, int(step or 1)))
    return found


def stopped_calls(link: Link) -> Measurement:
    """Count our calls that an allow list stops; none if it is off."""
    _, _, held = link.deployment.held()
    return counted(find_stopped_calls(link.deployment.engine, link.deployment.wanted("9a"), held))


def refused_insert(link: Link) -> Measurement:
    """Store a lead as the handlers do, through the trigger, and undo it; count what refuses it."""
    refusal = try_insert(link.deployment.engine, link.source)
    return counted([f"the role pancake_handlers cannot store a lead: {refusal}"] if refusal else [])


def waiting_share(link: Link) -> Measurement:
    """Return which share of the engine's deliveries repeated events of our handlers may fill."""
    pool = link.manifest.number("EVENTS_HTTP_POOL_SIZE", DEFAULT_POOL) * link.manifest.replicas
    waiting = MAX_WAITING * link.plan.handler_processes
    details = f"{waiting} of {pool:.0f} deliveries at a time, of {link.plan.handler_processes} processes"
    return Measurement(value=waiting / pool, details=details)


def stop_factor(link: Link) -> Measurement:
    """Return how often the engine's shutdown time-out fits into the time that it gets to stop."""
    timeout = link.manifest.number("GRACEFUL_SHUTDOWN_TIMEOUT", DEFAULT_SHUTDOWN_SECONDS)
    grace = link.manifest.grace_seconds
    if not timeout:
        return Measurement(problem="The shutdown time-out is 0.")
    return Measurement(value=grace / timeout, details=f"{grace:.0f} s to stop, time-out {timeout:.0f} s")


def leaking_logs(link: Link) -> Measurement:
    """Count the settings with which the engine's log holds customers' data."""
    variables = link.manifest.environment
    types = variables.get("HASURA_GRAPHQL_ENABLED_LOG_TYPES") or DEFAULT_LOG_TYPES
    problems = [f"{name} is on" for name in map(str.strip, types.split(",")) if name in LEAKING_LOGS]
    for name in REDACTIONS:
        variable = f"HASURA_GRAPHQL_REDACT_{name}_LOGS"
        if variables.get(variable, "").lower() != "true":
            problems.append(f"{variable} is not true")
    if variables.get("HASURA_GRAPHQL_DEV_MODE", "").lower() == "true":
        problems.append("HASURA_GRAPHQL_DEV_MODE is true")
    return counted(problems)
