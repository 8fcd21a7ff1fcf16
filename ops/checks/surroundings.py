"""What is asked around the integration: how the engine is started, staging, public URL, Prometheus."""

import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from leads.services.redelivery import MAX_WAITING
from ops.checks.deployment import read_size
from ops.checks.engine import export, numbers_of, read_metadata, read_version
from ops.checks.model import Checks, Facts, Finding, Level, NotRead, Params, When, green, judged, red, unknown
from ops.checks.rights import CONNECTIONS_OF_HANDLERS
from ops.checks.services import Services
from ops.clients.hasura_admin import Engine
from ops.clients.plain_http import NoAnswer, ask
from ops.cron_schedule import HOURS, MINUTES, values_of
from ops.failures import CommandFailed, file_reason
from ops.metadata.pieces import CRON, differing
from ops.output import first

CHECKS = Checks()
OUR_NIGHTLY_MINUTE = 19 * 60
"""02:00 in Vietnam, by the clock of the engine, which is UTC."""
NEAR_MINUTES = 15
DEFAULT_POOL, DEFAULT_SHUTDOWN_SECONDS, DEFAULT_CONNECTIONS = 100.0, 60.0, 50.0
LEAKING_LOGS = {"http-log", "websocket-log", "query-log", "action-handler-log", "http-response-log"}
DEFAULT_LOG_TYPES = "startup,http-log,webhook-log,websocket-log,jwk-refresh-log"
REDACTIONS = ("EVENT_TRIGGER", "SCHEDULED_TRIGGER", "ACTION_HANDLER")
MAX_CONNECTION_SHARE, MAX_WAITING_SHARE, MIN_STOP_FACTOR = 0.8, 0.5, 3.0
MIN_CERTIFICATE_DAYS, MIN_RETENTION_DAYS = 14, 45
HEALTHY = "ok"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
UNKNOWN_TOKEN = "golive.precheck"  # noqa: S105 - of no connection
"""No token has a point: the edge counts this delivery neither as one of a stranger nor of a wrong URL."""
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
    return read_manifest_file(Path(services.need("engine_manifest")))


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


@CHECKS.add_direct(
    "db-connections", "Are there enough connections for engine and handlers?", needs="database",
    cure="Raise max_connections, or lower HASURA_GRAPHQL_PG_CONNECTIONS; "
        "then: leads golive precheck database",
    runbook="docs/runbook/go-live.md#connections-locks-memory",
)  # fmt: skip
def ask_connections(services: Services) -> Iterator[Finding]:
    manifest, most = read_manifest(services), read_size(services)["max_connections"]
    engine = manifest.number("PG_CONNECTIONS", DEFAULT_CONNECTIONS) * manifest.replicas
    handlers = CONNECTIONS_OF_HANDLERS * services.plan.handler_processes
    share = (engine + handlers) / most
    text = f"{engine:.0f} of the engine and {handlers} of the handlers are {share:.0%} of {most}"
    yield judged(share <= MAX_CONNECTION_SHARE, f"{text}; at most {MAX_CONNECTION_SHARE:.0%}")


@CHECKS.add(
    "downgrade", "Does the manifest name no older engine than runs?", When.CRITERION, read_version,
    read_manifest, needs="hasura",
    cure="Correct the image in engine_manifest, then: leads golive precheck engine",
    runbook="docs/runbook/rollback.md#tier-2-images",
)  # fmt: skip
def ask_downgrade(facts: Facts, params: Params) -> Iterator[Finding]:
    """An engine that is older than the one that ran refuses the catalog of the newer."""
    running, wanted = facts.get(read_version).version, facts.get(read_manifest).image
    if not wanted:
        yield unknown("the image of the manifest has no version as its tag")
    elif numbers_of(wanted) < numbers_of(running):
        yield red(f"{running} runs, and the manifest has {wanted}, which is older")
    else:
        yield green(f"{running} runs, the manifest has {wanted}")


@CHECKS.add_direct(
    "event-pool", "Do repeated events leave the engine room for new ones?",
    cure="Raise HASURA_GRAPHQL_EVENTS_HTTP_POOL_SIZE, then: leads golive precheck engine",
    runbook="docs/runbook/go-live.md#the-engine",
)  # fmt: skip
def ask_event_pool(services: Services) -> Iterator[Finding]:
    manifest = read_manifest(services)
    pool = manifest.number("EVENTS_HTTP_POOL_SIZE", DEFAULT_POOL) * manifest.replicas
    waiting = MAX_WAITING * services.plan.handler_processes
    text = f"{waiting} of {pool:.0f} deliveries at a time may be repeated ones"
    yield judged(waiting / pool <= MAX_WAITING_SHARE, f"{text}; at most {MAX_WAITING_SHARE:.0%}")


@CHECKS.add(
    "engine-stop", "Does the engine get time to end its deliveries?", When.CRITERION, read_manifest,
    cure="stop_grace_period or terminationGracePeriodSeconds 180; then: leads golive precheck engine",
    runbook="docs/runbook/go-live.md#the-engine",
)  # fmt: skip
def ask_engine_stop(facts: Facts, params: Params) -> Iterator[Finding]:
    manifest = facts.get(read_manifest)
    timeout = manifest.number("GRACEFUL_SHUTDOWN_TIMEOUT", DEFAULT_SHUTDOWN_SECONDS)
    grace = manifest.grace_seconds
    text = f"it gets {grace:.0f} s to stop, its time-out is {timeout:.0f} s"
    is_enough = timeout > 0 and grace / timeout >= MIN_STOP_FACTOR
    yield judged(is_enough, f"{text}; {MIN_STOP_FACTOR:.0f} time-outs are needed")


@CHECKS.add(
    "engine-logs", "Is the engine's log free of customers' data?", When.CRITERION, read_manifest,
    fine="by its settings it is",
    cure="Set what docs/runbook/install.md, step 3, lists, then: leads golive precheck engine",
    runbook="docs/runbook/go-live.md#the-engine",
)  # fmt: skip
def ask_engine_logs(facts: Facts, params: Params) -> Iterator[Finding]:
    variables = facts.get(read_manifest).environment
    types = variables.get("HASURA_GRAPHQL_ENABLED_LOG_TYPES") or DEFAULT_LOG_TYPES
    for name in map(str.strip, types.split(",")):
        if name in LEAKING_LOGS:
            yield red(f"{name} is on")
    for name in REDACTIONS:
        variable = f"HASURA_GRAPHQL_REDACT_{name}_LOGS"
        if variables.get(variable, "").lower() != "true":
            yield red(f"{variable} is not true")
    if variables.get("HASURA_GRAPHQL_DEV_MODE", "").lower() == "true":
        yield red("HASURA_GRAPHQL_DEV_MODE is true")


@CHECKS.add(
    "night-crons", "Does no cron of others run at 02:00 in Vietnam?", When.CRITERION, read_metadata,
    needs="metadata-read", fine="none is near", cure="Move theirs, then: leads golive precheck engine",
    runbook="docs/runbook/go-live.md#the-engine",
)  # fmt: skip
def ask_night_crons(facts: Facts, params: Params) -> Iterator[Finding]:
    metadata = facts.get(read_metadata)
    own = {name for kind, name in metadata.wanted("9b") if kind == CRON}
    for each in metadata.whole.get("cron_triggers", []):
        if each["name"] not in own and is_near(str(each["schedule"])):
            yield red(f"{each['name']} ({each['schedule']})", about=each["name"])


def is_near(schedule: str) -> bool:
    """Whether a schedule is due near that minute on some day; one of every hour is no nightly batch."""
    minute, hour, *_ = [*schedule.split(), "*", "*"]
    hours = set(values_of(hour, HOURS))
    if len(hours) == 24:
        return False
    due = {each * 60 + minutes for each in hours for minutes in values_of(minute, MINUTES)}
    distances = (abs(each - OUR_NIGHTLY_MINUTE) for each in due)
    return any(min(distance, 24 * 60 - distance) <= NEAR_MINUTES for distance in distances)


@CHECKS.add_direct(
    "staging", "Are the metadata as on staging?", needs="metadata-read", fine="they are as on staging",
    cure="leads metadata compare --with URL", runbook="docs/runbook/metadata.md#on-a-shared-engine",
)  # fmt: skip
def ask_staging(services: Services) -> Iterator[Finding]:
    """Name the pieces of metadata that differ between the engine and that of staging, of others too."""
    url, secret = services.need_all("staging_url", "HASURA_OTHER_ADMIN_SECRET")
    here = read_metadata(services).pieces
    with Engine(url, secret, timeout_seconds=services.request_seconds) as staging:
        there = export(staging, services.source, services.own).pieces
    if found := [f"{' '.join(key)} {difference}" for key, difference in differing(here, there).items()]:
        yield red(f"{len(found)} pieces differ: {first(found)}")


@CHECKS.add_direct(
    "public-url", "Does the edge answer at the public URL?",
    cure="Let PUBLIC_URL lead to deploy/nginx; on its machine: systemctl status pancake-edge",
    runbook="docs/runbook/edge.md#pancakeedgedown",
)  # fmt: skip
def ask_public_url(services: Services) -> Iterator[Finding]:
    """Deliver with a token of no connection."""
    url = f"{services.need('PUBLIC_URL').rstrip('/')}/api/pancake/record/{UNKNOWN_TOKEN}"
    try:
        answer = ask(url, body={"id": UNKNOWN_TOKEN}, timeout_seconds=services.request_seconds)
    except NoAnswer as error:
        raise CommandFailed(str(error).replace(url, "PUBLIC_URL")) from error
    told = answer.json.get("status") if isinstance(answer.json, dict) else None
    is_edge = answer.status == 200 and told == "unknown_token"
    yield judged(is_edge, f"it answers {answer.status}, {told or 'no answer of the edge'}")


@CHECKS.add_direct(
    "certificate", "Is the certificate of the public URL valid for two weeks?", When.STATUS,
    cure="Renew it, with its timer on the edge's machine; as root: certbot renew --cert-name pancake-edge; "
    "then: leads golive precheck edge",
    runbook="docs/runbook/go-live.md#packages-certificate-prometheus",
)  # fmt: skip
def ask_certificate(services: Services) -> Iterator[Finding]:
    parts = urlsplit(services.need("PUBLIC_URL"))
    if parts.scheme == "http" and parts.hostname in LOOPBACK:
        yield unknown("PUBLIC_URL is an address of this machine: there is no certificate")
        return
    if parts.scheme != "https" or not parts.hostname:
        yield red("PUBLIC_URL is not https")
        return
    context = ssl.create_default_context()
    address = (parts.hostname, parts.port or 443)
    try:
        with (
            socket.create_connection(address, services.request_seconds) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        yield red(f"it is not valid: {error.verify_message}")
        return
    except OSError as error:
        raise CommandFailed(f"PUBLIC_URL does not answer: {error}") from error
    days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86_400
    level = Level.GREEN if days >= MIN_CERTIFICATE_DAYS else Level.YELLOW if days > 1 else Level.RED
    yield Finding(level, f"it ends in {days:.0f} days; {MIN_CERTIFICATE_DAYS} are needed")


def read_alerts(services: Services) -> dict[str, str]:
    return services.prometheus.alerts()


@CHECKS.add(
    "alerts", "Has Prometheus loaded the alerts?", When.CRITERION, read_alerts, fine="all are loaded",
    cure="Load deploy/prometheus/*.rules.yml, reload Prometheus, then: leads golive precheck edge",
    runbook="docs/alerts.md#install",
)  # fmt: skip
def ask_alerts(facts: Facts, params: Params) -> Iterator[Finding]:
    """Name those of `alerts` that Prometheus has not loaded, or cannot evaluate."""
    loaded = facts.get(read_alerts)
    for name in params["alerts"].split():
        if (state := loaded.get(name, "missing")) != HEALTHY:
            yield red(f"{name}: {state}", about=name)


@CHECKS.add_direct(
    "retention", "Does Prometheus keep 45 days?",
    cure="--storage.tsdb.retention.time=45d or more; then: leads golive precheck edge",
    runbook="docs/runbook/go-live.md#packages-certificate-prometheus",
)  # fmt: skip
def ask_retention(services: Services) -> Iterator[Finding]:
    days = services.prometheus.retention_days()
    if days is None:
        yield unknown("Prometheus names no time of retention")
    else:
        yield judged(days >= MIN_RETENTION_DAYS, f"it keeps {days:g} days; {MIN_RETENTION_DAYS} are needed")


@CHECKS.add(
    "packages", "Is the package installed?", When.CRITERION,
    cure="Install the locked packages (scripts/lock), then: leads golive precheck metadata",
    runbook="docs/runbook/go-live.md#packages-certificate-prometheus",
)  # fmt: skip
def ask_package(facts: Facts, params: Params) -> Iterator[Finding]:
    """Ask for a `package` beside this program."""
    try:
        yield green(version(params["package"]))
    except PackageNotFoundError:
        yield red(f"{params['package']} is not installed")
