"""Wilson's interval, and whether a count shows that a limit is met."""

from math import log

import pytest

from leads.domain.proportion import is_shown_below, needed_to_show, wilson_interval


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433), (10, 10, 0.7225, 1.0), (595, 598, 0.9853, 0.9983)],
)
def test_the_interval_is_that_of_tables(successes: int, total: int, low: float, high: float) -> None:
    """The values of R's binom.confint(…, methods = "wilson")."""
    assert wilson_interval(successes, total) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (3, 2), (-1, 4)])
def test_what_is_no_share_is_refused(successes: int, total: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson_interval(successes, total)


def test_a_success_rate_of_995_needs_598_cases_without_a_failure() -> None:
    assert not is_shown_below(0, 597, 0.005)
    assert is_shown_below(0, 598, 0.005)
    assert needed_to_show(0, 0.005) == 598


@pytest.mark.parametrize("limit", [0.005, 0.01, 0.1, 0.15, 0.2])
@pytest.mark.parametrize("bad", [0, 1, 2, 7, 40])
def test_the_needed_number_is_the_least_that_shows_it(bad: int, limit: float) -> None:
    needed = needed_to_show(bad, limit)
    assert is_shown_below(bad, needed, limit)
    assert not is_shown_below(bad, needed - 1, limit)
    assert needed >= log(0.05) / log(1 - limit)


def test_a_limit_of_0_or_1_can_not_be_shown() -> None:
    assert not is_shown_below(0, 10_000, 0.0)
    assert not is_shown_below(0, 10_000, 1.0)
    with pytest.raises(ValueError, match="no limit"):
        needed_to_show(0, 0.0)
