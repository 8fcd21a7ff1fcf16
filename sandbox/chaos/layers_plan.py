"""The schedule of `scripts/chaos four_layers`: leads, edits and faults during one afternoon."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

CREATION_TIME = timedelta(minutes=40)
"""All leads are created within this time."""
POLL_INTERVAL = timedelta(minutes=5)
EDITED_SHARE = 0.1
"""Share of leads that are edited twice."""


@dataclass(frozen=True)
class Phase:
    """A time range with a fault; start and end are fractions of CREATION_TIME."""

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


def plan(start: datetime, leads: int, seed: int) -> list[Step]:
    """Return every step in order of time."""
    chance = random.Random(seed)
    gap = CREATION_TIME / leads
    steps = [Step(start + gap * number, "lead", number=number) for number in range(leads)]
    for number in chance.sample(range(leads), round(leads * EDITED_SHARE)):
        created_at = start + gap * number
        for _ in range(2):
            later = created_at + (start + CREATION_TIME - created_at) * chance.uniform(0.05, 1)
            steps.append(Step(max(later, created_at + timedelta(seconds=1)), "edit", number=number))
    for phase in PHASES:
        steps.append(Step(start + CREATION_TIME * phase.start, "begin", phase.name))
        steps.append(Step(start + CREATION_TIME * phase.end, "end", phase.name))
    return sorted(steps, key=lambda step: step.at)
