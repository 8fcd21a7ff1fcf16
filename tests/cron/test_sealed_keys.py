"""The API key of a connection is sent to the base URL that it was sealed for, and to an allowed host only."""

import pytest

from leads.adapters.secrets import KeyRing
from leads.services.sealed_secrets import Use, seal
from tests.support.crons import API_KEY, API_URL, CronHarness

OTHER = "00000000-0000-4000-8000-000000000000"
CHECK = "Check ENCRYPTION_KEYS and the base URL."


async def refused(harness: CronHarness, connection: int = 0) -> tuple[str, str]:
    """Read the sources: no request is sent for this connection. Return code and detail of its report."""
    before = harness.pancake.counts["rest_requests"]
    assert (await harness.tick("sync_sources")).status_code == 503
    reports = harness.last_run("sync_sources")["report"]["connections"]
    assert harness.pancake.counts["rest_requests"] == before + len(reports) - 1
    return reports[connection]["error"], reports[connection]["detail"]


def set_key(harness: CronHarness, ring: KeyRing, url: str) -> None:
    sealed = seal(ring, API_KEY, Use("api_key", harness.connection_id, url))
    harness.sql("UPDATE pancake_connection SET api_base_url = %s, api_key_encrypted = %s", url, sealed)


async def test_a_key_is_not_sent_to_a_base_url_that_was_set_after_it(harness: CronHarness) -> None:
    harness.sql("UPDATE pancake_connection SET api_base_url = 'http://pancake/another/api'")
    assert await refused(harness) == (
        "secret_unreadable",
        f"The api_key of connection {harness.connection_id} cannot be opened: it was not sealed for this "
        f"use, or key 'test' of the key ring is another one. {CHECK}",
    )
    harness.sql("UPDATE pancake_connection SET api_base_url = %s", API_URL)
    await harness.run("sync_sources")


async def test_a_key_does_not_serve_another_connection(harness: CronHarness) -> None:
    harness.sql(
        "INSERT INTO pancake_connection"
        " (id, name, workspace_id, token_sha256, api_base_url, api_key_encrypted)"
        " SELECT %s, 'other', 9, sha256('x'), api_base_url, api_key_encrypted FROM pancake_connection",
        OTHER,
    )
    code, detail = await refused(harness)
    assert (code, OTHER in detail) == ("secret_unreadable", True)


async def test_a_key_is_not_sent_to_a_host_that_is_not_allowed(
    harness: CronHarness, key_ring: KeyRing
) -> None:
    """Even if a program that has the keys sealed it for that host."""
    set_key(harness, key_ring, "https://pancake/api")
    code, detail = await refused(harness)
    assert (code, "'https://pancake' is not in PANCAKE_API_HOSTS" in detail) == ("host_not_allowed", True)


@pytest.mark.parametrize("keys", [{"other": bytes(32)}, {"test": bytes([1]) * 32}])
async def test_a_wrong_key_ring_is_told_once_and_no_request_is_sent(
    harness: CronHarness, key_ring: KeyRing, keys: dict[str, bytes]
) -> None:
    """The status says that the key does not work; the failed runs of the other crons say why."""
    set_key(harness, KeyRing(keys), API_URL)
    code, detail = await refused(harness)
    assert (code, f"key '{next(iter(keys))}'" in detail) == ("secret_unreadable", True)
    assert harness.last_run("sync_sources")["error"] == f"{harness.connection_id}: {detail}"
    for _ in range(2):
        harness.move_clock(minutes=5)
        await harness.run("check_connection")
    assert (harness.connection()["status"], harness.reasons()) == ("key_invalid", ["connection_key_invalid"])
    set_key(harness, key_ring, API_URL)
    harness.move_clock(minutes=5)
    await harness.run("check_connection")
    assert harness.connection()["status"] == "active"
