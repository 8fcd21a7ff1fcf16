"""The wait before a failed row is retried: 30 s, 2 min, 10 min, 1 h, each ±20 %, then never."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.backoff import MAX_ATTEMPTS, delay_after

WAIT_SECONDS = {1: 30, 2: 120, 3: 600, 4: 3600}


@pytest.mark.parametrize(("attempts", "seconds"), WAIT_SECONDS.items())
def test_the_wait_after_each_attempt(attempts: int, seconds: int) -> None:
    assert delay_after(attempts, 0.0) == timedelta(seconds=seconds)


@pytest.mark.parametrize("attempts", [5, 6, 100])
def test_the_fifth_attempt_is_the_last(attempts: int) -> None:
    assert delay_after(attempts, 0.0) is None
    assert MAX_ATTEMPTS == 5


@given(st.integers(1, 4), st.floats(-1, 1))
def test_jitter_moves_a_wait_by_a_fifth_at_most(attempts: int, jitter: float) -> None:
    wait = delay_after(attempts, jitter)
    assert wait is not None
    seconds = wait.total_seconds()
    assert 0.8 * WAIT_SECONDS[attempts] - 1e-6 <= seconds <= 1.2 * WAIT_SECONDS[attempts] + 1e-6


def test_a_row_without_attempts_waits_as_after_the_first() -> None:
    assert delay_after(0, 0.0) == timedelta(seconds=30)
