"""Windows: their bounds, the filter of Pancake, days, and whether an answer is trusted."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.timestamps import in_utc
from leads.domain.window import (
    ICT,
    OVERLAP,
    SETTLE,
    Window,
    advance,
    day_window,
    days_owed,
    filter_bounds,
    has_explanation,
    latest_window,
    next_window,
    unreturned,
)

T0 = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


# --- windows ------------------------------------------------------------------------------------------------


def test_a_window_ends_before_the_present_and_reaches_back_before_the_watermark() -> None:
    window = next_window(at(0), at(300))
    assert window == Window(at(0) - OVERLAP, at(300) - SETTLE)
    assert window.start in window
    assert window.end in window


def test_without_a_watermark_the_last_day_is_read() -> None:
    window = next_window(None, at(0))
    assert window == Window(at(0) - SETTLE - timedelta(days=1) - OVERLAP, at(0) - SETTLE)
    assert advance(None, window, trusted=True) == window.end


def test_after_an_outage_the_watermark_catches_up_in_steps_without_a_gap() -> None:
    windows: list[Window] = []
    now = at(0)
    watermark: datetime | None = now - timedelta(days=3)
    while not windows or windows[-1].end < now - SETTLE:
        windows.append(next_window(watermark, now))
        watermark = advance(watermark, windows[-1], trusted=True)
    assert len(windows) == 3
    assert all(later.start == earlier.end - OVERLAP for earlier, later in pairwise(windows))


def test_what_is_new_is_read_besides_a_window_that_ends_before_it() -> None:
    assert latest_window(next_window(at(0), at(300)), at(300)) is None
    now = at(0) + timedelta(days=1, hours=3)
    assert latest_window(next_window(at(0), now), now) == Window(at(86_400) - OVERLAP, now - SETTLE)
    now = at(0) + timedelta(days=9)
    day = Window(now - SETTLE - timedelta(days=1) - OVERLAP, now - SETTLE)
    assert latest_window(next_window(at(0), now), now) == day


def test_a_window_that_is_not_trusted_leaves_the_watermark() -> None:
    assert advance(at(0), next_window(at(0), at(300)), trusted=False) == at(0)


def test_a_clock_that_went_back_never_moves_the_watermark_back() -> None:
    window = next_window(at(10_000), at(0))
    assert window == Window(at(0) - SETTLE - OVERLAP, at(0) - SETTLE)
    assert advance(at(10_000), window, trusted=True) == at(10_000)


@given(st.integers(-12, 14), st.floats(0, 90_000))
def test_the_filter_contains_the_window_in_whatever_zone_it_is_read(zone_hours: int, seconds: float) -> None:
    window = Window(at(seconds), at(seconds + 0.9))
    start, end = (
        datetime.fromisoformat(text).replace(tzinfo=UTC) - timedelta(hours=zone_hours)
        for text in filter_bounds(window)
    )
    assert start <= window.start
    assert window.end <= end


def test_the_filter_follows_the_vendors_grammar() -> None:
    assert Window(at(0), at(60)).record_filter() == {
        "is_group": False,
        "fields": [
            {
                "field_name": "modified_on",
                "type": "$date_time",
                "value": ["2026-05-13T12:00:00", "2026-05-14T16:01:01"],
                "is_filter_exclude": False,
            }
        ],
    }


def test_an_ict_day_is_whole_and_days_do_not_overlap() -> None:
    first, second = day_window(date(2026, 5, 14)), day_window(date(2026, 5, 15))
    assert first.start == datetime(2026, 5, 14, tzinfo=ICT)
    assert second.start - first.end == timedelta(microseconds=1)


def test_every_closed_day_without_a_succeeded_run_is_owed_and_at_most_fourteen_back() -> None:
    now = datetime(2026, 5, 14, 19, 0, tzinfo=UTC)  # 02:00 on the 15th in Vietnam
    owed = days_owed(now, {date(2026, 5, 12)})
    assert owed[0] == date(2026, 5, 1)
    assert owed[-1] == date(2026, 5, 14)
    assert len(owed) == 13
    assert date(2026, 5, 12) not in owed


def test_a_day_is_not_closed_before_its_last_minute_has_settled() -> None:
    midnight = datetime(2026, 5, 15, tzinfo=ICT)
    assert days_owed(midnight + timedelta(seconds=30), ())[-1] == date(2026, 5, 13)
    assert days_owed(midnight + SETTLE, ())[-1] == date(2026, 5, 14)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-05-14T02:35:56.123456", "UTC"),
        ("2026-05-14T09:35:56.123456", "Asia/Ho_Chi_Minh"),
        ("2026-05-14T02:35:56.123456+00:00", "Asia/Ho_Chi_Minh"),
        ("2026-05-14T09:35:56.123456+07:00", "UTC"),
    ],
)
def test_naive_times_are_read_in_the_zone_of_the_connection(text: str, zone: str) -> None:
    moment = in_utc(datetime.fromisoformat(text), ZoneInfo(zone))
    assert moment == datetime(2026, 5, 14, 2, 35, 56, 123456, UTC)


# --- trust --------------------------------------------------------------------------------------------------

WINDOW = Window(at(0), at(600))


def test_a_record_known_by_webhook_to_lie_in_the_window_must_be_in_the_answer() -> None:
    known = {"a": at(0), "b": at(600), "c": at(601), "d": at(-1)}
    assert unreturned(WINDOW, known, {"a"}) == ["b"]


def test_a_record_missing_from_the_answer_though_unchanged_makes_the_filter_suspect() -> None:
    assert not has_explanation(WINDOW, ["b"], {"b": at(600)})
    assert not has_explanation(WINDOW, ["b"], {"b": None})


def test_a_record_deleted_or_changed_since_explains_its_absence() -> None:
    assert has_explanation(WINDOW, ["gone", "changed"], {"changed": at(700)})
    assert has_explanation(WINDOW, [], {})
