"""The real edge with the real handlers: policy from the database, both paths, one identity; an erasure."""

import json
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from leads.adapters.secrets import KeyRing, SecretScope
from ops.daily.connection_secrets import seal
from sandbox.edge import NginxEdge
from sandbox.postgres.database import HANDLERS_LOGIN, LOGINS
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT
from sandbox.stack.connection import CONNECTION_ID
from sandbox.stack.stack import Sandbox
from tests.support.edge.harness import BUDGET_MAX_FAILURES
from tests.support.edge.surroundings import Sender, signed
from tests.support.end_to_end import log_lines, needs_edge, query
from tests.support.handlers import DatabaseRows
from tests.support.leads import LATER, body
from tests.support.postgres import need_pg_dump, run_program
from tests.support.programs import run
from tests.support.stored_rows import BYSTANDER, PERSON, WRITTEN, found_in, read_files
from tests.support.waiting import eventually

SECRET = b"secret of the connection"
pytestmark = needs_edge


@dataclass
class System(DatabaseRows):
    """A sandbox whose edge reloads its policy every 0.2 s, and a sender."""

    sandbox: Sandbox
    edge: NginxEdge
    sender: Sender

    def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        return query(self.sandbox.database_url, statement, params)

    def post(self, content: bytes, headers: dict[str, str] | None = None) -> str:
        """Deliver with the sandbox's token and return the status."""
        return self.sender.post(self.sandbox.keys.webhook_token, content, headers).status

    def stop_services(self) -> None:
        self.sandbox.hasura.stop()
        self.sandbox.handlers.stop()

    def start_services(self) -> None:
        services = (self.sandbox.hasura, self.sandbox.handlers)
        for service in services:
            service.start()
        for service in services:
            service.wait_ready()


@pytest.fixture(scope="module")
def system(cluster: Cluster) -> Iterator[System]:
    """A sandbox with the kill switch on, so that deliveries are stored and not processed."""
    patient = {"EDGE_PATH_TIMEOUT_MS": "1600", "EDGE_POLICY_SECONDS": "0.2"}
    with Sandbox(cluster, edge_environment=patient) as sandbox:
        assert isinstance(sandbox.edge, NginxEdge)
        with Sender(sandbox.edge.port) as sender:
            system = System(sandbox, sandbox.edge, sender)
            system.change_settings(kill_switch=True)
            yield system


COUNT = 200


def bodies(count: int) -> list[bytes]:
    """Return valid and invalid bodies: unicode, escapes, huge numbers, duplicate keys, random bytes."""
    source = random.Random(5)
    made: list[bytes] = []
    for number in range(count):
        name = "".join(chr(source.choice([65, 0xE1, 0x1EA5, 0x1F600, 0x2028])) for _ in range(12))
        record = {
            "id": f"door-{number}", "name": name, "modified_on": "2026-05-14T02:35:56", "n": 2**64 + number,
        }  # fmt: skip
        kinds = (
            json.dumps(record, ensure_ascii=False).encode(),
            json.dumps(record).replace("A", "\\u0041\\/").encode(),
            b'{"id":"twice-%d","a":1,"a":2,"x":1e%d}' % (number, source.randrange(400)),
            source.randbytes(source.randrange(1, 300)),
        )
        made.append(kinds[number % len(kinds)])
    return made


def test_a_body_has_the_same_identity_by_either_path(system: System) -> None:
    """First through Hasura, then directly to the handlers: every body is a duplicate."""
    sent = bodies(COUNT)
    first = [system.post(body) for body in sent]
    assert set(first) == {"skipped_kill_switch", "dead_letter"}
    assert (system.edge.taken("hasura"), system.edge.taken("handlers")) == (COUNT, 0)
    kept_as_bytes = {
        bytes(row["raw"]) for row in system.sql("SELECT raw FROM pancake_webhook_event WHERE raw IS NOT NULL")
    }
    assert kept_as_bytes == {body for body, word in zip(sent, first, strict=True) if word == "dead_letter"}
    stored = system.count("pancake_webhook_event")
    system.sandbox.hasura.stop()
    try:
        assert {system.post(body) for body in sent} == {"duplicate"}
    finally:
        system.sandbox.hasura.start()
        system.sandbox.hasura.wait_ready()
    assert (system.edge.taken("hasura"), system.edge.taken("handlers")) == (COUNT, COUNT)
    assert system.count("pancake_webhook_event") == stored == COUNT


@pytest.mark.test_case("TC-017")
def test_the_edge_enforces_the_modes_set_in_the_database(system: System) -> None:
    """Enforce, rotate the secret and switch off again, without a change at the edge; then address ranges.

    tests/edge/test_policy.py has every combination.
    """
    ring = KeyRing.parse(system.sandbox.keys.encryption_keys)
    use = SecretScope("webhook_secret", CONNECTION_ID)
    current = seal(ring, SECRET.decode(), use)
    # Without the header secret of the sandbox, which would be demanded too.
    system.sql(
        "UPDATE pancake_connection SET webhook_secret_encrypted = %s, header_secret_encrypted = NULL,"
        " signature_mode = 'enforce'",
        current,
    )
    eventually(lambda: system.post(b'{"id":"x"}') == "timestamp_out_of_window")
    stored = system.count("pancake_webhook_event")
    assert system.post(b'{"id":"y"}', signed(b"wrong", b'{"id":"y"}')) == "hmac_invalid"
    assert system.count("pancake_webhook_event") == stored
    assert system.post(b'{"id":"z"}', signed(SECRET, b'{"id":"z"}')) == "skipped_kill_switch"
    fresh = seal(ring, "fresh", use)
    system.sql(
        "UPDATE pancake_connection SET webhook_secret_encrypted = %s, previous_webhook_secret_encrypted = %s,"
        " previous_webhook_secret_expires_at = now() + '1 day'",
        fresh, current,
    )  # fmt: skip
    eventually(lambda: system.post(b'{"id":"z"}', signed(b"fresh", b'{"id":"z"}')) == "duplicate")
    assert system.post(b'{"id":"z"}', signed(SECRET, b'{"id":"z"}')) == "duplicate"
    ranges = "allowlist_mode = 'enforce', allowed_ip_ranges = '{127.0.0.8/30,203.0.113.7/32}'"
    system.sql(f"UPDATE pancake_connection SET signature_mode = 'off', {ranges}")
    token = system.sandbox.keys.webhook_token
    with Sender(system.edge.port, "127.0.0.9") as inside, Sender(system.edge.port, "127.0.0.12") as outside:
        eventually(lambda: outside.post(token, b'{"id":"outside"}').status == "ip_not_allowed")
        assert inside.post(token, b'{"id":"inside"}').status == "skipped_kill_switch"
    assert system.count("pancake_webhook_event") == stored + 2
    system.sql("UPDATE pancake_connection SET allowlist_mode = 'off'")
    eventually(lambda: system.post(b'{"id":"z"}') == "duplicate")


@pytest.mark.test_case("TC-014-006")
def test_leads_are_spooled_while_hasura_and_handlers_are_down_and_stored_later(system: System) -> None:
    """Each spooled delivery is stored once, with the time of its arrival; its lines name its record."""
    stored = system.count("pancake_webhook_event")
    system.stop_services()
    ids = [f"aaaaaaaa-0000-4000-8000-{number:012}" for number in range(20)]
    sent = [b'{"id":"%s","modified_on":"2026-05-14T02:35:56"}' % record_id.encode() for record_id in ids]
    assert {system.post(content) for content in sent} == {"spooled"}
    system.start_services()
    eventually(lambda: not system.edge.held(), seconds=30)
    assert system.count("pancake_webhook_event") == stored + 20
    late = "SELECT id FROM pancake_webhook_event WHERE arrived_at < created_at AND record_id = ANY(%s)"
    stored_ids = {row["id"] for row in system.sql(late, ids)}
    assert len(stored_ids) == 20
    log = (system.sandbox.home / "handlers.log").read_text()
    for record_id in ids:
        (at_edge,) = log_lines(system.edge.access_log(), record_id=record_id)
        assert (at_edge["outcome"], at_edge["event_id"]) == ("spooled", "")
        of_handlers = log_lines(log, record_id=record_id, route="/actions/ingest_record")
        assert stored_ids >= {line["event_id"] for line in of_handlers} != set()


DENIED = "127.0.0.4"
HELD = PERSON | {"id": "held"}
SPOOLED = PERSON | {"id": "spooled", "modified_on": LATER}


@pytest.mark.slow("it stops and starts all services, and dumps the database")
def test_nothing_of_an_erased_customer_is_left_in_dump_files_and_logs(system: System) -> None:
    database = system.sandbox.database_url
    need_pg_dump(database)
    log_start = log_statements(system)
    others = deliver_everywhere(system)
    assert [len(system.edge.held(folder)) for folder in ("spool", "quarantine")] == [1, len(others) + 1]
    in_ticket = "28 3822 9999"
    assert found_in([run_program(database, "pg_dump")]) == {*WRITTEN, in_ticket}
    assert found_in(files(system)) >= {"Bích Hạnh", "090.511.1222", "hanh.tran"}

    printed = erase(system)

    report = json.loads(printed)
    assert (report["counts"]["deliveries"], report["counts"]["events"]) == (2, 4)
    assert report["counts"]["engine_logs"] > 0
    (account,) = report["diva_accounts"]
    # What the command says that Diva has to erase.
    system.sql("UPDATE account SET display_name = NULL, phone_number = NULL WHERE id = %s", account)
    assert left(system, log_start, printed) == set()
    assert (system.edge.held("spool"), system.edge.held("quarantine")) == ([], others)

    system.start_services()
    # The edge tries a path that failed only now and then, and delivers what it kept meanwhile.
    eventually(lambda: system.post(body(BYSTANDER)) == "duplicate")
    eventually(lambda: not system.edge.held("spool"))
    answers = [system.post(body(lead)) for lead in (PERSON, HELD, SPOOLED)]
    assert answers == ["duplicate", "duplicate", "dead_letter"]
    assert left(system, log_start) == set()
    bystander = system.one("SELECT * FROM pancake_webhook_event WHERE record_id = 'bystander'")
    assert (bystander["status"], bystander["payload"] is None) == ("processed", False)


def log_statements(system: System) -> int:
    """From now on log every statement, in new sessions; return the length of the server's log before."""
    database = sql.Identifier(system.sandbox.database)
    with psycopg.connect(system.sandbox.database_url, autocommit=True) as db:
        db.execute(sql.SQL("ALTER DATABASE {} SET log_min_duration_statement = 0").format(database))
        for login in LOGINS:
            for setting in ("log_parameter_max_length = 0", "log_error_verbosity = terse"):
                of_login = sql.SQL("ALTER ROLE {} IN DATABASE {} SET ").format(
                    sql.Identifier(login), database
                )
                db.execute(of_login + sql.SQL(setting))
    cluster = system.sandbox.cluster
    log_start = len(cluster.log.read_text(errors="replace")) if cluster.is_embedded else 0
    system.stop_services()
    system.start_services()
    return log_start


def deliver_everywhere(system: System) -> list[Path]:
    """Deliver the customer's leads so that each store of the integration holds one, and a bystander's.

    Return the quarantined deliveries that are not the customer's.
    """
    system.change_settings(kill_switch=False)
    for content in (body(BYSTANDER), body(PERSON), "not JSON: Bích Hạnh 0905 111 222".encode()):
        assert system.post(content) in ("received", "dead_letter")
    eventually(lambda: is_processed(system))
    later = PERSON | {"modified_on": LATER, "phone_number": "+84 905 111 222"}
    assert system.post(body(later)) == "received"
    eventually(lambda: is_processed(system))
    system.change_settings(kill_switch=True)
    assert system.post(body(HELD)) == "skipped_kill_switch"
    system.change_settings(kill_switch=False)
    others = quarantine(system, body(PERSON | {"id": "quarantined"}))
    system.stop_services()
    assert system.post(body(SPOOLED)) == "spooled"
    return others


def is_processed(system: System) -> bool:
    waiting = "SELECT FROM pancake_webhook_event WHERE status IN ('received', 'ingested')"
    return system.sql(waiting) == []


def quarantine(system: System, content: bytes) -> list[Path]:
    """A denied sender gets 429 until the budget of failures is spent; then its deliveries are quarantined."""
    limits = {"rate": 999, "burst": 999, "deny": [DENIED]}
    system.edge.limits_file.write_text(json.dumps(limits))
    system.edge.limits_file.chmod(0o644)
    eventually(lambda: {system.edge.metric("pancake_edge_rate_limit{}") for _ in range(20)} == {999.0})
    with Sender(system.edge.port, DENIED) as denied:

        def post(content: bytes) -> str:
            return denied.post(system.sandbox.keys.webhook_token, content).status

        answers = [post(b"{}") for _ in range(BUDGET_MAX_FAILURES + 1)]
        assert (set(answers), answers[-1]) == ({"denied", "quarantined"}, "quarantined")
        others = system.edge.held("quarantine")
        assert post(content) == "quarantined"
    return others


def erase(system: System) -> str:
    """Erase by the phone, as an operator does; return what the command printed."""
    environment = os.environ | system.sandbox.environment() | {"PYTHONPATH": str(ROOT)}
    words = ("erase", "--phone", "0905111222", "--edge", "--yes", "--json")
    done = run(sys.executable, "-m", "ops", *words, cwd=system.sandbox.home, env=environment)
    return done.stdout + done.stderr


def files(system: System) -> list[str]:
    """The files and logs of all services, with the edge's deliveries opened."""
    folders = (system.sandbox.home, system.edge.directory)
    return [text for folder in folders for text in read_files(folder, system.edge.state_keys)]


def left(system: System, log_start: int, *printed: str) -> set[str]:
    """What is left of the customer in the dump, files, logs and what was printed."""
    texts = [run_program(system.sandbox.database_url, "pg_dump"), *files(system), *printed]
    if system.sandbox.cluster.is_embedded:  # else the server's log is not of this run
        logged = system.sandbox.cluster.log.read_text(errors="replace")[log_start:]
        assert f"{HANDLERS_LOGIN} LOG:" in logged
        assert "pancake_erase_events" in logged
        texts.append(logged)
    return found_in(texts)
