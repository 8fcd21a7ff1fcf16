"""What a minute of the model shows, and the rows that are stored."""

from collections import Counter
from dataclasses import dataclass, field

from leads.domain.health import ACTIVE


@dataclass
class Minute:
    """What was counted in a minute, and what its end looks like. Times are seconds since the start."""

    edge: Counter[str] = field(default_factory=Counter)
    """Requests to the edge by status."""
    upstream: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Attempts of the edge by path and result."""
    stored: Counter[str] = field(default_factory=Counter)
    """Deliveries of the webhook by result of ingest."""
    store_seconds: list[tuple[float, int]] = field(default_factory=list)
    """How long deliveries took to be stored, as (seconds, deliveries)."""
    process_seconds: list[tuple[float, int]] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    """Deliveries that polling stored because the webhook did not bring them."""
    cron_runs: Counter[str] = field(default_factory=Counter)
    """Runs that succeeded, by name."""
    notified: int = 0
    errors: int = 0
    spooled: int = 0
    oldest: dict[str, float] = field(default_factory=dict)
    """Creation of the oldest event by status; absent without one."""
    unsent_since: float | None = None
    unassigned_since: float | None = None
    status: str = ACTIVE
    breaker_open_since: float | None = None
    pancake_answered_at: float = 0.0
    cron_succeeded_at: dict[str, float] = field(default_factory=dict)
    lost_ticks: Counter[str] = field(default_factory=Counter)
    switched_at: float = 0.0


@dataclass
class Stored:
    """The rows by the minute of their creation."""

    webhook: list[int]
    poll: list[int]
    processed: list[int]
    failed: list[int]
    dead: list[int]
    held: list[int]

    @classmethod
    def of(cls, count: int) -> "Stored":
        return cls(*([0] * count for _ in range(6)))
