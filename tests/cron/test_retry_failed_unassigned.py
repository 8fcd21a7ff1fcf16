"""Cron 3 assigns tickets without an owner, as soon as a member of their roster is available."""

from collections import Counter
from datetime import timedelta

import pytest

from leads.adapters.queries import QUERIES
from leads.services.unassigned_tickets import MAX_ASSIGNED_PER_TICK, MAX_TRIED_PER_TICK
from tests.support.crons import CronHarness
from tests.support.leads import LATER, LEAD
from tests.support.unassigned import ALL_OFF_DUTY, ALL_ON_DUTY, seed_unassigned, ticket_of


async def tick(harness: CronHarness, **minutes: float) -> tuple[object, object]:
    """Run the cron a minute later; return how many tickets were assigned, and how many have no owner."""
    harness.move_clock(minutes=minutes.get("minutes", 1))
    report = await harness.run("retry_failed")
    return report["assigned"], report["unassigned"]


async def test_a_lead_of_the_night_gets_its_owner_in_the_morning(harness: CronHarness) -> None:
    staff = harness.fill_roster(3)
    harness.sql(ALL_OFF_DUTY)
    event_id, result = await harness.process_lead()
    assert (result, ticket_of(harness, event_id)["assignee_id"]) == ("ticket_created", None)
    for _ in range(3):
        assert await tick(harness) == (0, 1)
    assert list(harness.hasura.sent) == [f"{event_id}:unassigned"], "the admins are told once"
    harness.sql("UPDATE staff SET on_duty = true WHERE id = %s", staff[1])
    assert await tick(harness) == (1, 0)
    event, ticket = harness.event(event_id), ticket_of(harness, event_id)
    assert (str(ticket["assignee_id"]), str(event["assignee_id"])) == (staff[1], staff[1])
    assert ticket["updated_at"] > ticket["created_at"]
    sent = harness.hasura.sent[f"{event_id}:new_lead"]
    assert (sent["template_code"], sent["recipient_ids"]) == ("noti_pancake_new_lead", [staff[1]])
    data = {"ticket_id": str(event["ticket_id"]), "customer_name": LEAD["name"], "phone": "+84905111222"}
    assert sent["data"] == data
    assert event["notified_at"] is not None
    assert await tick(harness) == (0, 0)
    assert len(harness.hasura.sent) == 2


async def test_the_evidence_is_that_of_a_choice_with_its_time_and_who_was_skipped_before(
    harness: CronHarness,
) -> None:
    staff = harness.fill_roster(2)
    harness.sql(ALL_OFF_DUTY)
    event_id, _ = await harness.process_lead()
    harness.sql("UPDATE staff SET on_duty = true WHERE id = %s", staff[0])
    assert await tick(harness) == (1, 0)
    assignment = harness.event(event_id)["evidence"]["assignment"]
    assert assignment["chosen"] == staff[0]
    assert assignment["skipped"] == [{"staff_id": staff[1], "reason": "off_duty"}]
    assert {m["staff_id"] for m in assignment["skipped_before"]} == set(staff)
    assert assignment["assigned_at"] > harness.event(event_id)["processed_at"].isoformat()
    assert {"digests", "phone"} <= harness.event(event_id)["evidence"].keys()


async def test_the_number_of_unassigned_tickets_and_the_creation_of_the_oldest_are_metrics(
    harness: CronHarness,
) -> None:
    name = "pancake_unassigned_ticket_oldest_timestamp_seconds"
    harness.fill_roster(1)
    harness.sql(ALL_OFF_DUTY)
    event_id, _ = await harness.process_lead()
    await harness.process_lead(id="another", phone_number="0905111333")
    assert await tick(harness) == (0, 2)
    oldest = ticket_of(harness, event_id)["created_at"].timestamp()
    assert await harness.scrape("pancake_unassigned_tickets") == 2
    assert await harness.scrape(name) == pytest.approx(oldest)
    harness.sql(ALL_ON_DUTY)
    assert await tick(harness) == (2, 0)
    assert await harness.scrape("pancake_unassigned_tickets") == 0
    assert await harness.scrape(name) == 0


async def test_the_report_says_how_long_the_oldest_ticket_has_no_owner(harness: CronHarness) -> None:
    assert (await harness.run("retry_failed"))["oldest_unassigned_seconds"] is None
    await harness.process_lead(id="old", phone_number="0905111001")
    harness.move_clock(hours=8)
    await harness.process_lead(id="new", phone_number="0905111002")
    report = await harness.run("retry_failed")
    assert (report["unassigned"], report["oldest_unassigned_seconds"] // 60) == (2, 480)


async def test_a_roster_that_is_empty_again_changes_nothing(harness: CronHarness) -> None:
    await harness.process_lead()
    harness.fill_roster(2, is_active=False)
    counters = "SELECT assigned_count, last_assigned_seq, was_available FROM pancake_assignee"
    before = harness.sql(counters)
    assert await tick(harness) == (0, 1)
    harness.sql("UPDATE pancake_assignee SET is_active = true")
    harness.sql(ALL_OFF_DUTY)
    assert await tick(harness) == (0, 1)
    assert harness.sql(counters) == before
    harness.sql("DELETE FROM pancake_assignee")
    assert await tick(harness) == (0, 1)
    assert len(harness.hasura.sent) == 1, "nothing but the notice of its creation"


@pytest.mark.parametrize("switch", ["kill_switch", "processing_paused"])
async def test_a_switch_keeps_tickets_unassigned_until_it_is_off(harness: CronHarness, switch: str) -> None:
    await harness.process_lead()
    harness.fill_roster(1)
    harness.change_settings(**{switch: True})
    assert await tick(harness) == (0, 1)
    harness.change_settings(**{switch: False})
    assert await tick(harness) == (1, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE ticket SET assignee_id = 'b0000000-0000-4000-8000-000000000001'", "assigned_in_diva"),
        ("UPDATE ticket SET status = 'done'", "ticket_closed"),
        ("UPDATE ticket SET status = 'cancelled'", "ticket_closed"),
        ("DELETE FROM ticket", "ticket_deleted"),
    ],
)
async def test_a_ticket_that_people_took_care_of_is_left_alone(
    harness: CronHarness, change: str, reason: str
) -> None:
    event_id, _ = await harness.process_lead()
    harness.sql(change + " WHERE source_id = 'ticket_source_pancake'")
    before = harness.sql("SELECT * FROM ticket ORDER BY id")
    harness.fill_roster(2)
    for _ in range(3):
        assert await tick(harness) == (0, 0)
    assert harness.sql("SELECT * FROM ticket ORDER BY id") == before
    event = harness.event(event_id)
    assert event["evidence"]["assignment"]["settled"]["reason"] == reason
    assert (event["assignee_id"], event["evidence"]["assignment"]["chosen"]) == (None, None)
    assert harness.one("SELECT sum(total_assigned)::integer AS n FROM pancake_assignee")["n"] == 0
    assert list(harness.hasura.sent) == [f"{event_id}:unassigned"]


async def test_a_ticket_moved_to_another_source_is_assigned_too(harness: CronHarness) -> None:
    event_id, _ = await harness.process_lead()
    move = {"from_source": "ticket_source_pancake", "to_source": "ticket_source_8", "only_marked": False}
    harness.session.execute(QUERIES["tickets/update_tickets"], move | {"limit": 10})
    assert ticket_of(harness, event_id)["source_id"] == "ticket_source_8"
    staff = harness.fill_roster(1)
    assert await tick(harness) == (1, 0)
    assert str(ticket_of(harness, event_id)["assignee_id"]) == staff[0]


async def test_a_ticket_without_owner_that_people_made_is_not_assigned(harness: CronHarness) -> None:
    harness.sql("INSERT INTO ticket (title, source_id) VALUES ('theirs', 'ticket_source_pancake')")
    harness.fill_roster(1)
    assert await tick(harness) == (0, 0)
    assert harness.one("SELECT assignee_id FROM ticket WHERE title = 'theirs'")["assignee_id"] is None


async def test_the_roster_is_that_of_the_first_active_source_that_has_one(harness: CronHarness) -> None:
    (default,) = harness.fill_roster(1)
    harness.sql(ALL_OFF_DUTY)
    event_id, _ = await harness.process_lead(source=["-3", "-1", "-5"])
    harness.sql(ALL_ON_DUTY)
    harness.sql(
        "INSERT INTO pancake_assignee (staff_id, source_id)"
        " SELECT s.id, r.id FROM staff AS s, pancake_source AS r"
        " WHERE s.full_name = 'Đỗ Văn Minh' AND r.pancake_source_id = '-1'"
    )
    harness.fill_roster(1, source="-5")
    assert await tick(harness) == (1, 0)
    owner = ticket_of(harness, event_id)["assignee_id"]
    assert harness.one("SELECT full_name FROM staff WHERE id = %s", owner)["full_name"] == "Đỗ Văn Minh"
    assert str(owner) != default


async def test_after_its_source_was_switched_off_the_default_roster_serves_a_ticket(
    harness: CronHarness,
) -> None:
    (default,) = harness.fill_roster(1)
    harness.fill_roster(3, source="-1", is_active=True)
    harness.sql(ALL_OFF_DUTY)
    event_id, _ = await harness.process_lead()
    harness.sql("UPDATE staff SET on_duty = true WHERE id = %s", default)
    harness.sql("DELETE FROM pancake_assignee WHERE source_id IS NOT NULL AND staff_id = %s", default)
    assert await tick(harness) == (0, 1), "its own roster has no available member"
    harness.sql("UPDATE pancake_source SET is_active = false")
    assert await tick(harness) == (1, 0)
    assert str(ticket_of(harness, event_id)["assignee_id"]) == default


async def test_the_oldest_tickets_are_assigned_first_and_a_few_per_tick(harness: CronHarness) -> None:
    newer = seed_unassigned(harness, harness.connection_id, 30, record="b", created_at="2026-05-14T23:00:00Z")
    older = seed_unassigned(harness, harness.connection_id, 30, record="a", created_at="2026-05-14T20:00:00Z")
    harness.fill_roster(1)
    assert await tick(harness) == (MAX_ASSIGNED_PER_TICK, 60 - MAX_ASSIGNED_PER_TICK)
    assert [harness.event(event_id)["assignee_id"] is not None for event_id in older] == [True] * 30
    left = harness.sql("SELECT id FROM pancake_webhook_event WHERE assignee_id IS NULL ORDER BY id")
    assert [row["id"] for row in left] == newer[MAX_ASSIGNED_PER_TICK - 30 :]
    assert await tick(harness) == (60 - MAX_ASSIGNED_PER_TICK, 0)


async def test_tickets_of_a_roster_without_members_do_not_hide_newer_ones(harness: CronHarness) -> None:
    harness.fill_roster(1, source="-1", is_active=True)
    harness.sql(ALL_OFF_DUTY)
    seed_unassigned(harness, harness.connection_id, MAX_TRIED_PER_TICK + 100)
    event_id, _ = await harness.process_lead(source=["-5"])
    harness.sql("UPDATE staff SET on_duty = true WHERE full_name = 'Đỗ Văn Minh'")
    harness.sql(
        "INSERT INTO pancake_assignee (staff_id) SELECT id FROM staff WHERE full_name = 'Đỗ Văn Minh'"
    )
    assert await tick(harness) == (1, MAX_TRIED_PER_TICK + 100)
    assert ticket_of(harness, event_id)["assignee_id"] is not None


async def test_a_ticket_assigned_later_counts_as_assigned_by_us(harness: CronHarness) -> None:
    """The figures follow evidence.assignment.chosen, which is written later too."""
    events = [(await harness.process_lead(id=f"l{n}", phone_number=f"090511100{n}"))[0] for n in range(4)]
    for event_id, change in (
        (events[1], "assignee_id = %s"),
        (events[2], "status = 'done', assignee_id = NULL"),
    ):
        owner = ["b0000000-0000-4000-8000-000000000001"] if "%s" in change else []
        where = " WHERE id = (SELECT ticket_id FROM pancake_webhook_event WHERE id = %s)"
        harness.sql(f"UPDATE ticket SET {change}" + where, *owner, event_id)
    harness.fill_roster(1)
    assert await tick(harness) == (2, 0)
    harness.sql("UPDATE ticket SET assignee_id = NULL WHERE id = %s", ticket_of(harness, events[3])["id"])
    window = {"from": harness.clock.now() - timedelta(days=1), "to": harness.clock.now()}
    auto = harness.session.execute(QUERIES["kpi/load_auto_assign"], window).fetchone()
    assert auto == {"tickets": 4, "correct": 1, "unassigned": 2, "ratio": 0.25}
    changed = harness.session.execute(QUERIES["kpi/load_intervention"], window).fetchone()
    assert changed == {"tickets": 4, "changed": 2, "ratio": 0.5}


async def test_a_replay_keeps_the_owner_and_the_evidence_of_a_later_assignment(harness: CronHarness) -> None:
    event_id, _ = await harness.process_lead()
    staff = harness.fill_roster(2)
    assert await tick(harness) == (1, 0)
    owner, before = str(ticket_of(harness, event_id)["assignee_id"]), harness.event(event_id)
    await harness.replay(ids=[event_id])
    assert await harness.process(event_id, "UPDATE") == "no_change"
    assert harness.event(event_id)["evidence"]["assignment"] == before["evidence"]["assignment"]
    assert str(harness.event(event_id)["assignee_id"]) == owner
    await harness.process_lead(modified_on=LATER, name="Nguyễn Thị B")
    assert str(ticket_of(harness, event_id)["assignee_id"]) == owner
    assert await tick(harness) == (0, 0)
    counts = Counter({row["staff_id"]: row["n"] for row in harness.sql(
        "SELECT staff_id::text, total_assigned::integer AS n FROM pancake_assignee")})  # fmt: skip
    assert (counts[owner], counts.total(), set(counts)) == (1, 1, set(staff))
