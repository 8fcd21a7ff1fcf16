"""Cron 1: the sources of a workspace."""

from typing import Any

from tests.cron.conftest import Ward


def sources(ward: Ward) -> dict[str, dict[str, Any]]:
    return {row["pancake_source_id"]: row for row in ward.sql("SELECT * FROM pancake_source")}


async def test_new_sources_arrive_inactive_and_the_admins_are_told_once(ward: Ward) -> None:
    ward.pancake.more_sources["777"] = "Hội chợ"
    report = await ward.run("sync_sources")
    assert report["connections"][0]["new"] == ["777"]
    assert sources(ward)["777"]["is_active"] is False
    assert sources(ward)["777"]["name"] == "Hội chợ"
    assert ward.reasons() == ["new_source"]
    ward.move(minutes=15)
    assert (await ward.run("sync_sources"))["connections"][0]["new"] == []
    assert ward.reasons() == ["new_source"]


async def test_a_known_source_keeps_its_switch_and_takes_the_new_name(ward: Ward) -> None:
    await ward.run("sync_sources")
    assert sources(ward)["-1"]["is_active"] is True
    assert sources(ward)["-5"]["name"] == "TikTok"


async def test_removed_sources_are_marked_and_come_back(ward: Ward) -> None:
    await ward.run("sync_sources")
    ward.pancake.removed_sources.add("-9")
    ward.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id) VALUES (%s, '999')", ward.connection_id
    )
    ward.move(minutes=15)
    assert (await ward.run("sync_sources"))["connections"][0]["removed"] == ["-9", "999"]
    assert sources(ward)["(none)"]["is_removed"] is False
    ward.pancake.removed_sources.clear()
    ward.move(minutes=15)
    assert (await ward.run("sync_sources"))["connections"][0]["restored"] == ["-9"]


async def test_when_pancake_fails_nothing_changes_and_the_run_is_red(ward: Ward) -> None:
    await ward.run("sync_sources")
    before = sources(ward)
    ward.pancake.faults.down = True
    ward.move(minutes=15)
    response = await ward.tick("sync_sources")
    assert response.status_code == 503
    run = ward.last_run("sync_sources")
    assert run["outcome"] == "failed"
    assert "503" in run["error"]
    assert run["report"]["connections"][0]["error"] == "pancake_unavailable"
    assert sources(ward) == before


async def test_one_connection_that_fails_does_not_stop_the_others(ward: Ward) -> None:
    ward.sql(
        "INSERT INTO pancake_connection (id, name, workspace_id, token_sha256, api_base_url) VALUES"
        " ('00000000-0000-4000-8000-000000000000', 'no key', 9, sha256('x'), 'http://pancake/api')"
    )
    ward.pancake.more_sources["777"] = "Hội chợ"
    assert (await ward.tick("sync_sources")).status_code == 503
    assert "777" in sources(ward)
    (first, second) = ward.last_run("sync_sources")["report"]["connections"]
    assert first["error"] == "pancake_key_rejected"
    assert second["new"] == ["777"]
