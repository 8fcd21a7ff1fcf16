"""Rows with unsent notifications, and the result of an attempt to send them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Generic, TypeVar

from leads.domain.sending import Sending, max_rows_per_call

Stored = TypeVar("Stored")
"""A notification as its row holds it."""


@dataclass(frozen=True, slots=True)
class DueRow:
    """A row whose notifications are to be sent now, with the attempts that failed so far."""

    id: int
    refusals: int
    unknowns: int


@dataclass(frozen=True, slots=True)
class UnsentRow(Generic[Stored]):
    """A row with its unsent notifications; `notify_claimed_at` identifies the sender's claim.

    The other fields are those of Sending before this attempt.
    """

    id: int
    notifications: list[Stored]
    notify_claimed_at: datetime
    attempts: int = 0
    refusals: int = 0
    unknowns: int = 0
    unsent_since: datetime | None = None
    next_at: datetime | None = None
    error: str | None = None

    @property
    def sending(self) -> Sending:
        return Sending(
            attempts=self.attempts,
            refusals=self.refusals,
            unknowns=self.unknowns,
            unsent_since=self.unsent_since,
            next_at=self.next_at,
            error=self.error,
        )


@dataclass(frozen=True, slots=True)
class Result(Generic[Stored]):
    """What an attempt did for a row. `sending` is None if all is sent; else `sent` names what is."""

    row: UnsentRow[Stored]
    sending: Sending | None
    sent: list[str]
    was_tried: bool = True

    @property
    def unsent(self) -> int:
        return len(self.row.notifications) - len(self.sent)

    def stored(self) -> dict[str, object]:
        """Return the row's element of the parameter `results` of mark_unsent."""
        state = asdict(self.sending or Sending())
        return {"id": self.row.id, "claimed_at": self.row.notify_claimed_at, "sent": self.sent, **state}


def group(due: Sequence[DueRow]) -> list[list[int]]:
    """Group rows into calls, in their order, but first the rows that can share calls with many."""
    groups: list[list[int]] = []
    filling: dict[int, list[int]] = {}
    for row in sorted(due, key=lambda row: row.refusals + row.unknowns > 0):
        size = max_rows_per_call(row.refusals, row.unknowns)
        if size not in filling or len(filling[size]) == size:
            filling[size] = []
            groups.append(filling[size])
        filling[size].append(row.id)
    return groups
