"""The measurements that need code of their own, by the name that `query` of a criterion has."""

import socket
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

from leads.adapters.edge_call import EdgeUnreachable, post_to_edge
from leads.adapters.queries import QUERIES
from leads.cli.failures import CommandFailed
from leads.cli.golive.criterion import Criterion
from leads.cli.golive.judgement import Measurement
from leads.cli.golive.measuring import Probe, SourceDown, Sources
from leads.cli.golive.records import Kind, RecordsError, newest
from leads.cli.golive.snapshot import growth, load_scans, read_snapshot
from leads.cli.metadata.checks import find_differences, find_idle_crons
from leads.cli.metadata.pieces import CRON
from leads.cli.metadata.source import find_missing_triggers

CONNECT_SECONDS = 5.0
SMALL_TABLE_ROWS = 10_000
"""Below it the planner rightly reads a whole table."""
OUR_NIGHTLY_MINUTE = 19 * 60
NEAR_MINUTES = 15
EXAMPLES: Mapping[str, Mapping[str, object]] = {
    "golive/find_account": {"phone": "+84900000000"},
    "golive/find_events_of_phone": {"phone": "+84900000000"},
    "golive/find_event": {
        "record_id": "golive", "modified_on": datetime(2026, 1, 1, tzinfo=UTC), "payload_hash": b"\0" * 32,
    },
}  # fmt: skip


def explain_lookups(sources: Sources, criterion: Criterion) -> Measurement:
    """Count the lookups of a lead whose plan reads a whole table.

    A small table is read whole with every index; there it is enough that the index can be used.
    """
    session = sources.database()
    scanned = []
    for name, params in EXAMPLES.items():
        with session.transaction(force_rollback=True):
            plan = _plan(session, name, params)
            if relation := _scanned(plan):
                (size,) = session.execute(
                    "SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)", [f"public.{relation}"]
                ).fetchall()
                if size["reltuples"] < SMALL_TABLE_ROWS:
                    session.execute("SET LOCAL enable_seqscan = off")
                    relation = _scanned(_plan(session, name, params)) or ""
                if relation:
                    scanned.append(f"{name.removeprefix('golive/')} reads all of {relation}")
    return Measurement(value=float(len(scanned)), details=", ".join(scanned))


def _plan(session: Any, name: str, params: Mapping[str, object]) -> dict[str, Any]:
    row = session.execute(b"EXPLAIN (FORMAT JSON) " + QUERIES[name], params).fetchone()
    plan: dict[str, Any] = row["QUERY PLAN"][0]["Plan"]
    return plan


def _scanned(plan: Mapping[str, Any]) -> str | None:
    """Return a table that the plan reads whole."""
    if plan["Node Type"] in ("Seq Scan", "Parallel Seq Scan"):
        return str(plan["Relation Name"])
    return next((found for each in plan.get("Plans", []) if (found := _scanned(each))), None)


def insert_thousand_events(sources: Sources, criterion: Criterion) -> Measurement:
    """Return the milliseconds that inserting 1,000 events takes; they are undone."""
    session = sources.database()
    with session.transaction(force_rollback=True):
        session.execute("SET TRANSACTION READ WRITE")
        started = time.monotonic()
        inserted = session.execute(QUERIES["golive/insert_thousand_events"]).rowcount
        milliseconds = (time.monotonic() - started) * 1000
    if inserted != 1000:
        return Measurement(problem="There is no connection yet: leads connection add")
    return Measurement(value=round(milliseconds, 1))


def scans_since_snapshot(sources: Sources, criterion: Criterion) -> Measurement:
    """Count the large tables that were read whole more than 100 times as often as once an hour."""
    record = newest(sources.records.read(), Kind.SNAPSHOT, "scans", datetime.now(UTC))
    if record is None:
        return Measurement(problem="There is no snapshot: leads golive snapshot")
    before = read_snapshot(sources.records.read_evidence(record.evidence[0]))
    hours = (datetime.now(UTC) - record.at) / timedelta(hours=1)
    grown = growth(before, load_scans(sources.database()), hours)
    return Measurement(value=float(len(grown)), details=", ".join(grown))


def missing_triggers(sources: Sources, criterion: Criterion) -> Measurement:
    """Count the SQL triggers of our event trigger that PostgreSQL lacks."""
    deployment = sources.deployment()
    wanted = deployment.wanted("9a")
    return _counted(find_missing_triggers(deployment.engine, deployment.source, wanted))


def metadata_differences(sources: Sources, criterion: Criterion) -> Measurement:
    """Count our pieces of metadata that are missing on the engine or differ."""
    return _differences(sources, "9b")


def metadata_9a_differences(sources: Sources, criterion: Criterion) -> Measurement:
    """The same without the crons."""
    return _differences(sources, "9a")


def _differences(sources: Sources, step: str) -> Measurement:
    deployment = sources.deployment()
    _, _, held = deployment.held()
    return _counted(find_differences(deployment.wanted(step), held))


def crons_without_events(sources: Sources, criterion: Criterion) -> Measurement:
    """Count our cron triggers that the engine will not run."""
    deployment = sources.deployment()
    crons = [name for kind, name in deployment.wanted("9b") if kind == CRON]
    return _counted(find_idle_crons(deployment.engine, crons, 0))


def crons_at_two(sources: Sources, criterion: Criterion) -> Measurement:
    """Count the crons of others that are due within 15 minutes of 19:00 UTC, 02:00 in Vietnam."""
    deployment = sources.deployment()
    metadata, _ = deployment.engine.export()
    ours = {name for kind, name in deployment.wanted("9b") if kind == CRON}
    near = [
        f"{each['name']} ({each['schedule']})"
        for each in metadata.get("cron_triggers", [])
        if each["name"] not in ours and _is_near(each["schedule"])
    ]
    return _counted(near)


def _is_near(schedule: str) -> bool:
    """Whether a daily or rarer schedule is due near 19:00 UTC; one that runs every hour is no nightly batch."""
    minute, hour, *_ = [*schedule.split(), "*", "*"]
    if not minute.isdecimal() or not hour.isdecimal():
        return False
    distance = abs(int(hour) * 60 + int(minute) - OUR_NIGHTLY_MINUTE)
    return min(distance, 24 * 60 - distance) <= NEAR_MINUTES


def _counted(problems: list[str]) -> Measurement:
    return Measurement(value=float(len(problems)), details="; ".join(problems[:5]))


def edge_answers(sources: Sources, criterion: Criterion) -> Measurement:
    """Return 1 if the edge at PUBLIC_URL answers a delivery with an unknown token as it should."""
    try:
        answer = post_to_edge(_public_url(sources), CONNECT_SECONDS)
    except EdgeUnreachable as error:
        raise SourceDown(str(error)) from error
    return Measurement(value=float(answer == "unknown_token"), details=f"it answered {answer}")


def certificate_days(sources: Sources, criterion: Criterion) -> Measurement:
    """Return the days until the certificate at PUBLIC_URL ends."""
    parts = urlsplit(_public_url(sources))
    if parts.scheme != "https" or not parts.hostname:
        return Measurement(value=0.0, details="PUBLIC_URL is not https")
    context = ssl.create_default_context()
    address = (parts.hostname, parts.port or 443)
    try:
        with (
            socket.create_connection(address, CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return Measurement(value=0.0, details=f"it is not valid: {error.verify_message}")
    except OSError as error:
        raise SourceDown(f"PUBLIC_URL does not answer: {error}") from error
    end = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    return Measurement(value=round((end - time.time()) / 86_400, 1))


def _public_url(sources: Sources) -> str:
    if not sources.places.public_url:
        raise SourceDown("PUBLIC_URL is not set.")
    return sources.places.public_url


def retention_days(sources: Sources, criterion: Criterion) -> Measurement:
    """Return the days that Prometheus keeps, by its own setting."""
    text = sources.prometheus().retention()
    return Measurement(value=text, problem="Prometheus names no time of retention.")


def has_package(name: str) -> Probe:
    """Make the probe that says whether a package is installed."""

    def probe(sources: Sources, criterion: Criterion) -> Measurement:
        try:
            return Measurement(value=1.0, details=version(name))
        except PackageNotFoundError:
            return Measurement(value=0.0)

    return probe


PROBES: Mapping[str, Probe] = {
    "explain_lookups": explain_lookups,
    "insert_thousand_events": insert_thousand_events,
    "scans_since_snapshot": scans_since_snapshot,
    "missing_triggers": missing_triggers,
    "metadata_differences": metadata_differences,
    "metadata_9a_differences": metadata_9a_differences,
    "crons_without_events": crons_without_events,
    "crons_at_two": crons_at_two,
    "edge_answers": edge_answers,
    "certificate_days": certificate_days,
    "retention_days": retention_days,
    "has_phonenumbers": has_package("phonenumbers"),
    "has_circuitbreaker": has_package("circuitbreaker"),
}

__all__ = ["PROBES", "CommandFailed", "RecordsError"]
