"""Read what the checklist of the go-live asks: what steps left, the public URL, staging, plans of lookups."""

import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from ops.checks.model import NotRead, Reader
from ops.checks.read_engine import held_pieces
from ops.checks.services import Services
from ops.clients.db_session import QUERIES, DbSession
from ops.clients.hasura_admin import HasuraAdmin
from ops.clients.plain_http import NoAnswer, ask
from ops.failures import CommandFailed, file_reason
from ops.golive.commit import CLONE
from ops.metadata.engine import Engine
from ops.metadata.pieces import Key, same
from ops.switches import Switch, list_switches

if TYPE_CHECKING:
    from ops.golive.deploy.plan_file import PlanFile

UNKNOWN_TOKEN = "golive-precheck"  # noqa: S105 - of no connection
PACKAGES = ("phonenumbers", "circuitbreaker")
SMALL_TABLE_ROWS = 10_000
"""Below it the planner may rightly read a whole table."""
LOOKUPS: Mapping[str, Mapping[str, object]] = {
    "golive/find_account": {"phone": "+84900000000"},
    "golive/find_events_of_phone": {"phone": "+84900000000"},
    "golive/find_event": {
        "record_id": "golive", "modified_on": datetime(2026, 1, 1, tzinfo=UTC), "payload_hash": b"\0" * 32,
    },
}  # fmt: skip
"""The lookups of every lead, each with values that are like real ones."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens the pilot: the row of golive/load_opening, and the switches with who turned them."""

    row: Mapping[str, Any]
    switches: list[Switch]


@dataclass(frozen=True, slots=True)
class Phones:
    """How many accounts the backfill has filled, and how many usable phones it has left."""

    filled: int
    left: int


def one_row(name: str) -> Reader[Mapping[str, Any]]:
    """Return a reader of the only row of a statement."""

    def read(services: Services) -> Mapping[str, Any]:
        with services.database() as db:
            row = db.execute(QUERIES[name]).fetchone()
        assert row is not None
        return row

    return read


read_ticket_source = one_row("golive/load_ticket_source")
read_diva_columns = one_row("golive/check_diva_columns")
read_diva_sources = one_row("golive/check_ticket_sources")
read_diva_migration = one_row("golive/load_migration_log")
read_size = one_row("golive/load_size")


def read_migrations(services: Services) -> dict[str, Mapping[str, Any]]:
    """Return what each migration creates, and what of it is missing, by its last three digits."""
    with services.database() as db:
        return {row["migration"]: row for row in db.execute(QUERIES["golive/list_migrations"]).fetchall()}


def read_phones(services: Services) -> Phones:
    """Read the phones of the accounts without a normalized one, as the backfill does."""
    from leads.domain.phone import normalize
    from ops.daily.backfill_phones import count_accounts, read_batches

    with services.database() as db:
        left = sum(
            normalize(account.phone_number, account.phone_code)[0] is not None
            for batch in read_batches(db, 10_000)
            for account in batch
        )
        return Phones(count_accounts(db)["normalized"], left)


def read_rights(services: Services) -> Mapping[str, Any]:
    """Compare the rights of the roles with those that deploy/postgres/grant_roles.sql gives."""
    with services.database() as db:
        return load_rights(db)


def read_deliveries(services: Services) -> list[Mapping[str, Any]]:
    """Return what each connection has by now."""
    with services.database() as db:
        return list(db.execute(QUERIES["golive/load_connection"]).fetchall())


def read_opening(services: Services) -> Opening:
    """Return what opens the pilot."""
    with services.database() as db:
        row = db.execute(QUERIES["golive/load_opening"]).fetchone()
        assert row is not None
        return Opening(row, list_switches(db))


def read_snapshot(services: Services) -> tuple[Path, datetime] | None:
    """Return the newest snapshot of `leads golive deploy` that is there unchanged, and its time."""
    from ops.golive.deploy.steps import newest_snapshot

    found = newest_snapshot(services.folder)
    return (found.path, found.at) if found else None


def read_scanned_tables(services: Services) -> list[str]:
    """Return the lookups of a lead whose plan reads a whole table.

    A small table may be read whole; there it is enough that the index can be used.
    """
    scanned = []
    for name, params in LOOKUPS.items():
        with services.database() as db, db.transaction(force_rollback=True):
            relation = _scanned(_plan(db, name, params))
            if relation and _rows(db, relation) < SMALL_TABLE_ROWS:
                db.execute("SET LOCAL enable_seqscan = off")
                relation = _scanned(_plan(db, name, params))
            if relation:
                scanned.append(f"{name.partition('/')[2]} reads all of {relation}")
    return scanned


def _plan(db: DbSession, name: str, params: Mapping[str, object]) -> dict[str, Any]:
    row = db.execute(b"EXPLAIN (FORMAT JSON) " + QUERIES[name], params).fetchone()
    assert row is not None
    plan: dict[str, Any] = row["QUERY PLAN"][0]["Plan"]
    return plan


def _rows(db: DbSession, relation: str) -> float:
    row = db.execute(
        "SELECT reltuples FROM pg_catalog.pg_class WHERE oid = to_regclass(%s)", [f"public.{relation}"]
    ).fetchone()
    return float(row["reltuples"]) if row else 0.0


def _scanned(plan: Mapping[str, Any]) -> str | None:
    """Return a table that the plan reads whole."""
    if plan["Node Type"] in ("Seq Scan", "Parallel Seq Scan"):
        return str(plan["Relation Name"])
    return next((found for each in plan.get("Plans", []) if (found := _scanned(each))), None)


def read_plan(services: Services) -> "PlanFile":
    """Return what golive.yaml says."""
    return services.plan


def read_staging(services: Services) -> list[str]:
    """Return the pieces of metadata that differ between the engine and that of staging, of others too."""
    url, secret = services.plan.staging_url, services.settings.hasura_other_admin_secret
    if not url or not secret:
        raise CommandFailed("staging_url of golive.yaml and HASURA_OTHER_ADMIN_SECRET are not set")
    here = held_pieces(services.engine.export()[0], services.source)
    with HasuraAdmin(url, secret, timeout_seconds=services.request_seconds) as client:
        there = held_pieces(Engine(client).export()[0], services.source)
    return [f"{' '.join(key)} {_difference(key, here, there)}" for key in _different(here, there)]


def _different(here: Mapping[Key, Any], there: Mapping[Key, Any]) -> list[Key]:
    keys = sorted(here.keys() | there.keys())
    return [key for key in keys if key not in here or key not in there or not same(here[key], there[key])]


def _difference(key: Key, here: Mapping[Key, Any], there: Mapping[Key, Any]) -> str:
    return "only there" if key not in here else "only here" if key not in there else "differs"


def read_public_answer(services: Services) -> tuple[int, str]:
    """Return how PUBLIC_URL answers a delivery with an unknown token: the status, and what it says."""
    url = f"{_public_url(services)}/api/pancake/record/{UNKNOWN_TOKEN}"
    try:
        answer = ask(url, body={"id": UNKNOWN_TOKEN}, timeout_seconds=services.request_seconds)
    except NoAnswer as error:
        raise CommandFailed(str(error).replace(url, "PUBLIC_URL")) from error
    told = answer.json.get("status") if isinstance(answer.json, dict) else None
    return answer.status, str(told or "no answer of the edge")


def _public_url(services: Services) -> str:
    return services.need("PUBLIC_URL", services.settings.public_url).rstrip("/")


def read_certificate(services: Services) -> tuple[float, str]:
    """Return the days until the certificate at PUBLIC_URL ends, or 0 and why it is not valid."""
    parts = urlsplit(_public_url(services))
    if parts.scheme != "https" or not parts.hostname:
        return 0.0, "PUBLIC_URL is not https"
    context = ssl.create_default_context()
    address = (parts.hostname, parts.port or 443)
    try:
        with (
            socket.create_connection(address, services.request_seconds) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return 0.0, f"it is not valid: {error.verify_message}"
    except OSError as error:
        raise CommandFailed(f"PUBLIC_URL does not answer: {error}") from error
    end = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    return round((end - time.time()) / 86_400, 1), ""


def read_alerts(services: Services) -> dict[str, str]:
    """Return the alerts that Prometheus has loaded, each with its health."""
    return services.prometheus.alerts()


def read_retention(services: Services) -> float | None:
    """Return the days that Prometheus keeps, by its own setting."""
    return services.prometheus.retention_days()


def read_packages(services: Services) -> dict[str, str]:
    """Return the versions of the packages that are installed beside this program; empty of a missing one."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


GRANT = CLONE / "deploy" / "postgres" / "grant_roles.sql"
ROLE = re.compile(r"SELECT '(\w+)'")
RIGHT = re.compile(r"\s+\('([\w.]+)', '([A-Z]+)', (?:NULL|'([\w, ]+)')\),?")
"""A line of the list: table, right, and the columns if it is not for the whole table."""


def load_rights(session: DbSession) -> Mapping[str, Any]:
    """Return the row of golive/load_rights. Raises DatabaseError and CommandFailed."""
    rights = json.dumps(list(listed_rights()))
    row = session.execute(QUERIES["golive/load_rights"], {"rights": rights}).fetchone()
    assert row is not None
    return row


def listed_rights() -> Iterator[Mapping[str, Any]]:
    """Yield each right that the file lists. Raises CommandFailed without the file."""
    try:
        lines = GRANT.read_text("utf-8").splitlines()
    except OSError as error:
        raise CommandFailed(f"{GRANT} cannot be read: {file_reason(error)}") from error
    role = ""
    for line in lines:
        if found := ROLE.search(line):
            role = found[1]
        elif right := RIGHT.fullmatch(line):
            columns = right[3].split(", ") if right[3] else None
            yield {"role": role, "name": right[1], "privilege": right[2], "columns": columns}


IMAGE = "graphql-engine"
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
DOCKER_GRACE_SECONDS, KUBERNETES_GRACE_SECONDS = 10.0, 30.0
"""What applies if the file names nothing."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """How the engine is started. `image` is its tag, for example v2.50.6."""

    image: str
    replicas: int
    grace_seconds: float
    environment: Mapping[str, str]

    def number(self, name: str, default: float) -> float:
        """Return a numeric variable HASURA_GRAPHQL_…; `default` is the engine's own. Raises NotRead."""
        text = self.environment.get(f"HASURA_GRAPHQL_{name}", "")
        try:
            return float(text) if text else default
        except ValueError as error:
            reason = f"HASURA_GRAPHQL_{name} of the manifest is {text!r}, not a number"
            raise NotRead(reason) from error


def read_manifest(services: Services) -> Manifest:
    """Read how the engine is started, by the file that golive.yaml names as `engine_manifest`."""
    if not services.plan.engine_manifest:
        raise CommandFailed("engine_manifest of golive.yaml is not set")
    return read_manifest_file(Path(services.plan.engine_manifest))


def read_manifest_file(path: Path) -> Manifest:
    """Read the engine's part of a file. Raises CommandFailed."""
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text("utf-8")) if isinstance(each, dict)]
        for document in documents:
            if found := _from_kubernetes(document) or _from_compose(document):
                return found
    except (OSError, UnicodeError) as error:
        raise CommandFailed(f"{path} cannot be read: {file_reason(error)}") from error
    except (yaml.YAMLError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise CommandFailed(f"{path} is no Deployment and no compose file: {file_reason(error)}") from error
    raise CommandFailed(f"{path} has no container of the image {IMAGE}.")


def _from_kubernetes(document: Mapping[str, Any]) -> Manifest | None:
    if document.get("kind") not in ("Deployment", "StatefulSet"):
        return None
    pod = document["spec"]["template"]["spec"]
    for container in pod["containers"]:
        if IMAGE in container["image"]:
            variables = {each["name"]: str(each.get("value", "")) for each in container.get("env", [])}
            grace = float(pod.get("terminationGracePeriodSeconds", KUBERNETES_GRACE_SECONDS))
            replicas = int(document["spec"].get("replicas", 1))
            return Manifest(_tag(container["image"]), replicas, grace, variables)
    return None


def _from_compose(document: Mapping[str, Any]) -> Manifest | None:
    for service in (document.get("services") or {}).values():
        if IMAGE not in str(service.get("image", "")):
            continue
        given = service.get("environment") or {}
        if isinstance(given, list):
            given = dict(str(each).partition("=")[::2] for each in given)
        variables = {name: "" if value is None else str(value) for name, value in given.items()}
        replicas = int(((service.get("deploy") or {}).get("replicas")) or 1)
        grace = _seconds(str(service.get("stop_grace_period", DOCKER_GRACE_SECONDS)))
        return Manifest(_tag(service["image"]), replicas, grace, variables)
    return None


def _tag(image: str) -> str:
    found = re.search(r":(v?\d+\.\d+\.\d+)", image)
    return found[1] if found else ""


def _seconds(text: str) -> float:
    """Read a time of Docker Compose: 180s, 3m, 1m30s."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not parts:
        raise ValueError(text)
    return sum(float(number) * UNITS[unit] for number, unit in parts)
