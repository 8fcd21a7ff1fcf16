"""A dry run of a cron does the work of the real run that follows, and leaves no trace of it."""

from datetime import date
from typing import Any

import pytest

from leads.domain.window import day_window
from leads.services.cron_dry_run import Cron, with_dry_run
from tests.support.crons import CronHarness
from tests.support.unassigned import ALL_OFF_DUTY, ALL_ON_DUTY

VARYING = ("kpi", "emptied_to", "held_emptied_to", "oldest_unassigned_seconds", "notifications")
TABLES = """
    SELECT schemaname || '.' || quote_ident(tablename) AS name
    FROM pg_tables WHERE schemaname IN ('public', 'hdb_catalog')
"""


def content(harness: CronHarness) -> dict[str, str]:
    """A digest of each table of Diva, of ours and of the engine's logs."""
    digest = "SELECT md5(coalesce(string_agg(t::text, ';' ORDER BY t::text), '')) AS digest FROM {} AS t"
    return {row["name"]: harness.one(digest.format(row["name"]))["digest"] for row in harness.sql(TABLES)}


async def dry_run(harness: CronHarness, name: str, payload: object = True) -> tuple[int, Any]:
    body = {"id": "dry", "name": f"pancake_{name}", "payload": {"dry_run": payload}}
    due = harness.clock.now().isoformat()
    answer = await harness.client.post(
        f"/cron/{name}", json={**body, "scheduled_time": due}, headers=harness.headers
    )
    return answer.status_code, answer.json()


async def announced(harness: CronHarness, name: str) -> dict[str, Any]:
    """Make a dry run, which must change nothing and send nothing."""
    before, sent = content(harness), dict(harness.hasura.sent)
    code, answer = await dry_run(harness, name)
    assert (code, answer["result"], answer["unfinished"]) == (200, "dry_run", False), answer
    assert content(harness) == before
    assert harness.hasura.sent == sent
    return answer  # type: ignore[no-any-return]


def stable(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key not in VARYING}


async def test_retry_failed_is_announced_with_its_owners_and_notifications(harness: CronHarness) -> None:
    harness.fill_roster(2)
    harness.sql(ALL_OFF_DUTY)
    for number in range(3):
        await harness.process_lead(id=f"r{number}", phone_number=f"090511122{number}")
    harness.sql(ALL_ON_DUTY)
    harness.hasura.sent.clear()
    answer = await announced(harness, "retry_failed")
    assert answer["report"]["assigned"] == 3
    assert [each["template_code"] for each in answer["would_send"]] == ["noti_pancake_new_lead"] * 3
    assert "0905111" not in str(answer)
    real = await harness.run("retry_failed")
    assert stable(real) == stable(answer["report"])
    assert [each["idempotency_key"] for each in answer["would_send"]] == list(harness.hasura.sent)


async def test_check_sla_is_announced(harness: CronHarness) -> None:
    harness.fill_roster(1)
    await harness.process_lead()
    harness.hasura.sent.clear()
    harness.move_clock(hours=2)
    answer = await announced(harness, "check_sla")
    assert answer["report"]["late"] == 1
    assert [each["reason"] for each in answer["would_send"]] == ["sla_missed"]
    assert (await harness.run("check_sla"))["late"] == 1
    assert harness.reasons() == ["sla_missed"]


async def test_the_clean_up_is_announced(harness: CronHarness) -> None:
    event_id, _ = await harness.process_lead()
    harness.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '91 days'")
    answer = await announced(harness, "purge_events")
    assert answer["report"]["empty_payloads"] == 1
    assert stable(await harness.run("purge_events")) == stable(answer["report"])
    assert harness.event(event_id)["payload"] is None


async def test_a_reconciliation_reads_pancake_and_inserts_nothing(harness: CronHarness, day: date) -> None:
    window = day_window(day)
    harness.pancake.bulk(3, window.start, window.end)
    answer = await announced(harness, "reconcile_daily")
    (report,) = answer["report"]["days"]
    assert (report["day"], report["expected"], report["inserted"]) == (day.isoformat(), 3, 0)
    assert len(report["left_missing"]) == 3
    assert [each["reason"] for each in answer["would_send"]] == ["reconciliation_miss"]
    assert (await harness.run("reconcile_daily"))["days"][0]["inserted"] == 3


async def test_an_error_in_a_step_is_reported_and_nothing_of_the_others_stays(harness: CronHarness) -> None:
    await harness.process_lead()
    harness.move_clock(hours=2)
    harness.sql("UPDATE staff SET is_active = false WHERE role <> 'telesale'")
    harness.sql("ALTER TABLE pancake_webhook_event RENAME COLUMN notify_claimed_at TO renamed")
    try:
        before = content(harness)
        code, answer = await dry_run(harness, "check_sla")
        assert (code, answer["result"]) == (200, "dry_run")
        assert answer["problem"].startswith("notify_late: UndefinedColumn")
        assert content(harness) == before
    finally:
        harness.sql("ALTER TABLE pancake_webhook_event RENAME COLUMN renamed TO notify_claimed_at")


@pytest.mark.parametrize("name", ["sync_sources", "check_connection", "poll_records"])
async def test_a_cron_without_a_dry_run_refuses_one(harness: CronHarness, name: str) -> None:
    before = content(harness)
    code, answer = await dry_run(harness, name)
    assert (code, answer["message"]) == (400, f"pancake_{name} has no dry run.")
    assert content(harness) == before
    assert harness.pancake.counts["rest_requests"] == 0


@pytest.mark.parametrize("payload", [False, "true", 1, None])
async def test_only_true_asks_for_a_dry_run_and_nothing_else_runs_the_cron(
    harness: CronHarness, payload: object
) -> None:
    code, answer = await dry_run(harness, "retry_failed", payload)
    assert (code, answer["message"]) == (400, "payload.dry_run is not true.")
    assert harness.sql("SELECT FROM pancake_cron_run") == []


def test_a_wrapped_cron_keeps_its_name() -> None:
    async def some_cron(runtime: Any, call: Any) -> dict[str, object]:
        return {}

    cron: Cron = some_cron
    assert with_dry_run(cron).__name__ == "some_cron"
