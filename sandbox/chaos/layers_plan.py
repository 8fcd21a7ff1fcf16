"""What happens when in `scripts/chaos four_layers`: leads, edits and faults along an afternoon."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

MAKING = timedelta(minutes=40)
"""The leads are made within that time."""
POLL_EVERY = timedelta(minutes=5)
EDITED = 0.1
"""Share of leads that are edited twice."""


@dataclass(frozen=True)
class Phase:
    """A stretch of the leads, as fractions of their number, with something wrong."""

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
"""slow_index stays within what overlap and settle promise (660 s); deep_lag is for reconciliation alone."""


@dataclass(frozen=True)
class Step:
    """One thing to do at a moment: make a lead, edit one made before, begin or end a phase."""

    at: datetime
    kind: str
    name: str = ""
    number: int = 0


def plan(start: datetime, leads: int, seed: int) -> list[Step]:
    """Every step in order of time."""
    chance = random.Random(seed)
    gap = MAKING / leads
    steps = [Step(start + gap * number, "lead", number=number) for number in range(leads)]
    for number in chance.sample(range(leads), round(leads * EDITED)):
        made = start + gap * number
        for _ in range(2):
            later = made + (start + MAKING - made) * chance.uniform(0.05, 1)
            steps.append(Step(max(later, made + timedelta(seconds=1)), "edit", number=number))
    for phase in PHASES:
        steps.append(Step(start + MAKING * phase.start, "begin", phase.name))
        steps.append(Step(start + MAKING * phase.end, "end", phase.name))
    return sorted(steps, key=lambda step: step.at)
