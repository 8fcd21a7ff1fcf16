"""GET /edge/policy: everything the edge must know, for the edge alone."""

import base64
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import pytest

from leads.adapters.secrets import KeyRing
from tests.support.handlers import HandlerHarness
from tests.support.settings import EDGE_SECRET, HANDLER_SECRET, WEBHOOK_TOKEN

EDGE = {"X-Edge-Secret": EDGE_SECRET}


async def policy(harness: HandlerHarness) -> dict[str, Any]:
    """The policy as the edge gets it."""
    response = await harness.client.get("/edge/policy", headers=EDGE)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


async def test_a_fresh_connection_has_one_token_and_demands_nothing(harness: HandlerHarness) -> None:
    """Hash of the token, modes off, no secrets."""
    (connection,) = (await policy(harness))["connections"]
    assert connection == {
        "id": harness.connection_id,
        "token_sha256": [{"sha256": sha256(WEBHOOK_TOKEN.encode()).hexdigest(), "expires_at": None}],
        "signature_mode": "off",
        "allowlist_mode": "off",
        "allowed_ip_ranges": [],
        "webhook_secrets": [],
        "header_secrets": [],
        "header_name": "X-Pancake-Secret",
    }


async def test_secrets_come_decrypted_current_first(harness: HandlerHarness, key_ring: KeyRing) -> None:
    """Two valid secrets during rotation, of each kind; ranges and modes as set; the old token and its end."""
    expires = datetime.now(UTC) + timedelta(hours=24)
    harness.sql(
        "UPDATE pancake_connection SET webhook_secret_encrypted = %s, previous_webhook_secret_encrypted = %s,"
        " header_secret_encrypted = %s, signature_mode = 'enforce', allowlist_mode = 'monitor',"
        " allowed_ip_ranges = '{10.0.0.0/8,2001:db8::/32}', previous_token_sha256 = %s,"
        " previous_token_expires_at = %s",
        *(key_ring.encrypt(text, "webhook_secret") for text in ("current", "previous")),
        key_ring.encrypt("bí mật", "header_secret"),
        sha256(b"old").digest(),
        expires,
    )
    (connection,) = (await policy(harness))["connections"]
    assert connection["webhook_secrets"] == [
        base64.b64encode(text).decode() for text in (b"current", b"previous")
    ]
    assert connection["header_secrets"] == [base64.b64encode("bí mật".encode()).decode()]
    assert connection["allowed_ip_ranges"] == ["10.0.0.0/8", "2001:db8::/32"]
    assert (connection["signature_mode"], connection["allowlist_mode"]) == ("enforce", "monitor")
    old = connection["token_sha256"][1]
    assert old["sha256"] == sha256(b"old").hexdigest()
    assert datetime.fromisoformat(old["expires_at"]) == expires


async def test_the_version_changes_with_a_connection_and_only_then(harness: HandlerHarness) -> None:
    """The edge writes to disk only what is new."""
    first, second = await policy(harness), await policy(harness)
    assert first["version"] == second["version"]
    harness.sql("UPDATE pancake_connection SET allowlist_mode = 'monitor'")
    assert (await policy(harness))["version"] != first["version"]


@pytest.mark.parametrize("headers", [{}, {"X-Edge-Secret": "wrong"}, {"X-Handler-Secret": HANDLER_SECRET}])
async def test_nobody_but_the_edge_gets_it(harness: HandlerHarness, headers: dict[str, str]) -> None:
    """Not even Hasura, which has no use for secrets of Pancake."""
    assert (await harness.client.get("/edge/policy", headers=headers)).status_code == 401


async def test_it_travels_over_loopback_or_tls_alone(harness: HandlerHarness) -> None:
    """The right secret over a plain connection from elsewhere is refused."""
    app = harness.client._transport.app  # type: ignore[attr-defined]
    elsewhere = httpx.ASGITransport(app=app, client=("10.1.2.3", 5000))
    for scheme, wanted in (("http", 401), ("https", 200)):
        async with httpx.AsyncClient(transport=elsewhere, base_url=f"{scheme}://handlers") as client:
            assert (await client.get("/edge/policy", headers=EDGE)).status_code == wanted


async def test_a_secret_that_cannot_be_decrypted_is_an_error_not_a_gap(harness: HandlerHarness) -> None:
    """An empty list of secrets would make the edge refuse everything; on an error it keeps what it has."""
    foreign = KeyRing({"other": bytes(range(32))}).encrypt("x", "webhook_secret")
    harness.sql("UPDATE pancake_connection SET webhook_secret_encrypted = %s", foreign)
    assert (await harness.client.get("/edge/policy", headers=EDGE)).status_code == 500


async def test_no_log_line_quotes_it(harness: HandlerHarness, caplog: pytest.LogCaptureFixture) -> None:
    """Hashes and secrets stay out; how many connections is said."""
    caplog.set_level("DEBUG")
    await policy(harness)
    said = " ".join(str(vars(record)) for record in caplog.records)
    assert "'connections': 1" in said
    assert sha256(WEBHOOK_TOKEN.encode()).hexdigest() not in said
