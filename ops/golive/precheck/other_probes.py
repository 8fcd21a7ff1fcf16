"""Probes of the database, of the edge, and of our metadata compared with others."""

import socket
import ssl
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from ops.clients.db_session import QUERIES
from ops.clients.plain_http import NoAnswer, ask
from ops.golive.deploy.steps import newest_snapshot
from ops.golive.judgement import Measurement
from ops.golive.measuring import SourceDown, Sources
from ops.golive.precheck.engine_probes import counted
from ops.golive.precheck.link import Link
from ops.golive.rights import load_rights
from ops.metadata.checks import find_differences
from ops.metadata.deploy import compare_engines

CONNECT_SECONDS = 5.0
EVENTS = 1000
UNKNOWN_TOKEN = "golive-precheck"  # noqa: S105 - of no connection


def insert_thousand_events(sources: Sources) -> Measurement:
    """Return the milliseconds that inserting 1,000 events takes; they are undone."""
    session = sources.database()
    with session.transaction(force_rollback=True):
        session.execute("SET TRANSACTION READ WRITE")
        started = time.monotonic()
        inserted = session.execute(QUERIES["golive/insert_thousand_events"]).rowcount
        milliseconds = (time.monotonic() - started) * 1000
    if inserted != EVENTS:
        return Measurement(problem="There is no connection yet: leads golive deploy, step 13")
    return Measurement(value=round(milliseconds, 1))


def missing_rights(sources: Sources) -> Measurement:
    """Count the rights that handlers and operators lack in the database, and those that they have besides."""
    row = load_rights(sources.database())
    missing, further = row["missing"], row["further"]
    return counted([*(f"missing: {each}" for each in missing), *(f"too much: {each}" for each in further)])


def connection_share(link: Link, sources: Sources) -> Measurement:
    """Return which share of PostgreSQL's connections the pools of engine and handlers may take."""
    row = sources.database().execute(QUERIES["golive/load_max_connections"]).fetchone()
    assert row is not None
    engine = link.manifest.number("PG_CONNECTIONS", 50.0) * link.manifest.replicas
    handlers = 10.0 * link.plan.handler_processes
    share = (engine + handlers) / float(row["value"])
    return Measurement(value=share, details=f"{engine:.0f} of the engine, {handlers:.0f} of the handlers")


def snapshot_hours(link: Link) -> Measurement:
    """Return the age of the newest snapshot of `leads golive deploy` that is there unchanged."""
    found = newest_snapshot(link.folder)
    if found is None:
        return Measurement(problem="There is no snapshot: leads golive deploy --until snapshot")
    hours = (datetime.now(UTC) - found.at).total_seconds() / 3600
    return Measurement(value=hours, details=str(found.path))


def metadata_differences(link: Link, step: str) -> Measurement:
    """Count our pieces of metadata that are missing on the engine or differ."""
    _, _, held = link.deployment.held()
    return counted(find_differences(link.deployment.wanted(step), held))


def staging_differences(link: Link) -> Measurement:
    """Count the pieces of metadata that differ between this engine and staging, of others too."""
    found = compare_engines(link.deployment, link.staging.engine, only_integration=False)
    return counted(f"{each['kind']} {each['name']} {each['difference']}" for each in found)


def edge_answers(link: Link) -> Measurement:
    """Return 1 if the edge at PUBLIC_URL answers a delivery with an unknown token as it should."""
    url = f"{link.public_url()}/api/pancake/record/{UNKNOWN_TOKEN}"
    try:
        answer = ask(url, body={"id": UNKNOWN_TOKEN}, timeout_seconds=CONNECT_SECONDS)
    except NoAnswer as error:
        raise SourceDown(str(error).replace(url, "PUBLIC_URL")) from error
    told = answer.json.get("status") if isinstance(answer.json, dict) else None
    return Measurement(
        value=float(answer.status == 200 and told == "unknown_token"),
        details=f"status {answer.status}, {told or 'no answer of the edge'}",
    )


def certificate_days(link: Link) -> Measurement:
    """Return the days until the certificate at PUBLIC_URL ends; 0 for one that is not valid."""
    parts = urlsplit(link.public_url())
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


def retention_days(sources: Sources) -> Measurement:
    """Return the days that Prometheus keeps, by its own setting."""
    days = sources.prometheus().retention_days()
    return Measurement(value=days, problem="Prometheus names no time of retention.")


def package_is_there(name: str) -> Measurement:
    """Return 1 if a package is installed."""
    try:
        return Measurement(value=1.0, details=version(name))
    except PackageNotFoundError:
        return Measurement(value=0.0)
