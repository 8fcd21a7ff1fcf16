"""What the statements count by which a gate judges a wave: checks, nights, held and deleted leads."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

from leads.domain.body import ICT
from ops.clients.db_session import DbSession, open_session
from ops.golive.measuring import read_row
from tests.support.golive import Pilot, add_change, add_connection, add_source

AT = datetime.now(UTC)
DAY = timedelta(days=1)
PILOT = AT - 20 * DAY


@pytest.mark.own_database
def test_what_was_held_in_a_wave_and_processed_after_it_is_none_of_its_leads(
    database: str, tmp_path: Path
) -> None:
    """Neither for the handlers' count of the wave, nor for the tickets before the next one."""
    pilot = Pilot(database, tmp_path)
    pilot.seed()
    window = {"from": pilot.since, "to": pilot.now - timedelta(hours=12)}
    change = (
        "UPDATE pancake_webhook_event SET {} WHERE id ="
        " (SELECT max(id) FROM pancake_webhook_event WHERE created_at < %(to)s)"
    )
    held = "held_at = created_at, processed_at = %(to)s::timestamptz + interval '1 hour'"
    with open_session(database, "test") as session:
        session.execute("SET session_replication_role = replica")

        def found() -> tuple[int, int]:
            leads = read_row(session, "golive/count_dead_letters", window) or {}
            early = read_row(session, "golive/count_early_tickets", window) or {}
            return leads["processed"], early["value"]

        processed, early = found()
        session.execute(change.format(held).encode(), window)
        assert found() == (processed - 1, early - 1)
        replayed = "first_processed_at = created_at, replay_count = 1"
        session.execute(change.format(replayed).encode(), window)
        assert found() == (processed - 1, early), "a replay does not take its ticket out"


def days_ago(days: float) -> datetime:
    return AT - days * DAY


def test_checks_of_a_connection_are_due_since_it_exists_and_while_it_is_enabled(session: DbSession) -> None:
    """Disabling it for a moment does not begin the count anew."""

    def found(since: datetime, until: datetime = AT) -> tuple[object, ...]:
        shown = read_row(session, "golive/count_suspensions", {"from": since, "to": until}) or {}
        return tuple(shown.get(name) for name in ("value", "checks", "needed"))

    first = add_connection(session, "Diva", days_ago(30))
    assert found(PILOT) == (None, 0, 5184), "nine of ten of twenty days"
    session.execute(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
        " SELECT 'check_connection', t.at, t.at, t.at, 'succeeded', jsonb_build_object('connections',"
        " jsonb_build_array(jsonb_build_object('connection_id', %s::text)))"
        " FROM generate_series(%s, %s, interval '5 minutes') AS t (at)",
        [first, PILOT, AT],
    )
    assert found(PILOT) == (0, 5760, 5184)
    second = add_connection(session, "Other", days_ago(2))
    assert found(PILOT) == (None, 0, 518)
    add_change(session, "connection", second, days_ago(1), "status", "active", "disabled")
    add_change(session, "connection", second, days_ago(0.5), "status", "disabled", "active")
    assert found(PILOT) == (None, 0, 388), "36 hours of two days"
    assert found(PILOT, AT - 0.75 * DAY) == (None, 0, 259), "it was enabled for the first day"
    assert found(AT - 0.75 * DAY) == (None, 0, 129), "it was disabled when the window began"
    assert found(PILOT, AT - 3 * DAY) == (0, 4896, 4406), "it did not exist yet"
    add_change(session, "connection", second, days_ago(0.25), "status", "active", "disabled")
    session.execute("UPDATE pancake_connection SET status = 'disabled' WHERE id = %s", [second])
    assert found(PILOT) == (None, 0, 324), "it is disabled now"
    assert found(AT - 0.2 * DAY) == (0, 57, 51), "it was disabled all the time"


def test_a_connection_that_is_disabled_when_the_gate_is_asked_is_judged_as_it_was(session: DbSession) -> None:
    """Its nights and modes count if it was enabled in the wave."""
    add_connection(session, "Diva", days_ago(30))

    def found() -> list[int]:
        """How many nights are needed, and how many connections enforce nothing."""
        window = {"from": AT - 7 * DAY, "to": AT}
        nights = read_row(session, "golive/load_nights", window) or {}
        modes = read_row(session, "golive/count_unenforced", window) or {}
        return [nights["to_reconcile"], modes["signature"], modes["allowlist"]]

    def disable(connection: str, days: float) -> None:
        add_change(session, "connection", connection, days_ago(days), "status", "active", "disabled")
        session.execute("UPDATE pancake_connection SET status = 'disabled' WHERE id = %s", [connection])

    first = found()
    disable(add_connection(session, "Long ago", days_ago(30)), 10)
    assert found() == first
    bad = add_connection(session, "Bad", days_ago(30))
    enabled = found()
    assert enabled == [2 * each for each in first]
    disable(bad, 0.001)
    assert found() == enabled
    disable(add_connection(session, "Off for four days", days_ago(30)), 4)
    nights, *modes = found()
    assert modes == [3, 3]
    # Just after midnight in Vietnam both the first day and the last are a part of a day.
    assert nights - enabled[0] in (3, 4, 5), "of the seven, the days on which it was enabled"


def test_leads_of_a_source_that_was_switched_off_in_the_window_count_as_held(session: DbSession) -> None:
    """And of a source whose connection was disabled; both as they were in the window, not as they are now."""
    sources = {"kept": "Diva", "off": "Diva", "never": "Diva", "by mistake": "Diva", "of": "Other"}
    connections = {name: add_connection(session, name, days_ago(30)) for name in ("Diva", "Other")}
    for source, connection in sources.items():
        made = add_source(session, connections[connection], source, source in ("kept", "of"))
        if source == "by mistake":
            add_change(session, "source", made, days_ago(8), "is_active", False, True)
            add_change(session, "source", made, days_ago(7.98), "is_active", True, False)
        elif source != "never":
            add_change(session, "source", made, days_ago(15), "is_active", False, True)
        if source == "off":
            add_change(session, "source", made, days_ago(5), "is_active", True, False)
        session.execute(
            "INSERT INTO pancake_webhook_event"
            " (connection_id, origin, payload_hash, status, arrived_at, created_at, held_at, source_ids)"
            " SELECT %(connection)s, 'webhook', sha256((%(source)s::text || n)::bytea), 'received', at, at,"
            " CASE WHEN %(source)s = 'by mistake' OR %(source)s IN ('off', 'of') AND n <= 5 THEN at END,"
            " ARRAY[%(source)s]"
            " FROM generate_series(1, 19) AS n"
            " CROSS JOIN LATERAL (SELECT %(now)s - make_interval(days => n) AS at) AS t",
            {"connection": connections[connection], "source": source, "now": AT + timedelta(hours=1)},
        )

    def found(since: float, until: float) -> tuple[int, int]:
        window = {"from": AT - since * DAY, "to": AT - until * DAY}
        row = read_row(session, "golive/load_sources", window) or {}
        return row["leads"], row["held"]

    assert found(20, 0) == (45, 10), "since they were switched on"
    session.execute("UPDATE pancake_connection SET status = 'disabled' WHERE name = 'Other'")
    add_change(session, "connection", connections["Other"], days_ago(5), "status", "active", "disabled")
    assert found(20, 0) == (45, 10)
    assert found(20, 6) == (27, 0), "all three were on"
    assert found(4, 0) == (4, 0), "two were off all the time"


def test_what_was_deleted_since_a_night_counted_it_is_not_hidden_by_other_events(session: DbSession) -> None:
    """Neither by one that was held and is replayed, nor by a deletion from the log of Hasura too."""
    day = AT.astimezone(ICT).date() - 3 * DAY
    events = session.execute(
        "INSERT INTO pancake_webhook_event"
        " (connection_id, origin, payload_hash, status, arrived_at, created_at, received_at, held_at)"
        " SELECT %s, 'webhook', sha256(n::text::bytea), 'received', t.at, t.at,"
        " CASE WHEN n > 3 THEN t.at END, CASE WHEN n < 3 THEN t.at END"
        " FROM generate_series(1, 10) AS n CROSS JOIN LATERAL (SELECT now() AS at) AS t RETURNING id",
        [add_connection(session, "Diva", days_ago(30))],
    ).fetchall()
    ids = sorted(event["id"] for event in events)

    def found(days: float, count: int, last: int) -> tuple[int, int]:
        """What the gate finds once a night has counted the log."""
        counted = {"day": f"{day}", "events": count, "first_id": ids[0], "last_id": last}
        at = AT - days * DAY
        session.execute(
            "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
            " VALUES ('purge_events', %(at)s, %(at)s, %(at)s, 'succeeded', %(report)s)",
            {"at": at, "report": Jsonb({"engine_log": [counted]})},
        )
        row = read_row(session, "golive/load_nights", {"from": AT - 7 * DAY, "to": AT}) or {}
        return row["not_stored"], row["logged"]

    assert found(2, 10, ids[-1]) == (0, 1), "those that were held, or dead letters from the start, too"
    session.execute("DELETE FROM pancake_webhook_event WHERE id = %s", [ids[-1]])
    session.execute("UPDATE pancake_webhook_event SET received_at = now() WHERE id = %s", [ids[0]])
    assert found(1, 9, ids[-2]) == (1, 1)
