"""Cron 3: ticks that Hasura gave up are measured, and the administrators are told of each once."""

from datetime import timedelta

from tests.support.crons import CronHarness


def lose(harness: CronHarness, name: str, status: str, *, hours_ago: float = 0) -> None:
    harness.sql(
        "INSERT INTO hdb_catalog.hdb_cron_events (trigger_name, scheduled_time, status) VALUES (%s, %s, %s)",
        name,
        harness.clock.now() - timedelta(hours=hours_ago),
        status,
    )


async def test_lost_ticks_are_measured_and_told_once_and_at_most_once_an_hour(harness: CronHarness) -> None:
    lose(harness, "pancake_poll_records", "dead", hours_ago=0.1)
    lose(harness, "pancake_poll_records", "error", hours_ago=0.2)
    for name, status in [("diva_nightly", "dead"), ("pancake_check_sla", "delivered")]:
        lose(harness, name, status)
    lose(harness, "pancake_check_sla", "dead", hours_ago=25)
    report = await harness.run("retry_failed")
    assert report["lost_ticks"].items() >= {"poll_records": 2}.items()
    assert set(report["lost_ticks"]) == {"poll_records", "until"}
    assert harness.reasons() == ["cron_ticks_lost"]
    metrics = (await harness.client.get("/metrics")).text
    assert 'pancake_lost_cron_ticks{name="poll_records"} 2.0' in metrics
    assert 'pancake_lost_cron_ticks{name="check_sla"} 0.0' in metrics

    harness.move_clock(minutes=10)
    lose(harness, "pancake_purge_events", "error")
    assert "lost_ticks" not in await harness.run("retry_failed")
    harness.move_clock(minutes=55)
    report = await harness.run("retry_failed")
    assert set(report["lost_ticks"]) == {"purge_events", "until"}
    harness.move_clock(minutes=70)
    assert "lost_ticks" not in await harness.run("retry_failed")
    assert harness.reasons() == ["cron_ticks_lost"] * 2


async def test_there_is_no_notice_without_lost_ticks(harness: CronHarness) -> None:
    assert "lost_ticks" not in await harness.run("retry_failed")
    assert harness.reasons() == []
