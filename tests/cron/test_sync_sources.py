"""Cron 1: the sources of a workspace."""

from typing import Any

from tests.support.crons import CronHarness
from tests.support.leads import LEAD


def sources(harness: CronHarness) -> dict[str, dict[str, Any]]:
    return {row["pancake_source_id"]: row for row in harness.sql("SELECT * FROM pancake_source")}


async def test_new_sources_are_inactive_and_admins_are_notified_once(harness: CronHarness) -> None:
    harness.pancake.more_sources["777"] = "Hội chợ"
    report = await harness.run("sync_sources")
    assert report["connections"][0]["new"] == ["777"]
    assert sources(harness)["777"]["is_active"] is False
    assert sources(harness)["777"]["name"] == "Hội chợ"
    assert harness.reasons() == ["new_source"]
    harness.move_clock(minutes=15)
    assert (await harness.run("sync_sources"))["connections"][0]["new"] == []
    assert harness.reasons() == ["new_source"]


async def test_one_notice_names_all_new_sources_of_a_run_those_of_deliveries_too(
    harness: CronHarness,
) -> None:
    await harness.run("sync_sources")
    harness.hasura.sent.clear()
    harness.enforce_header()
    for n in range(3):
        await harness.deliver(LEAD | {"id": str(n), "source": [f"8{n}{m:03}" for m in range(10)]})
    assert harness.hasura.sent == {}
    harness.pancake.more_sources["777"] = "Hội chợ"
    harness.move_clock(minutes=15)
    await harness.run("sync_sources")
    (sent,) = harness.hasura.sent.values()
    expected = ["Hội chợ (777)", *(f"8{n}{m:03}" for n in range(2) for m in range(10))][:20]
    data = sent["data"]
    assert (data["reason"], data["detail"]) == ("new_source", f"{', '.join(expected)}, … (+1)")
    assert data["text"].startswith("Kết nối test có 21 nguồn mới: Hội chợ (777), ")
    harness.move_clock(minutes=15)
    await harness.run("sync_sources")
    assert len(harness.hasura.sent) == 1


async def test_new_sources_are_announced_also_while_pancake_fails(harness: CronHarness) -> None:
    await harness.run("sync_sources")
    harness.hasura.sent.clear()
    await harness.deliver(LEAD | {"source": None})
    harness.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id) VALUES (%s, '999')",
        harness.connection_id,
    )
    harness.pancake.faults.down = True
    harness.move_clock(minutes=15)
    assert (await harness.tick("sync_sources")).status_code == 503
    assert [sent["data"]["detail"] for sent in harness.hasura.sent.values()] == ["999"]


async def test_a_known_source_keeps_its_state_and_takes_the_new_name(harness: CronHarness) -> None:
    await harness.run("sync_sources")
    assert sources(harness)["-1"]["is_active"] is True
    assert sources(harness)["-5"]["name"] == "TikTok"


async def test_removed_sources_are_marked_and_unmarked_when_they_return(harness: CronHarness) -> None:
    await harness.run("sync_sources")
    harness.pancake.removed_sources.add("-9")
    harness.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id) VALUES (%s, '999')",
        harness.connection_id,
    )
    harness.move_clock(minutes=15)
    assert (await harness.run("sync_sources"))["connections"][0]["removed"] == ["-9", "999"]
    assert sources(harness)["(none)"]["is_removed"] is False
    harness.pancake.removed_sources.clear()
    harness.move_clock(minutes=15)
    assert (await harness.run("sync_sources"))["connections"][0]["restored"] == ["-9"]


async def test_nothing_changes_and_the_run_fails_when_pancake_fails(harness: CronHarness) -> None:
    await harness.run("sync_sources")
    before = sources(harness)
    harness.pancake.faults.down = True
    harness.move_clock(minutes=15)
    response = await harness.tick("sync_sources")
    assert response.status_code == 503
    run = harness.last_run("sync_sources")
    assert run["outcome"] == "failed"
    assert "503" in run["error"]
    assert run["report"]["connections"][0]["error"] == "pancake_unavailable"
    assert sources(harness) == before


async def test_one_connection_that_fails_does_not_stop_the_others(harness: CronHarness) -> None:
    harness.sql(
        "INSERT INTO pancake_connection (id, name, workspace_id, token_sha256, api_base_url) VALUES"
        " ('00000000-0000-4000-8000-000000000000', 'no key', 9, sha256('x'), 'http://pancake/api')"
    )
    harness.pancake.more_sources["777"] = "Hội chợ"
    assert (await harness.tick("sync_sources")).status_code == 503
    assert "777" in sources(harness)
    (first, second) = harness.last_run("sync_sources")["report"]["connections"]
    assert first["error"] == "pancake_key_rejected"
    assert second["new"] == ["777"]
