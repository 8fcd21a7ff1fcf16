"""Business minutes: examples, and random periods against a count of single minutes."""

import random
from datetime import UTC, date, datetime, time, timedelta

import psycopg
import pytest

from leads.domain.window import ICT

OFFICE = "mon-fri 08:00-12:00, mon-fri 13:30-17:30, sat 08:00-12:00"
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TET = "2027-02-05..2027-02-11, 2027-04-30"


@pytest.fixture(scope="module")
def db(migrated: psycopg.Connection) -> psycopg.Connection:
    return migrated


def minutes(
    db: psycopg.Connection, start: datetime, end: datetime, hours: str, holidays: str = "none"
) -> float:
    row = db.execute(
        "SELECT pancake_business_minutes(%s, %s, %s, %s)", [start, end, hours, holidays]
    ).fetchone()
    assert row is not None
    return float(row[0])


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ICT)


@pytest.mark.parametrize(
    ("start", "end", "hours", "holidays", "expected"),
    [
        ("2026-05-14T09:00", "2026-05-14T09:30", "always", "none", 30),
        ("2026-05-14T09:00", "2026-05-14T09:30", OFFICE, "none", 30),
        ("2026-05-14T11:50", "2026-05-14T13:40", OFFICE, "none", 20),  # over lunch
        ("2026-05-14T22:00", "2026-05-15T08:05", OFFICE, "none", 5),  # over night
        ("2026-05-16T11:00", "2026-05-18T08:10", OFFICE, "none", 70),  # over Sunday
        ("2026-05-17T09:00", "2026-05-17T10:00", OFFICE, "none", 0),  # on Sunday
        ("2027-02-04T17:20", "2027-02-12T08:10", OFFICE, TET, 20),  # over Tết, a Thursday to a Friday
        ("2027-04-30T08:00", "2027-04-30T17:00", "always", TET, 0),
        ("2027-04-29T23:00", "2027-05-01T01:00", "always", TET, 120),
        ("2026-05-16T23:00", "2026-05-19T01:00", "sat-mon 00:00-24:00", "none", 60 + 2 * 1440),
        (
            "2026-05-14T09:00",
            "2026-05-14T10:00",
            "thu 08:00-09:30, thu 09:15-09:45",
            "none",
            45,
        ),  # overlapping
        ("2026-05-14T10:00", "2026-05-14T09:00", OFFICE, "none", 0),  # ends before it begins
        ("2026-05-14T09:00", "2026-05-14T10:00", "thu 17:00-08:00", "none", 0),
        ("2026-05-14T09:00", "2026-05-14T10:00", "always", "2026-05-41", 60),  # no such day
    ],
)
def test_examples(
    db: psycopg.Connection, start: str, end: str, hours: str, holidays: str, expected: float
) -> None:
    assert minutes(db, local(start), local(end), hours, holidays) == pytest.approx(expected)


def test_random_periods_equal_a_count_of_their_minutes(db: psycopg.Connection) -> None:
    chance = random.Random(16)
    for _ in range(150):
        start = datetime(2027, 2, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(20 * 1440))
        end = start + timedelta(minutes=chance.randrange(6 * 1440))
        entries = []
        for _ in range(chance.randrange(1, 4)):
            first, last = chance.choice(WEEKDAYS), chance.choice(WEEKDAYS)
            opens, closes = sorted(chance.sample(range(24), 2))
            entries.append((first, last, time(opens), time(closes)))
        hours = ", ".join(
            f"{first}-{last} {opens:%H:%M}-{closes:%H:%M}" for first, last, opens, closes in entries
        )
        counted = sum(
            is_open(start + timedelta(minutes=minute), entries)
            for minute in range(int((end - start).total_seconds() // 60))
        )
        assert minutes(db, start, end, hours, TET) == pytest.approx(counted), (start, end, hours)


def is_open(moment: datetime, entries: list[tuple[str, str, time, time]]) -> bool:
    at = moment.astimezone(ICT)
    if date(2027, 2, 5) <= at.date() <= date(2027, 2, 11) or at.date() == date(2027, 4, 30):
        return False
    for first, last, opens, closes in entries:
        begin, length = WEEKDAYS.index(first), (WEEKDAYS.index(last) - WEEKDAYS.index(first)) % 7
        if (at.weekday() - begin) % 7 <= length and opens <= at.time() < closes:
            return True
    return False


def test_no_function_is_called_for_each_ticket_before_the_hours_are_looked_at(db: psycopg.Connection) -> None:
    """PostgreSQL inlines no function with a subquery: the figure of a day called it for each ticket."""
    plan = db.execute(
        "EXPLAIN (VERBOSE, COSTS OFF)"
        " SELECT pancake_business_minutes(t.created_at, t.updated_at, s.hours, s.days)"
        " FROM ticket AS t, (VALUES ('always', 'none')) AS s (hours, days)"
    ).fetchall()
    assert "pancake_business_minutes" not in str(plan)
