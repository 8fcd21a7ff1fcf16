"""The status of a connection from its two channels."""

from datetime import UTC, datetime, timedelta

import pytest

from leads.domain.health import Signs, judge

NOW = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def minutes(number: float) -> datetime:
    return NOW - timedelta(minutes=number)


@pytest.mark.parametrize("before", ["active", "silent", "suspended", "outage", "key_invalid"])
def test_a_working_api_without_missed_records_is_active_even_without_webhooks(before: str) -> None:
    assert judge(before, NOW, Signs("alive", 0, minutes(600), 0, None)) == "active"
    assert judge(before, NOW, Signs("alive", 0, None, 0, None)) == "active"


@pytest.mark.parametrize(
    ("missed", "since", "expected"),
    [
        (1, 0, "silent"),
        (9, 600, "silent"),
        (10, 29.9, "silent"),
        (10, 30, "suspended"),
        (500, 31, "suspended"),
    ],
)
def test_records_found_by_polling_mean_silent_then_suspended(
    missed: int, since: float, expected: str
) -> None:
    assert judge("active", NOW, Signs("alive", 0, minutes(700), missed, minutes(since))) == expected


@pytest.mark.parametrize("before", ["active", "silent", "suspended", "outage"])
def test_a_rejected_key_is_reported_at_once(before: str) -> None:
    assert judge(before, NOW, Signs("rejected", 0, minutes(1), 0, None)) == "key_invalid"


@pytest.mark.parametrize(
    ("before", "failed", "last_webhook", "expected"),
    [
        ("active", 1, 60, "active"),
        ("active", 2, 60, "outage"),
        ("silent", 2, 60, "outage"),
        ("active", 5, 9, "active"),
        ("outage", 5, 1, "active"),
        ("suspended", 1, 60, "suspended"),
        ("key_invalid", 5, 1, "key_invalid"),
    ],
)
def test_a_failing_api_is_an_outage_only_with_a_silent_webhook_for_two_checks(
    before: str, failed: int, last_webhook: float, expected: str
) -> None:
    assert judge(before, NOW, Signs("unavailable", failed, minutes(last_webhook), 0, None)) == expected


def test_an_outage_does_not_need_a_first_webhook() -> None:
    assert judge("active", NOW, Signs("unavailable", 2, None, 0, None)) == "outage"
