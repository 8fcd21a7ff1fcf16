"""GET /edge/policy: connections, modes and secrets, for the edge only."""

import base64
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from leads.adapters.secrets import KeyRing, Secret, SecretScope
from leads.services.connections import load_connections
from ops.daily.connection_secrets import seal, store_secret
from tests.support.handlers import HandlerHarness
from tests.support.settings import EDGE_SECRET, WEBHOOK_TOKEN

EDGE = {"X-Edge-Secret": EDGE_SECRET}


async def policy(harness: HandlerHarness) -> dict[str, Any]:
    """Return the policy that the edge gets."""
    response = await harness.client.get("/edge/policy", headers=EDGE)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


async def test_a_new_connection_has_one_token_no_checks_and_a_version_until_it_changes(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    """The edge writes a policy to disk only if its version is new. No log line has hashes or secrets."""
    first, second = await policy(harness), await policy(harness)
    (connection,) = first["connections"]
    assert connection == {
        "id": harness.connection_id,
        "token_sha256": [{"sha256": sha256(WEBHOOK_TOKEN.encode()).hexdigest(), "expires_at": None}],
        "signature_mode": "off",
        "allowlist_mode": "off",
        "allowed_ip_ranges": [],
        "webhook_secrets": [],
        "webhook_secrets_expire_at": [],
        "header_secrets": [],
        "header_secrets_expire_at": [],
        "header_name": "X-Pancake-Secret",
    }
    assert first["version"] == second["version"]
    assert '"connections": 1' in capture_logs[0]
    assert sha256(WEBHOOK_TOKEN.encode()).hexdigest() not in "".join(capture_logs)
    harness.sql("UPDATE pancake_connection SET allowlist_mode = 'monitor'")
    assert (await policy(harness))["version"] != first["version"]


async def test_secrets_are_opened_the_newest_first(harness: HandlerHarness, key_ring: KeyRing) -> None:
    """Two valid secrets of each kind during rotation; ranges and modes; the old token and its expiry."""
    expires = datetime.now(UTC) + timedelta(hours=24)
    harness.sql(
        "UPDATE pancake_connection SET webhook_secret_encrypted = %s, previous_webhook_secret_encrypted = %s,"
        " header_secret_encrypted = %s, signature_mode = 'enforce', allowlist_mode = 'monitor',"
        " allowed_ip_ranges = '{10.0.0.0/8,2001:db8::/32}', previous_token_sha256 = %s,"
        " previous_token_expires_at = %s, previous_webhook_secret_expires_at = %s",
        *(
            seal(key_ring, text, SecretScope("webhook_secret", harness.connection_id))
            for text in ("current", "previous")
        ),
        seal(key_ring, "bí mật", SecretScope("header_secret", harness.connection_id)),
        sha256(b"old").digest(),
        expires,
        expires,
    )
    (connection,) = (await policy(harness))["connections"]
    assert connection["webhook_secrets"] == [
        base64.b64encode(text).decode() for text in (b"current", b"previous")
    ]
    assert connection["header_secrets"] == [base64.b64encode("bí mật".encode()).decode()]
    assert connection["webhook_secrets_expire_at"] == [None, expires.isoformat()]
    assert connection["allowed_ip_ranges"] == ["10.0.0.0/8", "2001:db8::/32"]
    assert (connection["signature_mode"], connection["allowlist_mode"]) == ("enforce", "monitor")
    old = connection["token_sha256"][1]
    assert old["sha256"] == sha256(b"old").hexdigest()
    assert datetime.fromisoformat(old["expires_at"]) == expires


async def test_a_former_secret_is_left_out_after_its_end(harness: HandlerHarness, key_ring: KeyRing) -> None:
    """A rotation leaves it valid for 24 hours, to the minute."""
    kinds: tuple[Secret, ...] = ("webhook_secret", "header_secret")
    with psycopg.connect(harness.database_url, row_factory=dict_row) as db:
        for value in ("former", "current"):
            for kind in kinds:
                store_secret(
                    db, key_ring, SecretScope(kind, harness.connection_id), value, harness.clock.now()
                )

    async def listed() -> list[list[bytes]]:
        (connection,) = (await policy(harness))["connections"]
        return [[base64.b64decode(text) for text in connection[f"{kind}s"]] for kind in kinds]

    assert await listed() == [[b"current", b"former"]] * 2
    harness.clock.ahead += timedelta(hours=23, minutes=59)
    assert await listed() == [[b"current", b"former"]] * 2
    harness.clock.ahead += timedelta(minutes=2)
    assert await listed() == [[b"current"]] * 2


async def test_a_time_that_python_cannot_hold_takes_the_policy_from_no_connection(
    harness: HandlerHarness, key_ring: KeyRing
) -> None:
    """A person may type it by SQL."""
    for typed, read in (("infinity", 9999), ("-infinity", 2), ("20000-01-01", 9999), ("0044-03-15 BC", 2)):
        harness.sql(
            "UPDATE pancake_connection SET previous_token_sha256 = token_sha256,"
            " previous_token_expires_at = %s, poll_watermark = %s",
            *[typed] * 2,
        )
        (connection,) = (await policy(harness))["connections"]
        assert connection["token_sha256"][1]["expires_at"] == f"{read:04}-01-01T00:00:00+00:00"
        (used,) = await load_connections(harness.runtime.db, key_ring)
        assert used.watermark == datetime(read, 1, 1, tzinfo=UTC)


async def test_only_loopback_or_tls_is_accepted_and_no_answer_is_cached(harness: HandlerHarness) -> None:
    """The correct secret over plain HTTP from another machine is refused."""
    app = harness.client._transport.app  # type: ignore[attr-defined]
    elsewhere = httpx.ASGITransport(app=app, client=("10.1.2.3", 5000))
    for scheme, wanted in (("http", 401), ("https", 200)):
        async with httpx.AsyncClient(transport=elsewhere, base_url=f"{scheme}://handlers") as client:
            answer = await client.get("/edge/policy", headers=EDGE)
            assert (answer.status_code, answer.headers["Cache-Control"]) == (wanted, "no-store")


async def test_a_secret_that_cannot_be_opened_is_an_error(harness: HandlerHarness, key_ring: KeyRing) -> None:
    """An empty list would make the edge refuse every delivery; on an error it keeps its policy."""
    foreign = KeyRing({"other": bytes(range(32))})
    use, other_use = (
        SecretScope(kind, harness.connection_id) for kind in ("webhook_secret", "header_secret")
    )
    for ciphertext, reason in (
        (seal(foreign, "x", use), "key 'other' is not in the key ring"),
        (seal(key_ring, "x", other_use), "it was not sealed for this use"),
    ):
        harness.sql("UPDATE pancake_connection SET webhook_secret_encrypted = %s", ciphertext)
        response = await harness.client.get("/edge/policy", headers=EDGE)
        assert (response.status_code, response.json()["extensions"]["code"]) == (500, "secret_unreadable")
        assert reason in response.json()["message"]
