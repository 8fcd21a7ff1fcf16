"""What a stream of lead versions must have in the end."""

import time
from itertools import islice

from sandbox.chaos.checker import EFFECTS
from sandbox.chaos.effects import check_effects
from sandbox.chaos.stream import LeadVersion, Sent, versions
from sandbox.chaos.stream_effects import NEW_LEAD, acknowledged_effects, expected_effects

FIRST = LeadVersion(1, "chaos-000001", "0910000001", "Khách 1", "2026-11-01T00:00:00.001000")
LATER = LeadVersion(2, "chaos-000001", "0910000001", "Khách 2", "2026-11-01T00:00:00.002000")


def test_a_record_has_one_ticket_with_its_newest_name_and_one_notification() -> None:
    assert expected_effects([FIRST, LATER], ["assignment 1 of s"]) == {
        "event": [
            "chaos-000001@2026-11-01T00:00:00.001000 processed",
            "chaos-000001@2026-11-01T00:00:00.002000 processed",
        ],
        "customer": ["account +84910000001", "contact +84910000001"],
        "ticket": ["chaos-000001 Khách 2", "assignment 1 of s"],
        "notification": [f"chaos-000001 {NEW_LEAD}"],
    }


def test_every_effect_of_a_stream_is_checked() -> None:
    expected = expected_effects(list(islice(versions(seed=3), 50)), [])
    assert check_effects(expected, expected, expected).is_valid
    for effect in EFFECTS:
        missing = {**expected, effect: expected[effect][1:]}
        doubled = {**expected, effect: [*expected[effect], expected[effect][0]]}
        assert check_effects(expected, expected, missing).ids("lost") == [f"{effect}: {expected[effect][0]}"]
        assert check_effects(expected, expected, doubled).ids("duplicated") == [
            f"{effect}: {expected[effect][0]}"
        ]


def test_a_long_stream_is_checked_within_seconds() -> None:
    """The load test has 60,000 versions."""
    sent = Sent()
    for version in islice(versions(seed=3, new_share=1.0), 20_000):
        sent.versions.append(version)
        sent.record(version, "received", True, 0.1)
    attempted = expected_effects(sent.versions, ["assignment 1 of s"])
    started = time.process_time()
    assert acknowledged_effects(sent, attempted, ["assignment 1 of s"]) == attempted
    assert time.process_time() - started < 3


def test_only_what_was_answered_with_2xx_is_acknowledged() -> None:
    sent = Sent()
    sent.record(FIRST, "received", True, 0.1)
    sent.record(LATER, "502", False, 0.2)
    assert sent.acknowledged == [FIRST]
    assert sent.non_2xx == ["chaos-000001@2026-11-01T00:00:00.002000: 502"]
