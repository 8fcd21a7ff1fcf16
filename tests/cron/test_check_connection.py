"""Crons 1 and 2: the sources of a workspace; the status of a connection, its history, its notifications."""

import asyncio
from datetime import datetime
from typing import Any, Literal
from unittest.mock import ANY, AsyncMock

import psycopg
import pytest
import yaml
from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN
from psycopg.rows import dict_row

from cron.check_connection import PROBE_OF_ERROR
from leads.adapters.breaker import FAILURES_TO_OPEN, LEVEL, BreakerOpen
from leads.adapters.pancake_api import Access
from leads.adapters.secrets import KeyRing, SecretScope
from leads.domain.canonical_json import JsonObject
from leads.domain.errors import PancakeKeyRejected, PancakeUnavailable
from leads.services.cron_work import ANSWER_WITHIN_SECONDS, CRON_PERIOD_SECONDS
from ops.daily.connection_secrets import change, seal
from sandbox.processes import ROOT
from tests.support.crons import API_URL, CronHarness, add_connection
from tests.support.fakes import API_KEY
from tests.support.leads import LEAD


async def check(harness: CronHarness, minutes: float = 5) -> str:
    """Move the clock, poll and check as the crons do; return the status."""
    harness.move_clock(minutes=minutes)
    await harness.tick("poll_records")
    await harness.run("check_connection")
    return str(harness.connection()["status"])


def history(harness: CronHarness) -> list[tuple[str, str]]:
    rows = harness.sql("SELECT * FROM view_pancake_connection_status ORDER BY scheduled_time")
    return [(row["status_before"], row["status_after"]) for row in rows]


async def test_a_silent_webhook_becomes_suspended_and_then_active_again(harness: CronHarness) -> None:
    await harness.new_leads()
    assert await check(harness) == "active"
    harness.pancake.sender.suspend()
    await harness.new_leads(3)
    assert await check(harness) == "silent"
    await harness.new_leads(9)
    assert await check(harness, 29) == "silent"
    assert [await check(harness) for _ in range(2)] == ["suspended"] * 2
    harness.pancake.sender.enable()
    harness.move_clock(minutes=1)
    await harness.new_leads()
    assert await check(harness) == "active"
    assert history(harness) == [("active", "silent"), ("silent", "suspended"), ("suspended", "active")]
    assert harness.reasons() == ["connection_silent", "connection_suspended", "connection_active"]
    (row,) = harness.sql("SELECT count(DISTINCT record_id) AS n FROM pancake_webhook_event")
    assert row["n"] == 14, "polling brought what the webhook did not"


async def test_a_rejected_key_and_its_recovery_are_notified_once(harness: CronHarness) -> None:
    harness.pancake.faults.unauthorized = True
    assert [await check(harness) for _ in range(2)] == ["key_invalid"] * 2
    harness.pancake.faults.reset()
    assert await check(harness) == "active"
    assert history(harness) == [("active", "key_invalid"), ("key_invalid", "active")]
    assert harness.reasons() == ["connection_key_invalid", "connection_active"]


async def test_an_outage_is_both_channels_down_for_two_checks(harness: CronHarness) -> None:
    """An open circuit breaker is a failed probe like any other."""
    await harness.new_leads()
    harness.pancake.faults.down = True
    assert await check(harness, 20) == "active"
    await harness.new_leads()
    assert await check(harness) == "active", "webhooks arrive"
    harness.move_clock(minutes=20)
    for _ in range(FAILURES_TO_OPEN):
        await harness.tick("poll_records")
    (finding,) = (await harness.run("check_connection"))["connections"]
    assert (finding["probe"], finding["after"]) == ("unavailable", "outage")
    assert await check(harness, 20) == "outage"
    harness.pancake.faults.reset()
    assert await check(harness) == "active"
    assert history(harness) == [("active", "outage"), ("outage", "active")]
    assert harness.reasons() == ["connection_outage", "connection_active"]
    assert set(PROBE_OF_ERROR) >= {PancakeUnavailable.code, BreakerOpen.code}


CRONS_WITH_PANCAKE = ("check_connection", "poll_records", "sync_sources")
LOOP_SECONDS = 10
"""Hasura delivers the ticks that are due, waits for every answer, and sleeps so long."""
TRIGGERS = yaml.safe_load((ROOT / "hasura" / "metadata" / "cron_triggers.yaml").read_text())
RETRY_SECONDS = {
    trigger["name"].removeprefix("pancake_"): trigger["retry_conf"]["retry_interval_seconds"]
    for trigger in TRIGGERS
}


class Schedule:
    """Delivers the crons that read Pancake as Hasura does; keeps the level of the breaker after each loop."""

    def __init__(self, harness: CronHarness) -> None:
        self._harness = harness
        self._begun = harness.clock.monotonic()
        self._next = dict.fromkeys(CRONS_WITH_PANCAKE, 0)
        self._due: dict[str, tuple[datetime, float]] = {}
        self.levels: list[tuple[float, int]] = []

    @property
    def seconds(self) -> float:
        return self._harness.clock.monotonic() - self._begun

    async def run_until(self, seconds: float) -> None:
        while self.seconds < seconds:
            await self._loop()
            self.levels.append((self.seconds, self._harness.runtime.pancake.breakers.level()))
            self._harness.move_clock(seconds=LOOP_SECONDS)

    async def _loop(self) -> None:
        for name, at in self._next.items():
            if at <= self.seconds:
                self._due[name] = (self._harness.clock.now(), at)
                self._next[name] += CRON_PERIOD_SECONDS[name]
        ready = [name for name, (_, due_at) in self._due.items() if due_at <= self.seconds]
        answers = await asyncio.gather(*(self._harness.tick(name, self._due[name][0]) for name in ready))
        for name, answer in zip(ready, answers, strict=True):
            tick, _ = self._due.pop(name)
            if answer.status_code != 200:
                wait = int(answer.headers.get("Retry-After", RETRY_SECONDS[name]))
                self._due[name] = (tick, self.seconds + wait)


@pytest.mark.parametrize(
    "fault",
    [
        {"down": True},
        pytest.param({"slow_seconds": 60.0}, marks=pytest.mark.slow("it waits for calls in real time")),
    ],
)
async def test_with_five_connections_an_outage_opens_the_breaker_within_two_minutes(
    harness: CronHarness, key_ring: KeyRing, fault: dict[str, Any]
) -> None:
    """At the schedules of Hasura; it is half-open meanwhile, and the first tick after it closes it."""
    harness.pancake.workspace_id = ANY  # it serves all of them
    for number in range(4):
        add_connection(harness, key_ring, f"00000000-0000-4000-8000-00000000000{number}", API_URL)
    harness.runtime.cron_runs.answer_within_seconds = ANSWER_WITHIN_SECONDS
    schedule = Schedule(harness)
    await schedule.run_until(290)
    assert {level for _, level in schedule.levels} == {LEVEL[STATE_CLOSED]}
    harness.pancake.faults.change(fault)
    await schedule.run_until(840)
    opened_at = next(seconds for seconds, level in schedule.levels if level == LEVEL[STATE_OPEN])
    assert 300 <= opened_at <= 300 + 120
    after = {level for seconds, level in schedule.levels if seconds >= opened_at}
    assert after == {LEVEL[STATE_OPEN], LEVEL[STATE_HALF_OPEN]}
    harness.pancake.faults.reset()
    await schedule.run_until(900 + LOOP_SECONDS)
    assert schedule.levels[-1][1] == LEVEL[STATE_CLOSED]
    await schedule.run_until(900 + 120)
    assert [harness.last_run(name)["outcome"] for name in CRONS_WITH_PANCAKE] == ["succeeded"] * 3


@pytest.mark.parametrize("cron", ["check_connection", "sync_sources", "poll_records", "reconcile_daily"])
async def test_no_cron_calls_pancake_for_a_disabled_connection(harness: CronHarness, cron: str) -> None:
    harness.sql("UPDATE pancake_connection SET status = 'disabled'")
    harness.pancake.faults.unauthorized = True
    await harness.run(cron)
    assert harness.connection()["status"] == "disabled"
    assert harness.pancake.counts["rest_requests"] == 0


def set_status(harness: CronHarness, status: Literal["active", "disabled"]) -> None:
    """Do what `leads connection disable` or `enable` does, at the time of the test's clock."""
    with psycopg.connect(harness.database_url, row_factory=dict_row) as db:
        to = {"after": status, "reason": "moving"}
        change(db, "connection_secrets/set_status", harness.connection_id, harness.clock.now(), **to)


async def test_disabling_and_enabling_a_connection_notifies_admins_once(harness: CronHarness) -> None:
    await check(harness)
    statuses: tuple[Literal["active", "disabled"], ...] = ("disabled", "active")
    for status in statuses:
        set_status(harness, status)
        for _ in range(2):
            assert await check(harness) == status
    assert harness.reasons() == ["connection_disabled", "connection_active"]
    assert history(harness) == [("active", "disabled"), ("disabled", "active")]


async def test_a_connection_disabled_during_a_check_stays_disabled(harness: CronHarness) -> None:
    async def disabled_meanwhile(access: Access) -> list[JsonObject]:
        set_status(harness, "disabled")
        raise PancakeKeyRejected("x", status=401)

    harness.runtime.pancake.sources = disabled_meanwhile  # type: ignore[method-assign]
    await harness.run("check_connection")
    assert harness.connection()["status"] == "disabled"


async def test_an_internal_error_is_no_outage(harness: CronHarness, caplog: pytest.LogCaptureFixture) -> None:
    bug = AsyncMock(side_effect=KeyError("0905111222"))
    harness.runtime.pancake.sources = bug  # type: ignore[method-assign]
    for _ in range(2):
        harness.move_clock(minutes=20)
        assert (await harness.tick("check_connection")).status_code == 503
    run = harness.last_run("check_connection")
    assert (run["report"]["connections"], harness.connection()["status"]) == ([], "active")
    assert f"{harness.connection_id}: KeyError, digest " in run["error"]
    assert "0905" not in run["error"]
    (fault, _) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert fault.exc_info is not None


async def test_unreadable_settings_are_notified_and_logged_once_for_each_value(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """The cron's answer, which Hasura logs, names them without their values."""

    def told() -> list[str]:
        return [notice["data"]["detail"] for notice in harness.notices("settings_unreadable")]

    await check(harness)
    assert told() == []
    harness.change_settings(sla_minutes="30 phút")
    for _ in range(3):
        await check(harness)
    assert told() == ['sla_minutes must be 1 to 1440, not "30 phút"']
    harness.change_settings(sla_minutes=0, payload_retention_days=-1)
    await check(harness)
    answer = await harness.tick("check_connection")
    assert answer.json()["report"]["settings"]["unreadable"] == ["payload_retention_days", "sla_minutes"]
    assert "must be" not in answer.text
    harness.change_settings(sla_minutes=30, payload_retention_days=90)
    await check(harness)
    harness.change_settings(sla_minutes="30 phút")
    await check(harness)
    assert told()[1:] == [
        "payload_retention_days must be 7 to 3650, not -1; sla_minutes must be 1 to 1440, not 0",
        'sla_minutes must be 1 to 1440, not "30 phút"',
    ]
    lines = [record for record in caplog.records if record.message == "settings unreadable"]
    assert [record.__dict__["fields"] for record in lines] == [
        {"settings": ["sla_minutes"]},
        {"settings": ["payload_retention_days", "sla_minutes"]},
        {"settings": ["sla_minutes"]},
    ]


# Cron 1: the sources of a workspace, read with a key that is sent to its own base URL only


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
