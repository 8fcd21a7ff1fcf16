"""The breakages of proofs/incidents/breakages.py, and those that need a fake."""

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import jwt
import pytest

from ops.checks import database
from ops.checks.handlers import RESTARTS, UP_SINCE
from ops.clients import plain_http
from ops.clients.hasura_admin import Engine
from proofs.incidents.breakages import BREAKAGES as REAL
from proofs.incidents.breakages import Breakage
from proofs.incidents.faults import Break, Installation, Variables
from sandbox.stack.connection import CONNECTION_ID
from tests.support.edge.harness import write_certificate
from tests.support.fake_services import FakeServer, edge_status, fake_prometheus


def edge_with(**status: Any) -> Break:
    """Ask another edge, whose internal listener has this status."""

    @contextmanager
    def changed(system: Installation) -> Iterator[Variables]:
        with edge_status(**status) as url:
            yield {"EDGE_STATUS_URL": url}

    return changed


@contextmanager
def refusing_allowlist(system: Installation) -> Iterator[Variables]:
    """The edge has refused deliveries by an enforced allowlist; the sandbox's own come in."""
    refused = {CONNECTION_ID: {"deliveries": 7, "outcome": "ip_not_allowed", "seconds": 3.0}}
    ranges = "allowed_ip_ranges = '{127.0.0.0/8}'"
    system.sql(f"UPDATE pancake_connection SET allowlist_mode = 'enforce', {ranges}")
    try:
        with edge_status(refused=refused) as url:
            yield {"EDGE_STATUS_URL": url}
    finally:
        system.sql("UPDATE pancake_connection SET allowlist_mode = 'off', allowed_ip_ranges = '{}'")


@contextmanager
def restarting_handlers(system: Installation) -> Iterator[Variables]:
    """A Prometheus that has seen the handlers start again and again."""
    with fake_prometheus() as prometheus:
        prometheus.values |= {RESTARTS: ["14"], UP_SINCE: []}
        yield {"PROMETHEUS_URL": prometheus.url}


@contextmanager
def fast_clock(system: Installation) -> Iterator[Variables]:
    """The clock of the machine that asks is 10 minutes ahead."""

    class Fast(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(minutes=10)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_http, "datetime", Fast)
        patch.setattr(database, "datetime", Fast)
        yield {}


@contextmanager
def ending_certificate(system: Installation) -> Iterator[Variables]:
    """A public URL whose certificate ends in five days."""
    of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        certificate = Path(folder) / "fullchain.pem"
        write_certificate(Path(folder), "localhost", days=5)
        of_server.load_cert_chain(certificate, certificate.with_name("privkey.pem"))
        trusting = ssl.create_default_context(cafile=str(certificate))
        patch.setattr(ssl, "create_default_context", lambda: trusting)
        with FakeServer("localhost", of_server) as server:
            yield {"PUBLIC_URL": server.url_for("")}


@contextmanager
def ending_token(system: Installation) -> Iterator[Variables]:
    """A token of the handlers that ends in three days."""
    keys = system.sandbox.keys
    claims = jwt.decode(keys.token("pancake_service"), options={"verify_signature": False})
    end = datetime.now(UTC) + timedelta(days=3, hours=1)
    yield {"HASURA_SERVICE_TOKEN": jwt.encode(claims | {"exp": end.timestamp()}, keys.jwt_key, "HS256")}


def unauthorized_calls(engine: Engine, name: str, most: int) -> list[dict[str, Any]]:
    return [{"status": 401, "created_at": datetime.now(UTC).isoformat()}]


def engine_method(name: str, method: Callable[..., Any]) -> Break:
    @contextmanager
    def replaced(system: Installation) -> Iterator[Variables]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Engine, name, method)
            yield {}

    return replaced


def export_without_a_cron_of_staging() -> Callable[[Engine], Any]:
    """The engine that is asked first is our own."""
    export, asked = Engine.export, []

    def exported(engine: Engine) -> tuple[dict[str, Any], int]:
        asked.append(engine)
        metadata, version = export(engine)
        if engine is asked[0]:
            return metadata, version
        return metadata | {"cron_triggers": metadata["cron_triggers"][1:]}, version

    return exported


ENDS_WITH_COMMAND = re.compile(
    r"(?:^|[:;]\s(?:then )?)"
    r"(?:(?:leads|hasura|systemctl|docker compose|tail|df|psql|timedatectl) [^;:]*|pancake-handlers"
    r"|printf '[\s\S]*)$"
)
"""Of a piece of advice that ends with a command that a person can copy."""


_AFTER = [each.name for each in REAL].index("the edge is away") + 1
BREAKAGES = (
    *REAL[:_AFTER],
    Breakage(
        "the spool of the edge grows", edge_with(spooled=640, skipped="hasura"), "spool",
        "640 deliveries wait.*hasura", "EdgeSpoolStuck EdgeSpoolFilling",
        person="correct HASURA_URL of the edge",
    ),
    Breakage(
        "the disk of the edge is full", edge_with(spooled=4, spool_writable=False), "edge",
        "cannot be written: .*Pancake is answered 503", "EdgeSpoolUnwritable EdgeShed",
        person="The administrator of its machine makes room there",
    ),
    Breakage(
        "the resolver of the edge is wrong", edge_with(skipped="hasura handlers"), "spool",
        "it does not reach hasura and handlers",
        "EdgeSpoolStuck", person="or the resolver in http.conf",
    ),
    Breakage(
        "the edge has no new policy", edge_with(policy_age_seconds=400), "edge-policy", "400 s old",
        "EdgePolicyStale", person="Check EDGE_SECRET",
    ),
    Breakage(
        "Pancake has another URL", edge_with(unknown_tokens=3, unknown_token_seconds=0.1), "edge-tokens",
        "refused 3 deliveries .* none of Diva sandbox came since", "WebhookSilent",
        person="enter it in Pancake",
    ),
    Breakage(
        "the allowlist refuses Pancake", refusing_allowlist, "webhook",
        "their address is not in its allowlist: 7 in 30 min, the last 3 s ago, and none came since",
        "ConnectionSilent WebhookSilent",
    ),
    Breakage(
        "the engine has another `HANDLER_SECRET`", engine_method("cron_invocations", unauthorized_calls),
        "calls", "it has another HANDLER_SECRET", "HandlerSecretDiffers EngineEventsFailed",
        person="Give Hasura and the handlers the same HANDLER_SECRET",
    ),
    Breakage(
        "the handlers end each minute", restarting_handlers, "restarts", "restarted 14 times",
        "HandlersRestart", person="Their log says why they end",
    ),
    Breakage(
        "the clock of this machine is wrong", fast_clock, "clocks", "this machine is 600 s ahead",
        "ClockAhead", person="Synchronize the clock of this machine",
    ),
    Breakage(
        "the token of the handlers ends soon", ending_token, "token", "ends in 3 days", "TokenEnds",
        person="restart the handlers with it",
    ),
    Breakage(
        "the token of the edge has ended", edge_with(spooled=3, skipped="hasura", token_days=-1),
        "edge-jwt", "HASURA_EDGE_TOKEN has ended", "TokenEnds", person="restart the edge with it",
    ),
    Breakage(
        "the certificate ends soon", ending_certificate, "certificate", "ends in 5 days", "CertificateEnds",
        person="Renew it",
    ),
    *REAL[_AFTER:],
    Breakage(
        "staging differs", engine_method("export", export_without_a_cron_of_staging()),
        criteria="staging-metadata",
    ),
    Breakage(
        "a late engine", engine_method("version", lambda _: "v2.51.0"),
        criteria="engine-version engine-no-downgrade",
    ),
    Breakage("an old engine", engine_method("version", lambda _: "v2.50.5"), criteria="engine-version"),
)  # fmt: skip
"""Those with a check in the order of the rows on the pages of alerts."""
