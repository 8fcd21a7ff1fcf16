"""Probes that ask the edge's address, Prometheus, the folder of the snapshots, and the installed packages."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from leads.adapters.prometheus_api import PrometheusApi, PrometheusUnavailable
from leads.cli.golive.deploy.plan_file import PlanFile
from leads.cli.golive.judgement import Measurement, Outcome, Why, judge
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import Places, SourceDown, Sources, measure
from leads.cli.golive.precheck import engine_probes
from leads.cli.golive.precheck.link import Link
from leads.cli.golive.precheck.other_probes import (
    certificate_days,
    edge_answers,
    package_is_there,
    snapshot_hours,
)
from leads.cli.golive.probes import probes_of
from leads.cli.golive.records import Records
from sandbox.postgres.server import free_port
from tests.support.local_server import JsonHandler, serving


@pytest.fixture
def link(tmp_path: Path) -> Link:
    return Link(PlanFile(), "default", tmp_path)


@contextmanager
def tls_server(folder: Path, days: int) -> Iterator[tuple[str, Path]]:
    """Answer by TLS with a certificate that ends in `days`; yield the URL and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days, minutes=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}", path
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("days", [90, 13])
def test_the_days_of_a_certificate_are_counted(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    with tls_server(tmp_path, days) as (url, path):
        context = ssl.create_default_context(cafile=str(path))
        monkeypatch.setattr(ssl, "create_default_context", lambda: context)
        monkeypatch.setenv("PUBLIC_URL", url)
        found = certificate_days(link)
    assert found.value == pytest.approx(days, abs=0.1)
    (criterion,) = (each for each in load_criteria() if each.query == "certificate_days")
    judged = judge(criterion, found, datetime.now(UTC), "")
    assert judged.outcome is (Outcome.PASS if days > 14 else Outcome.FAIL)


def test_a_certificate_that_is_not_valid_counts_as_over(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls_server(tmp_path, 90) as (url, _):
        monkeypatch.setenv("PUBLIC_URL", url)
        found = certificate_days(link)
    assert found.value == 0
    assert "self-signed" in found.details


@pytest.mark.parametrize("probe", [certificate_days, edge_answers])
@pytest.mark.parametrize("url", ["", f"https://127.0.0.1:{free_port()}"], ids=["not set", "closed"])
def test_without_an_answer_the_public_url_tells_nothing(
    link: Link, monkeypatch: pytest.MonkeyPatch, probe: object, url: str
) -> None:
    monkeypatch.setenv("PUBLIC_URL", url)
    assert callable(probe)
    with pytest.raises(SourceDown, match="PUBLIC_URL"):
        probe(link)


@pytest.mark.parametrize(
    ("status", "text", "value"),
    [(200, b'{"status": "unknown_token"}', 1), (200, b'{"status": "received"}', 0), (404, b"no", 0)],
)
def test_only_the_edge_answers_as_the_edge(
    link: Link, monkeypatch: pytest.MonkeyPatch, status: int, text: bytes, value: int
) -> None:
    class Answer(JsonHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(status, text)

    with serving(Answer) as url:
        monkeypatch.setenv("PUBLIC_URL", url)
        assert edge_answers(link).value == value


@pytest.mark.parametrize(
    ("flags", "days"),
    [
        ({"storage.tsdb.retention.time": "45d"}, 45),
        ({"storage.tsdb.retention.time": "1w12h"}, 7.5),
        ({"storage.tsdb.retention": "15d"}, 15),
        ({"storage.tsdb.retention.time": "0s"}, None),
        ({}, None),
    ],
)
def test_the_retention_of_prometheus_is_its_flag(flags: dict[str, str], days: float | None) -> None:
    class Answer(JsonHandler):
        def do_GET(self) -> None:
            assert self.path == "/api/v1/status/flags"
            self.answer(200, json.dumps({"status": "success", "data": flags}).encode())

    with serving(Answer) as url, PrometheusApi(url) as prometheus:
        assert prometheus.retention_days() == days
    with (
        PrometheusApi(f"http://127.0.0.1:{free_port()}") as gone,
        pytest.raises(PrometheusUnavailable, match="does not answer"),
    ):
        gone.retention_days()


def test_only_an_unchanged_snapshot_has_an_age(link: Link, tmp_path: Path) -> None:
    assert snapshot_hours(link).value is None
    dump = tmp_path / "a.dump"
    dump.write_bytes(b"rows")
    entry = {
        "at": (datetime.now(UTC) - timedelta(hours=30)).isoformat(), "event": "snapshot", "when": "before",
        "step": "snapshot", "file": dump.name, "sha256": sha256(b"rows").hexdigest(),
    }  # fmt: skip
    (tmp_path / "deploy.jsonl").write_text(json.dumps(entry) + "\n")
    assert snapshot_hours(link).value == pytest.approx(30, abs=0.1)
    dump.write_bytes(b"other rows")
    assert snapshot_hours(link).value is None


def test_a_package_is_there_or_not() -> None:
    assert package_is_there("phonenumbers").value == 1
    assert package_is_there("no-such-package").value == 0


def asked_to_insert(link: Link, refusal: str) -> Measurement:
    """What the criterion engine-insert measures with an engine that says this of the INSERT."""
    engine = SimpleNamespace(run_sql=lambda sql, source, read_only=True: [["t" if read_only else refusal]])
    link.__dict__["deployment"] = SimpleNamespace(engine=engine)
    (criterion,) = (each for each in load_criteria() if each.id == "engine-insert")
    with Sources(Places(), Records(link.folder)) as sources:
        return measure(criterion, sources, (), datetime.now(UTC), None, probes_of(link))


def test_an_engine_that_may_not_take_the_role_of_the_handlers_tells_nothing(link: Link) -> None:
    assert asked_to_insert(link, "").value == 0
    assert asked_to_insert(link, "permission denied for table event_log").value == 1
    found = asked_to_insert(link, 'permission denied to set role "pancake_handlers"')
    assert (found.value, found.why) == (None, Why.SOURCE_DOWN)
    assert "grant it to the engine's role" in found.problem


@pytest.mark.parametrize(
    ("schedule", "is_near"),
    [("0 19 * * *", True), ("15 19 * * 1", True), ("46 18 * * *", True), ("16 19 * * *", False),
     ("0 * * * *", False), ("0 */1 * * *", False), ("*/5 19 * * *", True), ("0 2 * * *", False),
     ("0,30 19 * * *", True), ("*/30 19 * * *", True), ("0 1,19 * * *", True), ("0 18-20 * * *", True),
     ("30,40 19 * * *", False), ("20-40 18-19 * * *", False), ("50/5 18 * * 0", True), ("0 */2 * * *", False),
     ("5 1/6 * * *", True), ("@daily", False)],
)  # fmt: skip
def test_a_nightly_batch_is_near_two_in_vietnam(schedule: str, is_near: bool) -> None:
    assert engine_probes._is_near(schedule) is is_near
