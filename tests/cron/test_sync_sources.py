"""Cron 1: the sources of a workspace, read with a key that is sent to its own base URL only."""

from typing import Any

import pytest

from leads.adapters.secrets import KeyRing, SecretScope
from ops.daily.connection_secrets import seal
from tests.support.crons import API_URL, CronHarness
from tests.support.fakes import API_KEY
from tests.support.leads import LEAD


def sources(harness: CronHarness) -> dict[str, dict[str, Any]]:
    return {row["pancake_source_id"]: row for row in harness.sql("SELECT * FROM pancake_source")}


def unannounced(harness: CronHarness) -> dict[str, dict[str, Any]]:
    return {source: row | {"announced_at": None} for source, row in sources(harness).items()}


async def sync(harness: CronHarness) -> dict[str, Any]:
    """Run the cron a quarter of an hour later; return the report of the only connection."""
    (report,) = (await harness.run("sync_sources", minutes=15))["connections"]
    return dict(report)


def add_source(harness: CronHarness, source: str) -> None:
    """Store a source that Pancake does not list, as a delivery does."""
    insert = "INSERT INTO pancake_source (connection_id, pancake_source_id) VALUES (%s, %s)"
    harness.sql(insert, harness.connection_id, source)


async def test_one_notice_names_all_new_sources_of_a_run_and_of_deliveries(harness: CronHarness) -> None:
    await sync(harness)
    harness.hasura.sent.clear()
    harness.enforce_header()
    for n in range(3):
        await harness.deliver(LEAD | {"id": str(n), "source": [f"8{n}{m:03}" for m in range(10)]})
    assert harness.hasura.sent == {}
    harness.pancake.more_sources["777"] = "Hội chợ"
    assert (await sync(harness))["new"] == ["777"]
    assert (sources(harness)["777"]["is_active"], sources(harness)["777"]["name"]) == (False, "Hội chợ")
    (sent,) = harness.hasura.sent.values()
    expected = ["Hội chợ (777)", *(f"8{n}{m:03}" for n in range(2) for m in range(10))][:20]
    data = sent["data"]
    assert (data["reason"], data["detail"]) == ("new_source", f"{', '.join(expected)}, … (+1)")
    assert data["text"].startswith("Kết nối test có 21 nguồn mới: Hội chợ (777), ")
    assert (await sync(harness))["new"] == []
    assert len(harness.hasura.sent) == 1


async def test_a_source_that_cannot_be_stored_as_it_is_keeps_no_other_out(harness: CronHarness) -> None:
    """Pancake may be taken over: a character that PostgreSQL refuses, an id that no index takes."""
    odd = {"77\x007\n": "Hội\nchợ", "9" * 3000: "Zalo", "778": "TikTok"}
    harness.pancake.more_sources |= odd
    assert (await sync(harness))["new"] == ["777", "778"]
    assert sources(harness)["777"]["name"] == "Hội chợ"


async def test_a_known_source_keeps_its_state_and_takes_the_new_name(harness: CronHarness) -> None:
    await sync(harness)
    assert sources(harness)["-1"]["is_active"] is True
    assert sources(harness)["-5"]["name"] == "TikTok"


async def test_removed_sources_are_marked_and_unmarked_when_they_return(harness: CronHarness) -> None:
    await sync(harness)
    harness.pancake.removed_sources.add("-9")
    add_source(harness, "999")
    assert (await sync(harness))["removed"] == ["-9", "999"]
    assert sources(harness)["(none)"]["is_removed"] is False
    harness.pancake.removed_sources.clear()
    assert (await sync(harness))["restored"] == ["-9"]


async def test_a_run_fails_with_pancake_but_announces_new_sources(harness: CronHarness) -> None:
    await sync(harness)
    harness.hasura.sent.clear()
    await harness.deliver(LEAD | {"source": None})
    add_source(harness, "999")
    before = unannounced(harness)
    harness.pancake.faults.down = True
    harness.move_clock(minutes=15)
    assert (await harness.tick("sync_sources")).status_code == 503
    run = harness.last_run("sync_sources")
    assert (run["outcome"], "503" in run["error"]) == ("failed", True)
    assert run["report"]["connections"][0]["error"] == "pancake_unavailable"
    assert unannounced(harness) == before
    assert [sent["data"]["detail"] for sent in harness.hasura.sent.values()] == ["999"]


async def refused(harness: CronHarness) -> tuple[str, str]:
    """Read the sources: no request is sent for the first connection. Return code and detail of its report."""
    before = harness.pancake.counts["rest_requests"]
    assert (await harness.tick("sync_sources")).status_code == 503
    reports = harness.last_run("sync_sources")["report"]["connections"]
    assert harness.pancake.counts["rest_requests"] == before + len(reports) - 1
    return reports[0]["error"], reports[0]["detail"]


def set_key(harness: CronHarness, ring: KeyRing, url: str) -> None:
    sealed = seal(ring, API_KEY, SecretScope("api_key", harness.connection_id, url))
    harness.sql("UPDATE pancake_connection SET api_base_url = %s, api_key_encrypted = %s", url, sealed)


async def test_a_key_is_not_sent_to_a_base_url_that_was_set_after_it(harness: CronHarness) -> None:
    harness.sql("UPDATE pancake_connection SET api_base_url = 'http://pancake/another/api'")
    assert await refused(harness) == (
        "secret_unreadable",
        f"The api_key of connection {harness.connection_id} cannot be opened: it was not sealed for this "
        "use, or key 'test' of the key ring is another one. Check ENCRYPTION_KEYS and the base URL.",
    )
    harness.sql("UPDATE pancake_connection SET api_base_url = %s", API_URL)
    await harness.run("sync_sources")


async def test_a_key_does_not_serve_another_connection(harness: CronHarness, other_connection: str) -> None:
    """One connection that fails, also without a key, does not stop the others."""
    harness.sql(
        "UPDATE pancake_connection AS c SET workspace_id = 9, api_base_url = o.api_base_url,"
        " api_key_encrypted = o.api_key_encrypted FROM pancake_connection AS o WHERE c.id = %s AND o.id = %s",
        other_connection,
        harness.connection_id,
    )
    code, detail = await refused(harness)
    assert (code, other_connection in detail) == ("secret_unreadable", True)
    harness.sql("UPDATE pancake_connection SET api_key_encrypted = NULL WHERE id = %s", other_connection)
    harness.pancake.more_sources["777"] = "Hội chợ"
    assert (await harness.tick("sync_sources")).status_code == 503
    failed, read = harness.last_run("sync_sources")["report"]["connections"]
    assert (failed["error"], read["new"]) == ("pancake_key_rejected", ["777"])


@pytest.mark.parametrize("keys", [{"other": bytes(32)}, {"test": bytes([1]) * 32}])
async def test_a_wrong_key_ring_is_announced_once_and_no_request_is_sent(
    harness: CronHarness, key_ring: KeyRing, keys: dict[str, bytes]
) -> None:
    """The status says that the key does not work; the failed runs of the other crons say why."""
    set_key(harness, KeyRing(keys), API_URL)
    code, detail = await refused(harness)
    assert (code, f"key '{next(iter(keys))}'" in detail) == ("secret_unreadable", True)
    assert harness.last_run("sync_sources")["error"] == f"{harness.connection_id}: {detail}"
    for _ in range(2):
        await harness.run("check_connection", minutes=5)
    assert (harness.connection()["status"], harness.reasons()) == ("key_invalid", ["connection_key_invalid"])
    set_key(harness, key_ring, API_URL)
    await harness.run("check_connection", minutes=5)
    assert harness.connection()["status"] == "active"
