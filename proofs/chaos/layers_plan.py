"""The schedules of `scripts/chaos four_layers` and `day`: leads, edits and faults."""

import random
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from leads.domain.body import ICT
from sandbox.pancake.leads import relative_rate

AFTERNOON = timedelta(minutes=40)
"""All leads of four_layers are created within this time."""
DAY = timedelta(days=1)
POLL_INTERVAL = timedelta(minutes=5)
EDITED_SHARE = 0.1
"""Share of leads that are edited twice."""


@dataclass(frozen=True)
class Phase:
    """A time range with a fault; start and end are fractions of the time in which leads are created."""

    name: str
    start: float
    end: float
    faults: Mapping[str, Any] = field(default_factory=dict)


BACKGROUND = {"drop": 0.3, "duplicate": 0.1, "delay": 0.1, "delay_seconds": 2}
PHASES = (
    Phase("slow_index", 0.10, 0.30, {"drop": 1, "lag_seconds": 640}),
    Phase("suspended", 0.35, 0.48),
    Phase("rest_down", 0.52, 0.62, {"down": True}),
    Phase("held", 0.66, 0.74),
    Phase("deep_lag", 0.80, 0.86, {"drop": 1, "lag_seconds": 3000}),
)
"""Polling finds records within overlap + settle (660 s), as in slow_index; deep_lag needs reconciliation."""


@dataclass(frozen=True)
class Step:
    """One step at a moment: create a lead, edit an earlier one, begin or end a phase."""

    at: datetime
    kind: str
    name: str = ""
    number: int = 0


def plan_afternoon(start: datetime, leads: int, seed: int) -> list[Step]:
    """Return every step in order of time; the leads come at equal intervals."""
    return _plan(start, AFTERNOON, [AFTERNOON * number / leads for number in range(leads)], seed)


def plan_day(start: datetime, leads: int, seed: int) -> list[Step]:
    """Return every step in order of time; the leads follow the hours of a day that begins at `start`."""
    rates = [relative_rate((start + timedelta(hours=hour)).astimezone(ICT)) for hour in range(24)]
    return _plan(start, DAY, [_moment(rates, (number + 0.5) / leads) for number in range(leads)], seed)


def _moment(rates: Sequence[float], share: float) -> timedelta:
    """Return the time of a day when this share of its leads has come; `rates` are those of its hours."""
    ends = list(accumulate(rates))
    reached = share * ends[-1]
    hour = bisect(ends, reached)
    return timedelta(hours=hour + 1 - (ends[hour] - reached) / rates[hour])


def _plan(start: datetime, length: timedelta, moments: Sequence[timedelta], seed: int) -> list[Step]:
    chance = random.Random(seed)
    steps = [Step(start + moment, "lead", number=number) for number, moment in enumerate(moments)]
    for number in chance.sample(range(len(moments)), round(len(moments) * EDITED_SHARE)):
        created_at = start + moments[number]
        for _ in range(2):
            later = created_at + (start + length - created_at) * chance.uniform(0.05, 1)
            steps.append(Step(max(later, created_at + timedelta(seconds=1)), "edit", number=number))
    for phase in PHASES:
        steps.append(Step(start + length * phase.start, "begin", phase.name))
        steps.append(Step(start + length * phase.end, "end", phase.name))
    return sorted(steps, key=lambda step: step.at)
