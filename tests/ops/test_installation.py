"""`pancake-handlers` and what sets an installation up: `leads config`, `leads token`, `leads alert test`.

A token is accepted by an engine of the same configuration, for its role alone. An alert goes to a real
Alertmanager, with our routes and receivers.
"""

import hmac
import json
import socket
import ssl
import threading
import time
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import Result

from leads.adapters.graphql import read_end
from leads.serve import MAX_CONNECTIONS, SHUTDOWN_SECONDS
from ops.clients.monitoring import FAILED, REQUESTS
from ops.clients.plain_http import NoAnswer, ask, tls_context
from ops.daily.alert import judge
from ops.daily.token import make_token
from ops.settings import PLAIN_VARIABLES, VARIABLES
from sandbox.monitoring.rules import ALERTMANAGER, load
from sandbox.postgres.database import handlers_url
from sandbox.postgres.server import free_port
from sandbox.processes import Processes, Service
from sandbox.serving import find_value, scrape
from sandbox.stack.hasura import start_engine
from tests.support.edge.harness import write_certificate
from tests.support.fake_services import FakeServer
from tests.support.monitoring import RunningAlertmanager, needs_monitoring, running_alertmanager
from tests.support.operators import leads
from tests.support.serving import COMPLETE, PATHS, call, command, serving, status
from tests.support.settings import WEBHOOK_TOKEN_SHA256
from tests.support.waiting import eventually

# --- pancake-handlers, leads config show

PASSWORD = "password-of-the-test"
SECRETS = {
    "ENCRYPTION_KEYS": f"k1:{'A' * 43}=",
    "HASURA_ADMIN_SECRET": "admin-secret-of-the-test",
    "HANDLER_SECRET": "handler-secret-of-the-test-32-characters",
    "HANDLER_SECRET_PREVIOUS": "previous-secret-of-the-test-32-characters",
    "HASURA_SERVICE_TOKEN": "eyJ.token.of-the-test",
}
ENVIRONMENT = {
    "DATABASE_URL": f"postgresql://diva:{PASSWORD}@127.0.0.1:5432/diva?sslpassword={PASSWORD}",
    "HASURA_URL": f"http://user:{PASSWORD}@127.0.0.1:8080",
    "LEADS_ENV_FILE_NAMES": "HASURA_URL HANDLER_SECRET",
    **SECRETS,
}


def test_every_problem_of_the_environment_is_named_at_once(
    processes: Processes, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for name, value in (("ENCRYPTION_KEYS", ""), ("BIND", "8000x"), ("OPS_BIND", "9146")):
        with subtests.test(name=name, value=value):
            process = command(processes, tmp_path, **{name: value})
            output, errors = process.communicate(timeout=30)
            assert (process.returncode, output) == (2, "")
            wrong = f"{name} is not an address and a port: '{value}'" if value else f"{name} is not set"
            assert wrong in errors
            assert "DATABASE_URL is not set" in errors
    result = alert("alerts")
    assert (result.exit_code, "is not an http or https URL" in result.stderr) == (2, True)


def test_it_serves_from_any_folder_until_sigterm_with_a_cap_of_connections(
    processes: Processes, tmp_path: Path
) -> None:
    """app.py is found beside leads/, wherever the command is started. Its lines are JSON, and counted."""
    port = free_port()
    with serving(processes, tmp_path, port) as printed:
        assert (status(port, "/metrics"), status(port, "/readyz")) == (200, 503)
        with ExitStack() as idle:
            for _ in range(MAX_CONNECTIONS):
                idle.enter_context(socket.create_connection(("127.0.0.1", port)))
            assert status(port, "/healthz") == 200
        samples = scrape(f"http://127.0.0.1:{port}")
    output, errors = printed
    assert "uvicorn.error" in {json.loads(line)["logger"] for line in output.splitlines()}
    assert errors == ""
    assert (find_value(samples, 'pancake_log_messages_total{level="info"}') or 0) > 0


@pytest.mark.parametrize("believed", ["", "127.0.0.1"])
def test_forwarded_headers_are_believed_of_named_proxies_only(
    processes: Processes, tmp_path: Path, believed: str
) -> None:
    """A caller of a public address may not send its secret in clear text."""
    port = free_port()
    with serving(processes, tmp_path, port, FORWARDED_ALLOW_IPS=believed):
        answer = call(port, "/events/process_record", headers={"X-Forwarded-For": "203.0.113.7"})
    assert answer == ((403, "clear_text") if believed else (400, "bad_request"))


def test_readiness_and_metrics_are_on_the_ops_port_only(processes: Processes, tmp_path: Path) -> None:
    port, ops_port = free_port(), free_port()
    with serving(processes, tmp_path, port, OPS_BIND=f"127.0.0.1:{ops_port}"):
        public, ops = ([status(each, path) for path in PATHS] for each in (port, ops_port))
    assert public == [200, 404, 404]
    assert ops == [200, 503, 200]


@contextmanager
def relay(url: str) -> Iterator[tuple[str, threading.Event]]:
    """The same database through a relay, which passes nothing on once the event is set."""
    parts = conninfo_to_dict(url)
    there = (str(parts["host"]), int(str(parts["port"])))
    hangs, sockets = threading.Event(), [socket.create_server(("127.0.0.1", 0))]

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if hangs.is_set():
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                pair = (sockets[0].accept()[0], socket.create_connection(there))
                sockets.extend(pair)
                for ends in (pair, pair[::-1]):
                    threading.Thread(target=copy, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield make_conninfo(url, host="127.0.0.1", port=sockets[0].getsockname()[1]), hangs
    finally:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.mark.serial
@pytest.mark.slow("stops the handlers while the database hangs")
@pytest.mark.own_database
def test_a_stop_with_a_database_that_hangs_answers_every_request_in_time(
    processes: Processes, database: str, connection_id: str, tmp_path: Path
) -> None:
    port, trigger = free_port(), "pancake_webhook_event_status_update"
    raw, digest = b64encode(b'{"id": "r-1"}').decode(), WEBHOOK_TOKEN_SHA256
    calls = [
        partial(call, port, "/actions/ingest_record", action={"name": "pancake_ingest_record"},
                session_variables={}, input={"token_sha256": digest, "raw": raw}),
        partial(call, port, "/events/process_record", id="e-1", trigger={"name": trigger},
                event={"op": "INSERT", "data": {"new": {"id": 1}}}),
        partial(call, port, "/cron/retry_failed", id="c-1", name="pancake_retry_failed",
                scheduled_time="2026-03-04T05:06:07Z"),
    ]  # fmt: skip
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        url, hangs = stack.enter_context(relay(handlers_url(database)))
        process = command(processes, tmp_path, **COMPLETE | {"DATABASE_URL": url}, BIND=f"127.0.0.1:{port}")
        eventually(lambda: status(port, "/readyz") == 200)
        hangs.set()
        answers = [threads.submit(each) for each in calls]
        time.sleep(1)  # until they wait for the database
        started = time.monotonic()
        process.terminate()
        output, errors = process.communicate(timeout=90)
        assert time.monotonic() - started < SHUTDOWN_SECONDS
        # The cron gives up its own session before the stop, and so does a call that waits for a connection.
        found = [each.result() for each in answers]
        assert {status for status, _ in found} == {503}
        assert "stopping" in {code for _, code in found} <= {"stopping", "database_unavailable"}
        assert errors == ""
        assert "Traceback" not in output


def show(*options: str, **variables: str) -> Result:
    unset = dict.fromkeys([*VARIABLES, *PLAIN_VARIABLES], "")
    return leads("config", "show", *options, **unset | ENVIRONMENT | variables)


def shown(**variables: str) -> dict[str, dict[str, Any]]:
    result = show("--json", **variables)
    return {each["name"]: each for each in json.loads(result.stdout)["variables"]}


def test_no_secret_and_no_password_is_shown() -> None:
    for output in (show().output, show("--json").output):
        for secret in (PASSWORD, *SECRETS.values()):
            assert secret not in output


def test_each_variable_says_where_it_is_from_and_an_invalid_one_is_named() -> None:
    found = shown()
    assert found["DATABASE_URL"] == {
        "name": "DATABASE_URL", "from": "environment", "value": "postgresql://diva:…@127.0.0.1:5432/diva",
    }  # fmt: skip
    for name, place, value in (
        ("HASURA_URL", ".env", "http://user:…@127.0.0.1:8080"),
        ("HANDLER_SECRET", ".env", "set"),
        ("PUBLIC_URL", "-", "not set"),
        ("PANCAKE_API_HOSTS", "default", "crm.pancake.vn"),
    ):
        assert (found[name]["from"], found[name]["value"]) == (place, value)
    assert found.keys() >= VARIABLES.keys() | PLAIN_VARIABLES.keys()
    assert shown(HANDLERS_URL=f"{PASSWORD}@host")["HANDLERS_URL"]["value"] == "set, and not a URL"
    result = show("--json", HASURA_URL="ftp://hasura")
    assert result.exit_code == 1
    assert "HASURA_URL is not an http or https URL" in json.loads(result.stdout)["problems"][0]
    assert show().exit_code == 0


# --- leads token

StartEngine = Callable[[dict[str, Any]], Service]
ADMIN_SECRET = "an-admin-secret"
CLAIMS = {"x-hasura-default-role": "crm_admin", "x-hasura-allowed-roles": ["crm_admin"]}
PEM = serialization.Encoding.PEM
PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = PRIVATE.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
KEY = "a-key-of-thirty-two-characters-or-more"


def token(configuration: Any, *arguments: str) -> Result:
    value = configuration if isinstance(configuration, str) else json.dumps(configuration)
    return leads("token", *arguments, HASURA_GRAPHQL_JWT_SECRET=value, COLUMNS="200")


def test_a_token_takes_the_place_of_the_one_before_in_its_file(tmp_path: Path) -> None:
    file = tmp_path / "handlers.env"
    file.write_text("HASURA_URL=http://hasura\nHASURA_SERVICE_TOKEN=a.b.c\nEDGE_SECRET=s\n")
    file.chmod(0o640)
    configuration = {"type": "HS256", "key": KEY}
    done = token(configuration, "pancake_service", "--into", str(file))
    assert (done.exit_code, done.stdout) == (0, "")
    assert "handlers.env has it. Restart the handlers." in done.stderr
    first, (name, signed), last = (line.split("=", 1) for line in file.read_text().splitlines())
    assert (first[0], name, last) == ("HASURA_URL", "HASURA_SERVICE_TOKEN", ["EDGE_SECRET", "s"])
    assert read_end(signed) == jwt.decode(signed, KEY, ["HS256"])["exp"]
    assert file.stat().st_mode & 0o777 == 0o640
    before = file.read_bytes()
    refused = token(configuration, "pancake_edge", "--into", str(file))
    assert (refused.exit_code, file.read_bytes()) == (2, before)
    assert "has 0 lines HASURA_EDGE_TOKEN=" in refused.stderr
    assert token(configuration, "pancake_edge", "--into", str(tmp_path / "none")).exit_code == 2


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "e30.e30.x", "e30.bnVsbA.x", "e30.eyJleHAiOiAieCJ9.x"])
def test_a_token_that_does_not_say_its_end_has_none(token: str) -> None:
    assert read_end(token) == 0


@pytest.fixture(scope="module")
def engine_with(module_database: str) -> Iterator[StartEngine]:
    """Starts an engine with a JWT configuration, once for each configuration."""
    started: dict[str, Service] = {}
    with Processes() as processes:

        def start(configuration: dict[str, Any]) -> Service:
            secret = json.dumps(configuration)
            if secret not in started:
                variables = {"ADMIN_SECRET": ADMIN_SECRET, "JWT_SECRET": secret}
                environment = {f"HASURA_GRAPHQL_{name}": value for name, value in variables.items()}
                started[secret] = start_engine(processes, module_database, environment=environment)
            return started[secret]

        yield start


def refusal_of(engine: Service, token: str, role: str = "") -> str:
    """The code with which an engine refuses a token, or to let it act as a role; empty if it does not."""
    headers = {"authorization": f"Bearer {token}"} | ({"x-hasura-role": role} if role else {})
    asked = httpx.post(f"{engine.url}/v1/graphql", json={"query": "{ __typename }"}, headers=headers)
    (error,) = asked.json().get("errors", [{"extensions": {"code": ""}}])
    return str(error["extensions"]["code"])


def is_for(role: str, engine: Service, token: str) -> bool:
    """Whether an engine lets a token act as its role, and as no other."""
    found = [refusal_of(engine, token, wanted) for wanted in ("", role, "admin")]
    return found == ["", "", "access-denied"]


def test_a_token_is_for_its_role_and_90_days(engine_with: StartEngine, subtests: pytest.Subtests) -> None:
    claims = {"claims_namespace": "n", "claims_format": "stringified_json", "audience": ["diva", "other"]}
    named = {"audience": "diva", "issuer": "https://diva.internal"}
    options: tuple[dict[str, Any], ...] = ({}, claims, named)
    for role, more in product(("pancake_service", "pancake_edge"), options):
        with subtests.test(role, more=more):
            configuration = {"type": "HS256", "key": KEY, **more}
            printed = token(configuration, role)
            assert printed.exit_code == 0, printed.output
            assert is_for(role, engine_with(configuration), printed.stdout.strip())
            payload = jwt.decode(printed.stdout.strip(), options={"verify_signature": False})
            assert payload["exp"] - payload["iat"] == 90 * 86400
            assert 0 <= datetime.now(UTC).timestamp() - payload["iat"] < 60
            ends = datetime.fromtimestamp(payload["exp"], UTC)
            assert f"It ends at {ends:%Y-%m-%d %H:%M} UTC" in printed.stderr


def test_a_token_is_refused_after_its_end_and_the_next_one_overlaps_it(engine_with: StartEngine) -> None:
    configuration = {"type": "HS256", "key": KEY}
    now = datetime.now(UTC)
    ended, current, following = (
        make_token("pancake_edge", configuration, now - timedelta(days=90), now + timedelta(days=days))
        for days in (-1, 10, 90)
    )
    engine = engine_with(configuration)
    assert is_for("pancake_edge", engine, current)
    assert is_for("pancake_edge", engine, following)
    assert refusal_of(engine, ended) == "invalid-jwt"


def test_a_token_is_valid_for_1_to_90_days_and_for_a_role_of_ours() -> None:
    configuration = {"type": "HS256", "key": KEY}
    for wrong in (("pancake_edge", "--days", "0"), ("pancake_edge", "--days", "91"), ("admin",)):
        assert token(configuration, *wrong).exit_code == 2
    printed = json.loads(token(configuration, "pancake_edge", "--days", "7", "--json").stdout)
    left = datetime.fromisoformat(printed["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)


def test_an_engine_with_a_public_key_needs_the_private_one(engine_with: StartEngine, tmp_path: Path) -> None:
    file, plain = tmp_path / "key.pem", serialization.NoEncryption()
    file.write_bytes(PRIVATE.private_bytes(PEM, serialization.PrivateFormat.PKCS8, plain))
    configuration = {"type": "Ed25519", "key": PUBLIC.decode()}
    refused = token(configuration, "pancake_edge")
    printed = token(configuration, "pancake_edge", "--private-key", str(file))
    assert (refused.exit_code, "--private-key" in refused.output) == (2, True)
    assert is_for("pancake_edge", engine_with(configuration), printed.stdout.strip())


def test_the_public_key_of_an_engine_signs_no_token(engine_with: StartEngine) -> None:
    """As the key of HS256, which is a secret in other configurations."""
    engine = engine_with({"type": "Ed25519", "key": PUBLIC.decode()})
    for algorithm in ("HS256", "EdDSA", "none"):
        parts = ({"alg": algorithm}, {"https://hasura.io/jwt/claims": CLAIMS})
        text = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
        signature = urlsafe_b64encode(hmac.digest(PUBLIC, text, "sha256")).rstrip(b"=")
        assert refusal_of(engine, (text + b"." + signature).decode()) == "invalid-jwt", algorithm


def test_what_cannot_sign_is_said(subtests: pytest.Subtests) -> None:
    for configuration, said in (
        ("", "is not set"),
        ("[]", "not a JSON object"),
        ({"jwk_url": "https://keys.internal"}, "ask the issuer of this engine's tokens"),
        ({"type": "HS256", "key": KEY, "claims_map": {}}, "claims_map"),
        ({"type": "HS256", "key": KEY[:31]}, "shorter than 32 characters"),
    ):
        with subtests.test(configuration=configuration, said=said):
            refused = token(configuration, "pancake_service")
            assert (refused.exit_code, said in refused.output) == (2, True), refused.output
            assert KEY[:31] not in refused.output


# --- a private authority


def test_services_of_a_private_authority_are_believed_with_ssl_cert_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_certificate(tmp_path, "localhost")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    with FakeServer("localhost", served) as server:
        server.expect_request("/healthz").respond_with_json({"status": "ok"})
        url = f"https://localhost:{server.port}/healthz"
        tls_context.cache_clear()
        with pytest.raises(NoAnswer, match="certificate verify failed"):
            ask(url, timeout_seconds=5)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "fullchain.pem"))
        tls_context.cache_clear()
        assert ask(url, timeout_seconds=5).json == {"status": "ok"}
    tls_context.cache_clear()


# --- leads alert test

TIMEOUT = "20"


@pytest.fixture(scope="module")
def alertmanager() -> Iterator[RunningAlertmanager]:
    with running_alertmanager(factor=300) as running:
        yield running


def alert(url: str, *arguments: str) -> Result:
    with mock.patch("ops.daily.alert.POLL_SECONDS", 0.05):
        return leads("alert", "test", *arguments, ALERTMANAGER_URL=url)


@needs_monitoring
def test_it_names_the_receivers_of_the_alert_and_ends_it(alertmanager: RunningAlertmanager) -> None:
    for severity, receivers in (("warning", ["team_channel"]), ("critical", ["pager", "team_channel"])):
        result = alert(alertmanager.url, "--severity", severity, "--timeout", TIMEOUT, "--json")
        assert result.exit_code == 0, result.output
        document = json.loads(result.stdout)
        assert document["arrived"]
        assert [each["receiver"] for each in document["deliveries"]] == receivers
        assert {each["result"] for each in document["deliveries"]} == {"accepted"}
        got = [each for each in alertmanager.inbox.received() if each.labels == document["labels"]]
        assert {each.receiver for each in got if each.status == "firing"} == set(receivers)
    result = alert(alertmanager.url, "--timeout", TIMEOUT)
    assert result.exit_code == 0, result.output
    assert result.stdout == "team_channel: webhook accepted it\n"
    assert "The alert arrived after" in result.stderr
    assert alertmanager.inbox.wait(lambda inbox: "PancakeAlertTest" not in inbox.firing(), 20)


@needs_monitoring
def test_what_keeps_the_alert_from_a_receiver_is_named(subtests: pytest.Subtests) -> None:
    late = {"route": {"receiver": "team_channel", "group_wait": "1m"}, "inhibit_rules": []}
    silent = {"receivers": [{"name": name} for name in ("pager", "team_channel", "heartbeat")]}
    refused = "pager: webhook did not accept it\nteam_channel: webhook accepted it\n"
    waiting = "team_channel: webhook was not sent it yet\n"
    faults: tuple[tuple[dict[str, Any], str, str, str], ...] = (
        ({"refuses": "pager"}, "--severity critical --timeout 2", refused, "401 or 403 is a key"),
        ({"changes": late}, "--timeout 1", waiting, "group_wait of the route is longer"),
        ({"changes": silent}, "--timeout 20", "", "sends nothing: team_channel"),
    )
    for faulty, options, printed, helps in faults:
        with subtests.test(helps), running_alertmanager(**faulty) as running:
            result = alert(running.url, *options.split())
            assert (result.exit_code, result.stdout) == (1, printed)
            assert helps in " ".join(result.stderr.split())


@needs_monitoring
def test_a_second_test_does_not_wait_for_the_group_of_the_first() -> None:
    group_by = load(ALERTMANAGER)["route"]["group_by"]
    route = {"receiver": "team_channel", "group_by": group_by, "group_wait": "1s", "group_interval": "1h"}
    with running_alertmanager(changes={"route": route, "inhibit_rules": []}) as running:
        for _ in range(2):
            result = alert(running.url, "--timeout", "10")
            assert result.exit_code == 0, result.output


@needs_monitoring
def test_a_silence_is_named(alertmanager: RunningAlertmanager) -> None:
    """The last one with this Alertmanager: the silence stays."""
    alertmanager.silence("PancakeAlertTest")
    result = alert(alertmanager.url, "--timeout", TIMEOUT)
    assert (result.exit_code, "A silence keeps the alert back" in result.stderr) == (1, True)


def test_each_integration_needs_a_request_that_was_accepted(subtests: pytest.Subtests) -> None:
    kinds = {"pager": Counter(pagerduty=1), "team_channel": Counter(slack=1, email=2)}
    slack, email = (REQUESTS, ("slack", "")), (REQUESTS, ("email", ""))
    before = Counter({slack: 1, email: 5})
    cases = ((7, 0, "accepted"), (6, 0, "waiting"), (7, 1, "refused"), (10, 3, "accepted"))
    for emails, failed, result in cases:
        with subtests.test(emails=emails, failed=failed):
            after = Counter({slack: 2, email: emails, (FAILED, ("email", "")): failed})
            found = [each["result"] for each in judge(["team_channel"], kinds, before, after)]
            assert found == ["accepted", result]
