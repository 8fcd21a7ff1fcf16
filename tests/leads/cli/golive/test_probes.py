"""Probes of the edge's address, of Prometheus, of the engine's manifest, of snapshots and packages."""

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_httpserver import HTTPServer

from leads.adapters.prometheus_api import PrometheusApi, PrometheusUnavailable
from leads.cli.golive.deploy.plan_file import PlanFile
from leads.cli.golive.judgement import Measurement, Outcome, Why, judge
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import Places, SourceDown, Sources, measure
from leads.cli.golive.precheck import engine_probes, other_probes
from leads.cli.golive.precheck.link import Link
from leads.cli.golive.precheck.manifest import Manifest, read_manifest
from leads.cli.golive.precheck.other_probes import certificate_days, edge_answers
from leads.cli.golive.probes import probes_of
from leads.cli.golive.records import Records
from sandbox.postgres.server import free_port
from sandbox.stack.services import ROOT
from tests.support.golive_prometheus import RETENTION, fake_prometheus
from tests.support.golive_site import note_snapshot

CRITERIA = {each.id: each for each in load_criteria()}
CLOSED = f"127.0.0.1:{free_port()}"


@pytest.fixture
def link(tmp_path: Path) -> Link:
    return Link(PlanFile(engine_manifest=str(tmp_path / "hasura.yaml")), "default", tmp_path)


def measured(link: Link, name: str, places: Places | None = None) -> Measurement:
    """What a criterion measures by its probe."""
    with Sources(places or Places(), Records(link.folder)) as sources:
        return measure(CRITERIA[name], sources, (), datetime.now(UTC), None, probes_of(link))


def outcome(link: Link, name: str, places: Places | None = None) -> str:
    found = judge(CRITERIA[name], measured(link, name, places), datetime.now(UTC), "")
    return found.why or found.outcome


@contextmanager
def tls_server(folder: Path, days: int) -> Iterator[tuple[str, Path]]:
    """Answer by TLS with a certificate that ends in `days`; yield the URL and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days, minutes=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path, pem = folder / "certificate.pem", serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, *plain) + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with HTTPServer(host="localhost", ssl_context=context) as server:
        yield server.url_for(""), path


@pytest.mark.parametrize(("days", "expected"), [(90, Outcome.PASS), (13, Outcome.FAIL)])
def test_the_days_of_a_certificate_are_counted_and_one_that_is_not_valid_counts_as_over(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, expected: Outcome
) -> None:
    with tls_server(tmp_path, days) as (url, path):
        monkeypatch.setenv("PUBLIC_URL", url)
        not_valid = certificate_days(link)
        context = ssl.create_default_context(cafile=str(path))
        monkeypatch.setattr(ssl, "create_default_context", lambda: context)
        assert certificate_days(link).value == pytest.approx(days, abs=0.1)
        assert outcome(link, "E2-OPS-tls") == expected
    assert (not_valid.value, "self-signed" in not_valid.details) == (0, True)


@pytest.mark.parametrize("probe", [certificate_days, edge_answers])
@pytest.mark.parametrize("url", ["", f"https://{CLOSED}"], ids=["not set", "closed"])
def test_without_an_answer_the_public_url_tells_nothing(
    link: Link, monkeypatch: pytest.MonkeyPatch, probe: Callable[[Link], Measurement], url: str
) -> None:
    monkeypatch.setenv("PUBLIC_URL", url)
    with pytest.raises(SourceDown, match="PUBLIC_URL"):
        probe(link)


@pytest.mark.parametrize(
    ("status", "text", "value"),
    [(200, '{"status": "unknown_token"}', 1), (200, '{"status": "received"}', 0), (404, "no", 0)],
)
def test_only_the_edge_answers_as_the_edge(
    link: Link, monkeypatch: pytest.MonkeyPatch, httpserver: HTTPServer, status: int, text: str, value: int
) -> None:
    httpserver.expect_request(re.compile(".*"), method="POST").respond_with_data(text, status)
    monkeypatch.setenv("PUBLIC_URL", httpserver.url_for(""))
    assert edge_answers(link).value == value


@pytest.mark.parametrize(
    ("flags", "days"),
    [
        ({RETENTION: "45d"}, 45),
        ({RETENTION: "1w12h"}, 7.5),
        ({"storage.tsdb.retention": "15d"}, 15),
        ({RETENTION: "0s"}, None),
        ({}, None),
    ],
)
def test_the_retention_of_prometheus_is_its_flag(
    link: Link, flags: dict[str, str], days: float | None
) -> None:
    with fake_prometheus() as running:
        running.flags = flags
        with PrometheusApi(running.url) as prometheus:
            assert prometheus.retention_days() == days
        expected = Why.NO_DATA if days is None else Outcome.PASS if days > 30 else Outcome.FAIL
        assert outcome(link, "E7.7-9", Places(prometheus_url=running.url)) == expected
    with (
        PrometheusApi(f"http://{CLOSED}") as gone,
        pytest.raises(PrometheusUnavailable, match="does not answer"),
    ):
        gone.retention_days()


def test_only_an_unchanged_snapshot_has_an_age(link: Link) -> None:
    assert outcome(link, "database-snapshot") == Why.NO_DATA
    dump = note_snapshot(link.folder, 30)
    assert measured(link, "database-snapshot").value == pytest.approx(30, abs=0.1)
    assert outcome(link, "database-snapshot") == Outcome.FAIL
    dump.write_bytes(b"other rows")
    assert outcome(link, "database-snapshot") == Why.NO_DATA


@pytest.mark.parametrize("name", ["E2-BE-phone-library", "E2-BE-breaker-library"])
def test_a_package_is_there_or_not(link: Link, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert outcome(link, name) == Outcome.PASS
    monkeypatch.setattr(other_probes, "version", lambda package: version(f"no-such-{package}"))
    assert outcome(link, name) == Outcome.FAIL


def with_engine(link: Link, answer: str = "t") -> None:
    """Have the engine answer a question of SQL with this text, and be of the version that we want."""
    engine = SimpleNamespace(
        run_sql=lambda sql, source, read_only=True: [[answer]], version=lambda: "v2.50.6"
    )
    link.__dict__["deployment"] = SimpleNamespace(engine=engine)


def test_an_engine_that_may_not_take_the_role_of_the_handlers_tells_nothing(link: Link) -> None:
    with_engine(link, "")
    assert measured(link, "engine-insert").value == 0
    with_engine(link, "permission denied for table event_log")
    assert measured(link, "engine-insert").value == 1
    with_engine(link, 'permission denied to set role "pancake_handlers"')
    found = measured(link, "engine-insert")
    assert (found.value, found.why) == (None, Why.SOURCE_DOWN)
    assert "grant it to the engine's role" in found.problem


OF_MANIFEST = ("engine-pool", "engine-stop", "engine-logs", "engine-no-downgrade", "database-connections")


def set_variable(name: str, value: str) -> Callable[[Any], None]:
    """Set a variable of the engine's container."""

    def edit(pod: Any) -> None:
        (container,) = pod["containers"]
        others = [each for each in container["env"] if each["name"] != name]
        container["env"] = [*others, {"name": name, "value": value}]

    return edit


def set_image(pod: Any) -> None:
    pod["containers"][0]["image"] = "hasura/graphql-engine:v2.48.1"


@pytest.mark.parametrize(
    ("broken", "edit"),
    [
        ("", lambda pod: None),
        ("engine-pool", set_variable("HASURA_GRAPHQL_EVENTS_HTTP_POOL_SIZE", "20")),
        ("engine-stop", lambda pod: pod.update(terminationGracePeriodSeconds=30)),
        ("engine-logs", set_variable("HASURA_GRAPHQL_ENABLED_LOG_TYPES", "http-log")),
        ("engine-no-downgrade", set_image),
        ("database-connections", set_variable("HASURA_GRAPHQL_PG_CONNECTIONS", "900")),
    ],
)
def test_a_wrong_line_of_the_manifest_is_red_and_nothing_else(
    link: Link, database: str, broken: str, edit: Callable[[Any], None]
) -> None:
    documents = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/hasura.yaml").read_text("utf-8")))
    edit(documents[0]["spec"]["template"]["spec"])
    (link.folder / "hasura.yaml").write_text(yaml.safe_dump_all(documents))
    with_engine(link)
    found = {name: outcome(link, name, Places(database)) for name in OF_MANIFEST}
    assert {name for name, each in found.items() if each != Outcome.PASS} == {broken} - {""}
    assert found.get(broken, Outcome.FAIL) == Outcome.FAIL


def test_without_a_manifest_what_it_tells_is_inconclusive(link: Link, database: str) -> None:
    (link.folder / "hasura.yaml").write_text("services: {web: {image: nginx}}")
    with_engine(link)
    assert {outcome(link, name, Places(database)) for name in OF_MANIFEST} == {Why.SOURCE_DOWN}


def test_a_compose_file_tells_the_same_as_a_deployment(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(
        "services: {hasura: {image: 'hasura/graphql-engine:v2.50.6', stop_grace_period: 3m,"
        " environment: [HASURA_GRAPHQL_DEV_MODE=false]}}"
    )
    assert read_manifest(path) == Manifest("v2.50.6", 1, 180.0, {"HASURA_GRAPHQL_DEV_MODE": "false"})


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
