"""The results of replayed events: outcomes, reasons why others are not processed, owners of the tickets."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from leads.domain.event_states import (
    DEAD_LETTER,
    FAILED,
    INGESTED,
    KILL_SWITCH,
    PROCESSED,
    RECEIVED,
    SKIPPED_KILL_SWITCH,
    SOURCE_INACTIVE,
)

WITH_TICKET = frozenset({"ticket_created", "ticket_updated"})


@dataclass(frozen=True, slots=True)
class ReplayedEvent:
    """An event after its replay.

    `result`: the outcome of its last processing, also if it changed nothing. `held_by`: connection_disabled
    or source_unknown, if that is what holds it.
    """

    id: int
    status: str
    result: str | None
    error_code: str | None
    held_by: str | None
    ticket_id: str | None
    owner_id: str | None

    @property
    def is_waiting(self) -> bool:
        return self.status in {RECEIVED, INGESTED}


class OwnedTickets(TypedDict):
    """How many of the tickets belong to a member of staff."""

    id: str
    tickets: int


class ReplayResults(TypedDict):
    """Numbers of events: by outcome, by what holds them, by error code; and of tickets, by owner."""

    outcomes: dict[str, int]
    held: dict[str, int]
    failed: dict[str, int]
    dead_letter: dict[str, int]
    waiting: int
    owners: list[OwnedTickets]
    unassigned: int


def summarize(events: Iterable[ReplayedEvent]) -> ReplayResults:
    """Count the results. A ticket of several events counts once for its owner."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    tickets: dict[str, str | None] = {}
    for event in events:
        counts[_group(event)][_reason(event)] += 1
        if event.ticket_id and event.status == PROCESSED and event.result in WITH_TICKET:
            tickets[event.ticket_id] = event.owner_id
    return ReplayResults(
        outcomes=_sorted(counts["outcomes"]),
        held=_sorted(counts["held"]),
        failed=_sorted(counts["failed"]),
        dead_letter=_sorted(counts["dead_letter"]),
        waiting=counts["waiting"].total(),
        owners=_owners(owner for owner in tickets.values() if owner),
        unassigned=sum(owner is None for owner in tickets.values()),
    )


def _group(event: ReplayedEvent) -> str:
    if event.is_waiting:
        return "waiting"
    if event.status == PROCESSED:
        return "outcomes"
    return event.status if event.status in {FAILED, DEAD_LETTER} else "held"


def _reason(event: ReplayedEvent) -> str:
    if event.status == PROCESSED:
        return event.result or ""
    if event.status in {FAILED, DEAD_LETTER}:
        return event.error_code or ""
    return KILL_SWITCH if event.status == SKIPPED_KILL_SWITCH else event.held_by or SOURCE_INACTIVE


def _sorted(counted: Counter[str]) -> dict[str, int]:
    return dict(sorted(counted.items()))


def _owners(owners: Iterable[str]) -> list[OwnedTickets]:
    """Return the owners, those with most tickets first."""
    counted = sorted(Counter(owners).items(), key=lambda item: (-item[1], item[0]))
    return [OwnedTickets(id=owner, tickets=number) for owner, number in counted]
