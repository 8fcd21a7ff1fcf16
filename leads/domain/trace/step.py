"""One line of a lead's story, and how its parts are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_NAMES = 3


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to a lead, or what is so now. `at` is None for what belongs to the step before.

    `kind` is the layer of an arrival (webhook, poll, reconcile), else one of KINDS.
    """

    kind: str
    text: str
    at: datetime | None = None
    event_id: int | None = None


KINDS = (
    "replay", "held", "waits", "failed", "dead_letter", "result", "customer", "owner", "recall", "skipped",
    "note", "told", "ticket",
)  # fmt: skip
"""The kinds of steps that are no arrival, in the order in which an event has them."""


def clock_time(time: datetime | None) -> str:
    """Return the date and time to the second, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if time else "an unknown time"


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many others there are."""
    rest = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def quoted(texts: Sequence[str]) -> str:
    """Return the first texts, each in quotes."""
    return listed([f'"{text}"' for text in texts])
