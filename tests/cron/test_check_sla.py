"""Cron 4: tickets without a first response in time, and who is notified under Diva's names of the roles."""

import os
import re
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from leads.domain.body import ICT
from tests.support.crons import CronHarness
from tests.support.handlers import running_handlers
from tests.support.leads import LATER, LEAD
from tests.support.processing import stored
from tests.support.stored_rows import NOTIFICATIONS, insert_tickets

CONTRACT = Path(__file__).parents[2] / "docs" / "diva-contract.md"


@pytest.fixture
async def ticket(harness: CronHarness) -> str:
    """Id of a ticket of the integration, created half an hour ago."""
    event_id, _ = await harness.process_lead()
    ticket_id = str(harness.event(event_id)["ticket_id"])
    harness.move_clock(minutes=31)
    return ticket_id


async def test_managers_are_notified_once_of_a_late_ticket(harness: CronHarness, ticket: str) -> None:
    """The limit is a setting."""
    harness.change_settings(sla_minutes=45)
    assert [await late(harness, minutes) for minutes in (0, 15, 5)] == [0, 1, 0]
    (notice,) = harness.notices("sla_missed")
    assert set(notice["recipient_ids"]) == harness.staff("manager")
    assert notice["data"]["ticket_id"] == ticket


async def test_a_ticket_answered_in_time_or_closed_is_not_late(harness: CronHarness, ticket: str) -> None:
    harness.sql("UPDATE ticket SET first_response_at = created_at + interval '10 min' WHERE id = %s", ticket)
    report = await harness.run("check_sla")
    assert report["late"] == 0
    assert report["kpi"]["response"] == {"tickets": 1, "unanswered": 0} | dict.fromkeys(
        ("p50_minutes", "p95_minutes", "p50_business_minutes", "p95_business_minutes"), 10
    )
    harness.sql("UPDATE ticket SET first_response_at = NULL, status = 'cancelled' WHERE id = %s", ticket)
    assert await late(harness, 5) == 0


async def test_a_late_ticket_is_flagged_while_older_notices_of_its_event_wait(harness: CronHarness) -> None:
    harness.hasura.refused = {"1:unassigned"}
    event_id, _ = await harness.process_lead()
    assert await late(harness, 31) == 1
    harness.hasura.refused = set()
    await harness.run("retry_failed", minutes=1)
    assert set(harness.hasura.sent) == {f"{event_id}:unassigned", f"{event_id}:sla_missed"}


async def test_an_event_being_sent_is_left_for_a_later_tick(harness: CronHarness, ticket: str) -> None:
    """Their sender marks all of them as sent, also those added meanwhile."""
    harness.sql("UPDATE pancake_webhook_event SET notified_at = NULL, notify_claimed_at = clock_timestamp()")
    assert await late(harness) == 0
    harness.expire_leases()
    assert await late(harness, 5) == 1


async def test_an_event_that_a_handler_works_on_is_left_for_later(harness: CronHarness, ticket: str) -> None:
    with psycopg.connect(harness.runtime.settings.database_url) as handler:
        handler.execute("SELECT id FROM pancake_webhook_event FOR UPDATE")
        assert await late(harness) == 0
    assert await late(harness, 5) == 1


async def test_without_active_staff_nothing_is_stored_and_a_late_ticket_is_notified_when_an_admin_is_active(
    harness: CronHarness, ticket: str, caplog: pytest.LogCaptureFixture
) -> None:
    harness.sql("UPDATE staff SET is_active = false WHERE role IN ('manager', 'admin')")
    before = harness.one("SELECT notifications, evidence FROM pancake_webhook_event")
    report = await harness.run("check_sla")
    assert (report["late"], report["late_not_notified"]) == (0, 1)
    assert harness.one("SELECT notifications, evidence FROM pancake_webhook_event") == before
    (line,) = [each for each in caplog.records if each.message == "notifications dropped"]
    assert (line.__dict__["fields"]["name"], line.__dict__["fields"]["count"]) == ("sla_missed", 1)
    assert harness.value(NOTIFICATIONS, result="dropped") == 1
    harness.sql("UPDATE staff SET is_active = true WHERE role = 'admin'")
    report = await harness.run("check_sla", minutes=5)
    assert (report["late"], report["late_not_notified"]) == (1, 0)
    (notice,) = harness.notices("sla_missed")
    assert set(notice["recipient_ids"]) == harness.staff("admin")


async def test_the_late_ticket_of_a_lead_that_waited_is_announced_a_week_later(harness: CronHarness) -> None:
    """As in a pause, and after an outage of the cron."""
    await harness.deliver(LEAD)
    harness.move_clock(days=300)
    await harness.process_received()
    assert await late(harness, 8 * 24 * 60) == 1


@pytest.mark.parametrize(
    ("members", "expected"),
    [(2, [(0, 0, 0), (0, 0, 1), (0, 0, 0), (1, 1, 0)]), (0, [(1, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0)])],
)
async def test_the_times_of_an_old_lead_begin_when_its_owner_was_told(
    harness: CronHarness, members: int, expected: list[tuple[int, int, int]]
) -> None:
    """It is neither late nor recalled while the owner does not know of it; without an owner it is late."""
    harness.fill_roster(members)
    hours = {"business_hours": "mon-sun 08:00-17:30", "recall_after_minutes": 60, "sla_minutes": 60}
    harness.change_settings(kill_switch=True, **hours)
    await harness.deliver(LEAD)
    harness.move_to(9, days=2)
    harness.change_settings(kill_switch=False)
    await harness.replay(filter={"status": "skipped_kill_switch"})
    await harness.process_received()
    found = []
    for hour, minute in ((12, 0), (8, 0), (8, 59), (9, 1)):
        harness.move_to(hour, minute)
        flagged = await late(harness)
        report = await harness.run("retry_failed")
        found.append((flagged, report["recalled"], report.get("told_of_old_leads", 0)))
    assert found == expected


async def test_business_hours_count_for_a_late_ticket_if_the_setting_says_so(
    harness: CronHarness, ticket: str
) -> None:
    holiday = f"{harness.clock.now().astimezone(ICT) - timedelta(minutes=31):%Y-%m-%d}"
    tomorrow = f"{harness.clock.now().astimezone(ICT) + timedelta(minutes=5):%Y-%m-%d}"
    harness.change_settings(sla_hours="business", holidays=f"{holiday}..{tomorrow}")
    assert await late(harness) == 0
    harness.change_settings(sla_hours="all")
    assert await late(harness, 5) == 1


async def test_an_answered_ticket_is_watched_no_more_and_a_closed_one_for_three_days(
    harness: CronHarness, ticket: str
) -> None:
    """A closed one may be opened again."""
    watched = "ticket_watched_at IS NOT NULL"
    harness.sql("UPDATE ticket SET status = 'done' WHERE id = %s", ticket)
    await late(harness, 60)
    assert harness.count("pancake_webhook_event", watched) == 1
    harness.sql("UPDATE ticket SET status = 'new' WHERE id = %s", ticket)
    assert await late(harness, 5) == 1
    harness.sql("UPDATE ticket SET first_response_at = now() WHERE id = %s", ticket)
    await late(harness, 5)
    assert harness.count("pancake_webhook_event", watched) == 0


async def test_the_ticket_of_a_handler_that_does_not_say_so_is_watched_too(harness: CronHarness) -> None:
    """During an upgrade handlers of the version before work beside this one."""
    event_id = await stored(harness)
    harness.sql(
        "UPDATE pancake_webhook_event SET status = 'ingested', ingested_at = now(),"
        " claim_id = gen_random_uuid(), attempts = 1"
    )
    finished = "UPDATE pancake_webhook_event SET status = 'processed', outcome = %s, processed_at = now()"
    harness.sql(finished, "ticket_created")
    event = harness.event(event_id)
    assert event["ticket_watched_at"] == event["processed_at"]


async def test_a_ticket_that_is_opened_again_is_not_notified_again(harness: CronHarness, ticket: str) -> None:
    """The event that has the flag is watched no more by then."""
    assert await late(harness) == 1
    harness.sql("UPDATE ticket SET status = 'done' WHERE id = %s", ticket)
    assert await late(harness, 4 * 24 * 60) == 0
    harness.sql("UPDATE ticket SET status = 'new' WHERE id = %s", ticket)
    await harness.process_lead(modified_on=LATER, name="Nguyễn Văn B")
    watched = harness.sql("SELECT outcome FROM pancake_webhook_event WHERE ticket_watched_at IS NOT NULL")
    assert watched == [{"outcome": "ticket_updated"}]
    assert await late(harness, 31) == 0


async def test_the_second_ticket_of_an_event_is_notified_too(harness: CronHarness, ticket: str) -> None:
    assert await late(harness) == 1
    harness.sql("UPDATE ticket SET status = 'cancelled' WHERE id = %s", ticket)
    event_id = harness.one("SELECT id FROM pancake_webhook_event")["id"]
    await harness.replay(ids=[event_id], force=True)
    await harness.process_received()
    assert await late(harness, 31) == 1
    assert len({notice["data"]["ticket_id"] for notice in harness.notices("sla_missed")}) == 2


@pytest.fixture
def renamed(harness: CronHarness) -> CronHarness:
    """Diva's staff under other role names, after the change that docs/diva-contract.md describes."""
    (change,) = re.findall(
        r"^```sql\n(CREATE OR REPLACE FUNCTION.*?)^```", CONTRACT.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    harness.sql("ALTER TABLE staff DROP CONSTRAINT staff_role_check")
    for name, other_name in (("admin", "quan_tri"), ("manager", "quan_ly"), ("telesale", "tu_van")):
        harness.sql("UPDATE staff SET role = %s WHERE role = %s", other_name, name)
        assert f"'{other_name}'" in change
    harness.session.execute(change.encode())
    return harness


async def late(harness: CronHarness, minutes: float = 0) -> int:
    """Run the cron some minutes later; return how many tickets were flagged as late."""
    return int((await harness.run("check_sla", minutes=minutes))["late"])


@pytest.mark.own_database
async def test_leads_late_tickets_and_crons_notify_staff_of_other_role_names(renamed: CronHarness) -> None:
    admins, managers = renamed.staff("quan_tri"), renamed.staff("quan_ly")
    event_id, result = await renamed.process_lead()
    assert result == "ticket_created"
    assert set(renamed.hasura.sent[f"{event_id}:unassigned"]["recipient_ids"]) == admins
    assert await late(renamed, 31) == 1
    (notice,) = renamed.notices("sla_missed")
    assert set(notice["recipient_ids"]) == managers
    renamed.pancake.more_sources["4711"] = "Zalo"
    await renamed.run("sync_sources")
    (notice,) = renamed.notices("new_source")
    assert (set(notice["recipient_ids"]), notice["data"]["detail"]) == (admins, "Zalo (4711)")


GOLDEN = Path(__file__).parents[1] / "ops" / "golden" / "vi" / "morning.txt"


async def test_managers_get_one_message_in_the_morning_that_says_what_the_report_says(
    harness: CronHarness,
) -> None:
    """Off by default; at its time, once, also of a tick that comes again and of another process."""
    harness.move_to(6, days=1)
    six = harness.clock.now()
    harness.sql("SET session_replication_role = replica")  # rows in their final state
    insert_tickets(harness.session, "yesterday", 1, at=six - timedelta(days=1))
    for code in ("internal", "invalid_phone"):
        harness.sql(
            "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, status,"
            " error_code, arrived_at, created_at) SELECT c.id, 'webhook', %s, sha256(%s), 'dead_letter',"
            " %s, %s, %s FROM pancake_connection AS c LIMIT 1",
            code, code.encode(), code, six - timedelta(hours=3), six - timedelta(hours=3),
        )  # fmt: skip
    harness.sql("RESET session_replication_role")
    assert "morning_message" not in await harness.run("check_sla", minutes=100)
    harness.change_settings(morning_message="on", morning_message_at="07:50")
    assert "morning_message" not in await harness.run("check_sla")
    harness.move_clock(minutes=10)
    at = harness.clock.now()
    answers = [(await harness.tick("check_sla", at)).json()["result"] for _ in range(2)]
    assert answers == ["succeeded", "already_done"]
    assert "morning_message" not in await harness.run("check_sla", minutes=5)
    tick = {"id": "1", "name": "pancake_check_sla", "payload": {}}
    tick["scheduled_time"] = (at + timedelta(minutes=10)).isoformat()
    settings = harness.runtime.settings
    async with running_handlers(settings, harness.connection_id, harness.hasura) as restarted:
        restarted.clock.ahead = harness.clock.ahead + timedelta(minutes=5)
        answer = await restarted.client.post("/cron/check_sla", json=tick, headers=restarted.headers)
    assert answer.json()["result"] == "succeeded"
    assert len([key for key in harness.hasura.taken if "morning_message" in key]) == 1
    (notice,) = harness.notices("morning_message")
    assert set(notice["recipient_ids"]) == harness.staff("manager")
    text = re.sub(r"\d\d/\d\d", "13/05", f"{notice['data']['text']}\n")
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(text, "utf-8")
    assert GOLDEN.read_text("utf-8") == text
