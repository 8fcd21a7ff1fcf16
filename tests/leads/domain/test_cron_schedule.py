"""When a cron is due and when it is late, compared with croniter and by hand."""

from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter

from leads.cli.status.looking import read_expressions
from leads.domain.cron_schedule import Schedule
from leads.services.cron_runs import CRONS

NOW = datetime(2026, 5, 14, 9, 7, 30, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-05-{text}:00+00:00")


OTHERS = ("7-59/13 1,5 * 5 *", "0 3 * * 7", "5 0 14-16 * *")


@pytest.mark.parametrize("expression", [*sorted(set(read_expressions().values())), *OTHERS])
def test_ticks_are_those_of_croniter(expression: str) -> None:
    schedule = Schedule.parse(expression)
    for minutes in range(0, 3000, 37):
        time = NOW + timedelta(minutes=minutes)
        expected = croniter(expression, time).get_next(datetime)
        if expected - time <= timedelta(days=8):
            assert schedule.next_after(time) == expected


def test_the_metadata_have_a_schedule_for_each_cron() -> None:
    assert set(read_expressions()) == set(CRONS)


@pytest.mark.parametrize(
    "expression", ["* * * *", "60 * * * *", "*/0 * * * *", "5-1 * * * *", "a * * * *", "0 0 1 * 1"]
)
def test_what_is_no_schedule_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Schedule.parse(expression)


def test_a_schedule_without_a_tick_within_eight_days_is_refused() -> None:
    with pytest.raises(ValueError, match="eight days"):
        Schedule.parse("0 0 1 1 *").next_after(NOW)


@pytest.mark.parametrize(
    ("expression", "succeeded", "late_since"),
    [
        ("*/5 * * * *", "14T09:05", None),
        ("*/5 * * * *", "14T08:55", None),
        ("*/5 * * * *", "14T08:50", "14T08:55"),
        ("* * * * *", "14T09:04", None),
        ("* * * * *", "14T09:03", "14T09:04"),
        ("*/15 * * * *", "14T08:30", None),
        ("*/15 * * * *", "14T08:15", "14T08:30"),
        ("0 19 * * *", "13T19:00", None),
        ("0 19 * * *", "12T19:00", "13T19:00"),
        ("30 8 * * *", "13T08:30", None),
        ("5 8 * * *", "13T08:05", "14T08:05"),
        ("0 19 * * *", None, "13T19:00"),
    ],
)
def test_a_cron_is_late_after_two_failed_ticks_or_an_hour(
    expression: str, succeeded: str | None, late_since: str | None
) -> None:
    found = Schedule.parse(expression).overdue_since(at(succeeded) if succeeded else None, NOW)
    assert found == (at(late_since) if late_since else None)
