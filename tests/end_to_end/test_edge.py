"""The real edge before the real handlers: policy from the database, bytes by either path, one identity."""

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Any

import psycopg
import pytest

from leads.adapters.secrets import KeyRing
from sandbox.cluster import Cluster
from sandbox.edge.nginx import NginxEdge, missing_packages
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
class Door:
    """A sandbox with the real edge that asks for its policy all the time, and a sender."""

    sandbox: Sandbox
    edge: NginxEdge
    sender: Sender

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement, committed."""
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> str:
        """Deliver with the sandbox's token; the status."""
        return self.sender.post(self.sandbox.keys.webhook_token, body, headers).status

    def rows(self) -> int:
        """Events stored so far."""
        return int(self.sql("SELECT count(*) FROM pancake_webhook_event")[0][0])

    def connect(self, token: str, signature: str, allowlist: str, ranges: Sequence[str] = ()) -> None:
        """Another connection, of a workspace of its own, with two webhook secrets; the edge knows it then."""
        ring = KeyRing.parse(self.sandbox.keys.encryption_keys)
        self.sql(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256, webhook_secret_encrypted,"
            " previous_webhook_secret_encrypted, signature_mode, allowlist_mode, allowed_ip_ranges)"
            " SELECT %s, 10000 + count(*), %s, %s, %s, %s, %s, %s::cidr[] FROM pancake_connection",
            token, sha256(token.encode()).digest(), ring.encrypt(CURRENT.decode(), "webhook_secret"),
            ring.encrypt(PREVIOUS.decode(), "webhook_secret"), signature, allowlist, list(ranges),
        )  # fmt: skip
        ((count,),) = self.sql("SELECT count(*) FROM pancake_connection")
        eventually(lambda: self.edge.health()["policy_connections"] == count)

    def stored(self, prefix: str) -> set[str]:
        """Ids of the stored records that begin so."""
        rows = self.sql(
            "SELECT record_id FROM pancake_webhook_event WHERE starts_with(record_id, %s)", prefix
        )
        return {record_id for (record_id,) in rows}


@pytest.fixture(scope="module")
def door(cluster: Cluster) -> Iterator[Door]:
    """The sandbox; the kill switch is on, so that only ingest is at work."""
    patient = {"EDGE_PATH_TIMEOUT_MS": "1600", "EDGE_POLICY_SECONDS": "0.2"}
    with Sandbox(cluster, edge_environment=patient) as sandbox:
        assert isinstance(sandbox.edge, NginxEdge)
        with Sender(sandbox.edge.port) as sender:
            door = Door(sandbox, sandbox.edge, sender)
            door.sql(
                "UPDATE app_setting SET app_settings ="
                " jsonb_set(app_settings, '{pancake_integration,kill_switch}', 'true')"
            )
            yield door


def bodies(count: int) -> list[bytes]:
    """Records and things that are none: unicode, escapes, huge numbers, duplicate keys, random bytes."""
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


def test_a_body_has_one_identity_by_whichever_path_it_comes(door: Door) -> None:
    """Through Hasura first, then straight to the handlers: each is recognised, so its hash is the same."""
    sent = bodies(1000)
    first = [door.post(body) for body in sent]
    assert set(first) == {"skipped_kill_switch", "dead_letter"}
    assert (door.edge.taken("hasura"), door.edge.taken("handlers")) == (1000, 0)
    kept_as_bytes = {
        bytes(raw) for (raw,) in door.sql("SELECT raw FROM pancake_webhook_event WHERE raw IS NOT NULL")
    }
    assert kept_as_bytes == {body for body, word in zip(sent, first, strict=True) if word == "dead_letter"}
    stored = door.rows()
    door.sandbox.hasura.stop()
    try:
        assert {door.post(body) for body in sent} == {"duplicate"}
    finally:
        door.sandbox.hasura.start()
        door.sandbox.hasura.wait_ready()
    assert (door.edge.taken("hasura"), door.edge.taken("handlers")) == (1000, 1000)
    assert door.rows() == stored == 1000


def test_the_modes_set_in_the_database_are_what_the_edge_enforces(door: Door) -> None:
    """Enforce, a rotation of the secret, and off again, without touching the edge."""
    ring = KeyRing.parse(door.sandbox.keys.encryption_keys)
    current = ring.encrypt(SECRET.decode(), "webhook_secret")
    door.sql(
        "UPDATE pancake_connection SET webhook_secret_encrypted = %s, signature_mode = 'enforce'", current
    )
    eventually(lambda: door.post(b'{"id":"x"}') == "timestamp_out_of_window")
    stored = door.rows()
    assert door.post(b'{"id":"y"}', signed(b"wrong", b'{"id":"y"}')) == "hmac_invalid"
    assert door.rows() == stored
    assert door.post(b'{"id":"z"}', signed(SECRET, b'{"id":"z"}')) == "skipped_kill_switch"
    fresh = ring.encrypt("fresh", "webhook_secret")
    door.sql(
        "UPDATE pancake_connection SET webhook_secret_encrypted = %s, previous_webhook_secret_encrypted = %s",
        fresh, current,
    )  # fmt: skip
    eventually(lambda: door.post(b'{"id":"z"}', signed(b"fresh", b'{"id":"z"}')) == "duplicate")
    assert door.post(b'{"id":"z"}', signed(SECRET, b'{"id":"z"}')) == "duplicate"
    door.sql("UPDATE pancake_connection SET signature_mode = 'off'")
    eventually(lambda: door.post(b'{"id":"z"}') == "duplicate")


def test_a_stranger_hears_unknown_token_and_nothing_is_stored(door: Door) -> None:
    """The handlers said so when asked."""
    stored = door.rows()
    assert door.sender.post("nobody", b'{"id":"s"}').body == b'{"status":"unknown_token"}'
    assert (door.rows(), door.edge.held("unknown")) == (stored, [])


def test_with_everything_away_leads_wait_on_disk_and_arrive(door: Door) -> None:
    """Hasura and the handlers stopped: spooled, then stored once each with the time they came at."""
    stored = door.rows()
    door.sandbox.hasura.stop()
    door.sandbox.handlers.stop()
    sent = [b'{"id":"away-%d","modified_on":"2026-05-14T02:35:56"}' % number for number in range(20)]
    assert {door.post(body) for body in sent} == {"spooled"}
    for service in (door.sandbox.hasura, door.sandbox.handlers):
        service.start()
        service.wait_ready()
    eventually(lambda: not door.edge.held(), seconds=30)
    assert door.rows() == stored + 20
    late = "SELECT count(*) FROM pancake_webhook_event WHERE arrived_at < created_at AND record_id LIKE %s"
    assert door.sql(late, "away-%") == [(20,)]


def test_what_is_stored_by_signature_timestamp_secret_and_mode(door: Door) -> None:
    """Each of the 48 deliveries has its exact answer; in the database stand those that were not refused."""
    for mode in MODES:
        door.connect(f"signed-{mode}", mode, "off")
    answers, wanted = {}, {}
    for mode, shift, signer in product(MODES, SHIFTS_SECONDS, SIGNERS):
        record = f"signed-{mode}{shift:+}-{signer}"
        body = json.dumps({"id": record}).encode()
        headers = signed(SIGNERS[signer] or CURRENT, body, at=time.time() + shift)
        if SIGNERS[signer] is None:
            del headers["X-Pancake-Signature"]
        answers[record] = door.sender.post(f"signed-{mode}", body, headers).status
        outcome = expected_outcome(mode, shift, signer)
        wanted[record] = "skipped_kill_switch" if outcome == "received" else outcome
    assert answers == wanted
    assert door.stored("signed-") == {
        record for record, outcome in wanted.items() if outcome == "skipped_kill_switch"
    }


def test_what_is_stored_by_allowlist_and_mode(door: Door) -> None:
    """Inside and outside of the ranges: only enforce refuses, and what it refuses is not in the database."""
    wanted = set()
    for mode in MODES:
        door.connect(f"listed-{mode}", "off", mode, ["127.0.0.8/30", "203.0.113.7/32"])
        for address in ("127.0.0.9", "127.0.0.12"):
            record = f"listed-{mode}-{address}"
            with Sender(door.edge.port, address) as sender:
                answer = sender.post(f"listed-{mode}", json.dumps({"id": record}).encode()).status
            refused = mode == "enforce" and address == "127.0.0.12"
            assert answer == ("ip_not_allowed" if refused else "skipped_kill_switch"), record
            wanted |= set() if refused else {record}
    assert door.stored("listed-") == wanted
