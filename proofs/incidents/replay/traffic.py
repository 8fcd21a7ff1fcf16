"""How many leads arrive in each minute: seeded, with the hours of a day in Vietnam."""

import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from leads.domain.body import ICT
from sandbox.pancake.leads import relative_rate

MINUTE = timedelta(minutes=1)
NORMAL_FROM = 50.0
"""From this mean on a Poisson count is drawn from the normal distribution with its mean and variance."""


def minutes(start: datetime, count: int) -> Iterator[datetime]:
    """Return the beginning of each minute."""
    return (start + number * MINUTE for number in range(count))


def arrivals(start: datetime, count: int, leads_per_hour: float, seed: int) -> list[int]:
    """Return the leads of each minute: Poisson counts around the rate of the hour."""
    chance = random.Random(seed)
    return [
        poisson(chance, leads_per_hour / 60 * relative_rate(moment.astimezone(ICT)))
        for moment in minutes(start, count)
    ]


def poisson(chance: random.Random, mean: float) -> int:
    """Draw a Poisson count."""
    if mean >= NORMAL_FROM:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    count, left = 0, chance.random()
    limit = math.exp(-mean)
    while left > limit:  # Knuth: the number of uniform factors until the product falls below e^-mean
        left *= chance.random()
        count += 1
    return count
