"""What a counted share says about the true one: Wilson's interval, and whether a limit is shown to be met."""

from math import exp, lgamma, log, sqrt

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: an interval of 95 %."""
SHOWN_AT = 0.05
"""A limit is shown to be met if chance alone would give so good a count in at most 5 % of all cases."""


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """Return the bounds of Wilson's 95 % score interval, from 0 to 1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    Raises ValueError for a total of 0, or for more successes than that.
    """
    if not 0 <= successes <= total or total == 0:
        raise ValueError(f"{successes} of {total} is no share")
    share, square = successes / total, Z95 * Z95
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = Z95 / (1 + square / total) * sqrt(share * (1 - share) / total + square / (4 * total * total))
    # Rounding would leave the bound of all or nothing a little inside.
    return 0.0 if successes == 0 else middle - half, 1.0 if successes == total else middle + half


def is_shown_below(bad: int, total: int, limit: float) -> bool:
    """Whether `bad` of `total` shows that the true share of bad ones is below `limit`, a share from 0 to 1.

    One-sided exact binomial test. Without any bad one it needs log(0.05) / log(1 - limit) cases: 598 for a
    limit of 0.5 %.
    """
    if not 0 < limit < 1 or bad >= total:
        return False
    probability = 0.0
    for count in range(bad + 1):
        probability += exp(
            lgamma(total + 1) - lgamma(count + 1) - lgamma(total - count + 1)
            + count * log(limit) + (total - count) * log(1 - limit)
        )  # fmt: skip
        if probability > SHOWN_AT:
            return False
    return True


def needed_to_show(bad: int, limit: float) -> int:
    """Return how many cases with no more than `bad` bad ones show that their share is below `limit`.

    Raises ValueError for a limit that is not between 0 and 1.
    """
    if not 0 < limit < 1:
        raise ValueError(f"{limit} is no limit of a share")
    low, high = bad, max(bad, int(log(SHOWN_AT) / log(1 - limit)))
    while not is_shown_below(bad, high, limit):
        low, high = high, 2 * high + 1
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_shown_below(bad, middle, limit) else (middle, high)
    return high
