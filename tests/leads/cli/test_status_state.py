"""What `leads status` reads of the tables, in a real database."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import pq

from leads.adapters.db_session import open_session
from leads.cli.probes.database import open_limited
from leads.cli.status.state import Roster, State, load_state, read_state
from sandbox.postgres.roles import operators_url
from tests.support.seeding import DatabaseHarness, seed_connection
from tests.support.settings import ADMIN_ID

NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)


@pytest.fixture
def harness(database: str) -> Iterator[DatabaseHarness]:
    """The database with a connection; the session writes rows without triggers if it is told to."""
    seed_connection(database)
    with open_session(database, "test") as session:
        yield DatabaseHarness(session)


def state(database: str) -> State:
    return load_state(operators_url(database), NOW)


def add_events(harness: DatabaseHarness, number: int, created_at: datetime, **columns: Any) -> None:
    """Add events as they are in these columns; without others they became tickets."""
    values: dict[str, Any] = {
        "status": "processed", "outcome": "ticket_created", "processed_at": created_at,
        "origin": "webhook", "assignee_id": "c0000000-0000-4000-8000-000000000001",
        "received_at": created_at, "created_at": created_at, "arrived_at": created_at,
        **columns,
    }  # fmt: skip
    harness.sql("SET session_replication_role = replica")
    names = ", ".join(values)
    for n in range(number):
        identity = f"{created_at}{columns.get('status')}{n}"
        harness.sql(
            f"INSERT INTO pancake_webhook_event (connection_id, record_id, payload_hash, payload, {names})"
            f" SELECT c.id, %s, sha256(%s::text::bytea), '{{}}', {', '.join(['%s'] * len(values))}"
            " FROM pancake_connection AS c",
            identity, identity, *values.values(),
        )  # fmt: skip
    harness.sql("RESET session_replication_role")


def test_the_usual_tickets_are_those_of_this_hour_on_days_that_had_any(
    database: str, harness: DatabaseHarness
) -> None:
    add_events(harness, 3, NOW - timedelta(minutes=5))
    add_events(harness, 1, NOW - timedelta(minutes=4), status="dead_letter", outcome=None, error_code="x")
    add_events(harness, 9, NOW - timedelta(minutes=20))
    add_events(harness, 12, NOW - timedelta(days=1, minutes=25))
    add_events(harness, 24, NOW - timedelta(days=2) + timedelta(minutes=25))
    add_events(harness, 50, NOW - timedelta(days=3, hours=1))
    add_events(harness, 90, NOW - timedelta(days=4))
    found = state(database).tickets
    assert (found.leads, found.tickets) == (4, 3)
    assert found.usual == pytest.approx(24 / 6), "the median of 12, 24 and 90"


def test_without_earlier_days_nothing_is_usual(database: str, harness: DatabaseHarness) -> None:
    assert state(database).tickets.usual is None


def test_a_switch_names_who_turned_it_last(database: str, harness: DatabaseHarness) -> None:
    session = {"x-hasura-role": "crm_admin", "x-hasura-user-id": ADMIN_ID}
    harness.sql("SELECT set_config('hasura.user', %s, false)", json.dumps(session))
    harness.sql("UPDATE view_pancake_setting SET kill_switch = true")
    harness.sql("UPDATE view_pancake_setting SET sla_minutes = 20")
    name = harness.one("SELECT full_name FROM staff WHERE id = %s", ADMIN_ID)["full_name"]
    by_kind = {each.kind: each for each in state(database).switches}
    kill_switch, pause = by_kind["kill"], by_kind["pause"]
    assert (kill_switch.is_on, kill_switch.changed_by, kill_switch.person) == (True, ADMIN_ID, name)
    assert kill_switch.changed_at is not None
    assert (pause.is_on, pause.changed_at, pause.changed_by) == (False, None, None)


def test_a_disabled_connection_is_a_switch(database: str, harness: DatabaseHarness) -> None:
    harness.sql("UPDATE pancake_connection SET status = 'disabled'")
    found = {each.name: each for each in state(database).switches if each.kind == "connection"}
    assert (found["test"].is_on, found["test"].changed_by) == (False, harness.session.info.user)


def test_the_queue_is_counted_by_status_with_what_is_late(database: str, harness: DatabaseHarness) -> None:
    open_event = {"outcome": None, "processed_at": None}
    old, new = NOW - timedelta(minutes=20), NOW - timedelta(minutes=1)
    add_events(harness, 2, old, status="received", **open_event)
    add_events(harness, 1, new, status="received", **open_event)
    add_events(harness, 1, old, status="failed", error_code="x", next_attempt_at=old, **open_event)
    add_events(harness, 1, NOW - timedelta(days=2), status="dead_letter", error_code="x", **open_event)
    found = {each.status: each for each in state(database).queue}
    assert {name: (each.events, each.late, each.last_day) for name, each in found.items()} == {
        "received": (3, 2, 3), "failed": (1, 1, 1), "dead_letter": (1, 0, 0),
    }  # fmt: skip
    assert found["received"].oldest_at == old


def test_a_refire_does_not_make_an_event_young_and_a_replay_does(
    database: str, harness: DatabaseHarness
) -> None:
    old = NOW - timedelta(minutes=20)
    open_event = {"status": "received", "outcome": None, "processed_at": None, "received_at": NOW}
    add_events(harness, 1, old, **open_event)
    add_events(harness, 1, old - timedelta(days=1), replayed_at=NOW, **open_event)
    (found,) = state(database).queue
    assert (found.events, found.late, found.oldest_at) == (2, 1, old)


def test_the_rosters_are_those_that_active_sources_use(database: str, harness: DatabaseHarness) -> None:
    assert state(database).rosters == [Roster(None, 0, 0)]
    harness.fill_roster(3)
    harness.sql("UPDATE staff SET on_duty = false WHERE id = (SELECT min(staff_id::text)::uuid"
                " FROM pancake_assignee)")  # fmt: skip
    assert state(database).rosters == [Roster(None, 3, 2)]
    harness.fill_roster(2, source="-1")
    assert state(database).rosters == [Roster("Facebook", 2, 2)]
    harness.fill_roster(1, source="-3")  # its source is not active
    assert state(database).rosters == [Roster("Facebook", 2, 2)]


def test_unsent_notifications_are_counted_until_they_are_given_up(
    database: str, harness: DatabaseHarness
) -> None:
    at = NOW - timedelta(minutes=9)
    waiting = {"notifications": '[{"name": "a"}]'}
    add_events(harness, 2, at, **waiting)
    add_events(harness, 1, at - timedelta(hours=1), notified_at=NOW, **waiting)
    add_events(
        harness, 1, at - timedelta(hours=2), notify_given_up_at=NOW - timedelta(hours=1),
        notify_error="refused", **waiting,
    )  # fmt: skip
    found = state(database).unsent
    assert (found.unsent, found.oldest_at, found.given_up) == (2, at, 1)


def test_an_open_ticket_without_an_owner_is_counted(database: str, harness: DatabaseHarness) -> None:
    at = NOW - timedelta(hours=2)
    account = harness.one("INSERT INTO account (display_name) VALUES ('x') RETURNING id")["id"]
    tickets = [
        harness.one(
            "INSERT INTO ticket (title, source_id, account_id, status, created_at)"
            " VALUES ('x', 'ticket_source_pancake', %s, %s, %s) RETURNING id",
            account, status, at,
        )["id"]
        for status in ("new", "done")
    ]  # fmt: skip
    for number, ticket in enumerate(tickets):
        add_events(harness, 1, at + timedelta(seconds=number), ticket_id=ticket, assignee_id=None)
    found = state(database).unassigned
    assert (found.tickets, found.oldest_at) == (1, at)


def test_a_look_reads_everything_in_one_round_trip(
    database: str, harness: DatabaseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[pq.PipelineStatus] = []
    with open_limited(operators_url(database), "test") as db:
        make_cursor = db.cursor

        def cursor(**options: Any) -> Any:
            asked.append(pq.PipelineStatus(db.pgconn.pipeline_status))
            return make_cursor(**options)

        monkeypatch.setattr(db, "cursor", cursor)
        read_state(db, NOW)
    assert asked == [pq.PipelineStatus.ON] * 8


def test_a_look_changes_nothing(database: str, harness: DatabaseHarness) -> None:
    before = state(database)
    assert replace(state(database), now=before.now) == before
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        _try_to_write(database)


def _try_to_write(database: str) -> None:
    with open_limited(database, "test") as db:
        db.execute("UPDATE pancake_connection SET name = 'x'")
