"""The real edge with the real handlers: policy from the database, both paths, one identity."""

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from leads.adapters.secrets import KeyRing
from leads.services.sealed_secrets import Use, seal
from sandbox.edge.nginx import NginxEdge
from sandbox.edge.packages import missing_packages
from sandbox.postgres.server import Cluster
from sandbox.stack.connection import CONNECTION_ID
from sandbox.stack.stack import Sandbox
from tests.support.edge.proofs import CURRENT, MODES, PREVIOUS, SHIFTS_SECONDS, SIGNERS, expected_outcome
from tests.support.edge.sender import Sender, signed
from tests.support.waiting import eventually

SECRET = b"secret of the connection"
pytestmark = pytest.mark.skipif(
    bool(missing_packages()),
    reason=f"the real edge needs Debian's {', '.join(missing_packages())}: apt-get install them to run these",
)


@dataclass
class EdgeHarness:
    """A sandbox whose edge reloads its policy every 0.2 s, and a sender."""

    sandbox: Sandbox
    edge: NginxEdge
    sender: Sender

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement, commit it and return its rows."""
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> str:
        """Deliver with the sandbox's token and return the status."""
        return self.sender.post(self.sandbox.keys.webhook_token, body, headers).status

    def rows(self) -> int:
        """Count the stored events."""
        return int(self.sql("SELECT count(*) FROM pancake_webhook_event")[0][0])

    def connect(self, token: str, signature: str, allowlist: str, ranges: Sequence[str] = ()) -> None:
        """Insert a connection with two webhook secrets and wait until the edge knows it."""
        ring = KeyRing.parse(self.sandbox.keys.encryption_keys)
        use = Use("webhook_secret", str(uuid4()))
        self.sql(
            "INSERT INTO pancake_connection (id, name, workspace_id, token_sha256, webhook_secret_encrypted,"
            " previous_webhook_secret_encrypted, previous_webhook_secret_expires_at, signature_mode,"
            " allowlist_mode, allowed_ip_ranges)"
            " SELECT %s, %s, 10000 + count(*), %s, %s, %s, now() + '1 day', %s, %s, %s::cidr[]"
            " FROM pancake_connection",
            use.connection_id, token, sha256(token.encode()).digest(), seal(ring, CURRENT.decode(), use),
            seal(ring, PREVIOUS.decode(), use), signature, allowlist, list(ranges),
        )  # fmt: skip
        ((count,),) = self.sql("SELECT count(*) FROM pancake_connection")
        eventually(lambda: self.edge.health()["policy_connections"] == count)

    def stored(self, prefix: str) -> set[str]:
        """Return the ids of the stored records with this prefix."""
        rows = self.sql(
            "SELECT record_id FROM pancake_webhook_event WHERE starts_with(record_id, %s)", prefix
        )
        return {record_id for (record_id,) in rows}


@pytest.fixture(scope="module")
def harness(cluster: Cluster) -> Iterator[EdgeHarness]:
    """A sandbox with the kill switch on, so that deliveries are stored and not processed."""
    patient = {"EDGE_PATH_TIMEOUT_MS": "1600", "EDGE_POLICY_SECONDS": "0.2"}
    with Sandbox(cluster, edge_environment=patient) as sandbox:
        assert isinstance(sandbox.edge, NginxEdge)
        with Sender(sandbox.edge.port) as sender:
            harness = EdgeHarness(sandbox, sandbox.edge, sender)
            harness.sql(
                "UPDATE app_setting SET app_settings ="
                " jsonb_set(app_settings, '{pancake_integration,kill_switch}', 'true')"
            )
            yield harness


def bodies(count: int) -> list[bytes]:
    """Return valid and invalid bodies: unicode, escapes, huge numbers, duplicate keys, random bytes."""
    source = random.Random(5)
    made: list[bytes] = []
    for number in range(count):
        name = "".join(chr(source.choice([65, 0xE1, 0x1EA5, 0x1F600, 0x2028])) for _ in range(12))
        record = {
            "id": f"door-{number}",
            "name": name,
            "modified_on": "2026-05-14T02:35:56",
            "n": 2**64 + number,
        }
        kinds = (
            json.dumps(record, ensure_ascii=False).encode(),
            json.dumps(record).replace("A", "\\u0041\\/").encode(),
            b'{"id":"twice-%d","a":1,"a":2,"x":1e%d}' % (number, source.randrange(400)),
            source.randbytes(source.randrange(1, 300)),
        )
        made.append(kinds[number % len(kinds)])
    return made


def test_a_body_has_the_same_identity_by_either_path(harness: EdgeHarness) -> None:
    """First through Hasura, then directly to the handlers: every body is a duplicate."""
    sent = bodies(1000)
    first = [harness.post(body) for body in sent]
    assert set(first) == {"skipped_kill_switch", "dead_letter"}
    assert (harness.edge.taken("hasura"), harness.edge.taken("handlers")) == (1000, 0)
    kept_as_bytes = {
        bytes(raw) for (raw,) in harness.sql("SELECT raw FROM pancake_webhook_event WHERE raw IS NOT NULL")
    }
    assert kept_as_bytes == {body for body, word in zip(sent, first, strict=True) if word == "dead_letter"}
    stored = harness.rows()
    harness.sandbox.hasura.stop()
    try:
        assert {harness.post(body) for body in sent} == {"duplicate"}
    finally:
        harness.sandbox.hasura.start()
        harness.sandbox.hasura.wait_ready()
    assert (harness.edge.taken("hasura"), harness.edge.taken("handlers")) == (1000, 1000)
    assert harness.rows() == stored == 1000


def test_the_edge_enforces_the_modes_set_in_the_database(harness: EdgeHarness) -> None:
    """Enforce, rotate the secret and switch off again, without a change at the edge."""
    ring = KeyRing.parse(harness.sandbox.keys.encryption_keys)
    use = Use("webhook_secret", CONNECTION_ID)
    current = seal(ring, SECRET.decode(), use)
    # Without the header secret of the sandbox, which would be demanded too.
    harness.sql(
        "UPDATE pancake_connection SET webhook_secret_encrypted = %s, header_secret_encrypted = NULL,"
        " signature_mode = 'enforce'",
        current,
    )
    eventually(lambda: harness.post(b'{"id":"x"}') == "timestamp_out_of_window")
    stored = harness.rows()
    assert harness.post(b'{"id":"y"}', signed(b"wrong", b'{"id":"y"}')) == "hmac_invalid"
    assert harness.rows() == stored
    assert harness.post(b'{"id":"z"}', signed(SECRET, b'{"id":"z"}')) == "skipped_kill_switch"
    fresh = seal(ring, "fresh", use)
    harness.sql(
        "UPDATE pancake_connection SET webhook_secret_encrypted = %s, previous_webhook_secret_encrypted = %s,"
        " previous_webhook_secret_expires_at = now() + '1 day'",
        fresh, current,
    )  # fmt: skip
    eventually(lambda: harness.post(b'{"id":"z"}', signed(b"fresh", b'{"id":"z"}')) == "duplicate")
    assert harness.post(b'{"id":"z"}', signed(SECRET, b'{"id":"z"}')) == "duplicate"
    harness.sql("UPDATE pancake_connection SET signature_mode = 'off'")
    eventually(lambda: harness.post(b'{"id":"z"}') == "duplicate")


def test_an_unknown_token_is_answered_and_nothing_is_stored(harness: EdgeHarness) -> None:
    """The handlers answer that the token is unknown."""
    stored = harness.rows()
    assert harness.sender.post("nobody", b'{"id":"s"}').body == b'{"status":"unknown_token"}'
    assert (harness.rows(), harness.edge.held("unknown")) == (stored, [])


@pytest.mark.test_case("TC-014-006")
def test_leads_are_spooled_while_hasura_and_handlers_are_down_and_stored_later(harness: EdgeHarness) -> None:
    """Each spooled delivery is stored once, with the time at which it arrived."""
    stored = harness.rows()
    harness.sandbox.hasura.stop()
    harness.sandbox.handlers.stop()
    sent = [b'{"id":"away-%d","modified_on":"2026-05-14T02:35:56"}' % number for number in range(20)]
    assert {harness.post(body) for body in sent} == {"spooled"}
    for service in (harness.sandbox.hasura, harness.sandbox.handlers):
        service.start()
        service.wait_ready()
    eventually(lambda: not harness.edge.held(), seconds=30)
    assert harness.rows() == stored + 20
    late = "SELECT count(*) FROM pancake_webhook_event WHERE arrived_at < created_at AND record_id LIKE %s"
    assert harness.sql(late, "away-%") == [(20,)]


@pytest.mark.test_case("TC-017")
def test_what_is_stored_by_signature_timestamp_secret_and_mode(harness: EdgeHarness) -> None:
    """Each of the 48 deliveries has its exact answer; exactly those that were not refused are stored."""
    for mode in MODES:
        harness.connect(f"signed-{mode}", mode, "off")
    answers, wanted = {}, {}
    for mode, shift, signer in product(MODES, SHIFTS_SECONDS, SIGNERS):
        record = f"signed-{mode}{shift:+}-{signer}"
        body = json.dumps({"id": record}).encode()
        headers = signed(SIGNERS[signer] or CURRENT, body, at=time.time() + shift)
        if SIGNERS[signer] is None:
            del headers["X-Pancake-Signature"]
        answers[record] = harness.sender.post(f"signed-{mode}", body, headers).status
        outcome = expected_outcome(mode, shift, signer)
        wanted[record] = "skipped_kill_switch" if outcome == "received" else outcome
    assert answers == wanted
    assert harness.stored("signed-") == {
        record for record, outcome in wanted.items() if outcome == "skipped_kill_switch"
    }


@pytest.mark.test_case("TC-017")
def test_what_is_stored_by_allowlist_and_mode(harness: EdgeHarness) -> None:
    """Inside and outside of the ranges: only enforce refuses, and refused deliveries are not stored."""
    wanted = set()
    for mode in MODES:
        harness.connect(f"listed-{mode}", "off", mode, ["127.0.0.8/30", "203.0.113.7/32"])
        for address in ("127.0.0.9", "127.0.0.12"):
            record = f"listed-{mode}-{address}"
            with Sender(harness.edge.port, address) as sender:
                answer = sender.post(f"listed-{mode}", json.dumps({"id": record}).encode()).status
            refused = mode == "enforce" and address == "127.0.0.12"
            assert answer == ("ip_not_allowed" if refused else "skipped_kill_switch"), record
            wanted |= set() if refused else {record}
    assert harness.stored("listed-") == wanted
