"""The waits between attempts to send notifications, and when they are given up."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.sending import (
    GIVE_UP_AFTER,
    MAX_REFUSALS,
    MAX_UNKNOWNS,
    NO_RECIPIENTS,
    REFUSED,
    UNKNOWN,
    UNREACHED,
    Sending,
    max_rows_per_call,
)

NOW = datetime(2026, 5, 14, tzinfo=UTC)


def attempts(*errors: str) -> list[Sending]:
    """The states after attempts that end with these errors, each as soon as it is due."""
    states, now = [Sending()], NOW
    for error in errors:
        states.append(states[-1].after(error, now))
        now = states[-1].next_at or now
    return states[1:]


def minutes_between(states: list[Sending]) -> list[float]:
    due = [NOW, *(state.next_at for state in states if state.next_at)]
    return [(later - earlier).total_seconds() / 60 for earlier, later in pairwise(due)]


def test_the_waits_after_refusals_double_up_to_ninety_minutes_and_the_twentieth_is_the_last() -> None:
    states = attempts(*[REFUSED] * MAX_REFUSALS)
    assert minutes_between(states) == [1, 2, 4, 8, 16, 32, 64, *[90] * 12]
    assert [state.given_up_at is not None for state in states] == [False] * 19 + [True]
    assert (MAX_REFUSALS, states[-1].refusals) == (20, 20)


def test_four_repeats_follow_an_attempt_without_an_answer() -> None:
    states = attempts(*[UNKNOWN] * MAX_UNKNOWNS)
    assert minutes_between(states) == [2, 20, 120, 480]
    assert [state.given_up_at is not None for state in states] == [False] * 4 + [True]


def test_what_cannot_be_reached_is_tried_every_five_minutes_for_a_day() -> None:
    states = attempts(*[UNREACHED] * 300)
    assert minutes_between(states)[:5] == [1, 2, 5, 5, 5]
    ended = next(state for state in states if state.given_up_at)
    assert ended.given_up_at == NOW + GIVE_UP_AFTER


def test_the_last_attempt_is_exactly_a_day_after_the_first() -> None:
    state = Sending().after(UNREACHED, NOW).after(UNREACHED, NOW + GIVE_UP_AFTER - timedelta(seconds=1))
    assert (state.next_at, state.given_up_at) == (NOW + GIVE_UP_AFTER, None)


def test_notifications_without_recipients_are_given_up_at_once() -> None:
    (state,) = attempts(NO_RECIPIENTS)
    assert (state.given_up_at, state.next_at, state.error) == (NOW, None, NO_RECIPIENTS)


@given(st.lists(st.sampled_from([REFUSED, UNKNOWN, UNREACHED]), min_size=400, max_size=400))
def test_every_history_ends_within_a_day_and_its_waits_are_bounded(errors: list[str]) -> None:
    now, state = NOW, Sending()
    for error in errors:
        state = state.after(error, now)
        if state.given_up_at:
            break
        assert state.next_at is not None
        assert now < state.next_at <= NOW + GIVE_UP_AFTER
        now = state.next_at
    assert state.given_up_at is not None
    assert state.given_up_at <= NOW + GIVE_UP_AFTER
    assert state.refusals <= MAX_REFUSALS
    assert state.unknowns <= MAX_UNKNOWNS
    assert state.refusals + state.unknowns <= state.attempts


@pytest.mark.parametrize(
    ("refusals", "unknowns", "rows"), [(0, 0, 50), (0, 1, 10), (0, 2, 1), (1, 0, 1), (1, 1, 1)]
)
def test_rows_that_failed_share_their_next_call_with_fewer(refusals: int, unknowns: int, rows: int) -> None:
    assert max_rows_per_call(refusals, unknowns) == rows
