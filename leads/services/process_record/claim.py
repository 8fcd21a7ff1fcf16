"""Claim an event: the claim commits alone, and its `claim_id` fences the work that follows."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from leads.adapters.database import Database, Row, Statement
from leads.domain.errors import ProcessingPaused
from leads.domain.notifications import Notification


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on an event, and what the work needs of it.

    `status` is `ingested`, or a skipped status if the kill switch is on or no source is active. `unsent`
    holds the notifications that the event has not sent yet. `is_apart`: the event was once held, or replayed
    by a person, so its age says nothing about the speed of processing.
    """

    id: int
    claim_id: UUID | None
    connection_id: UUID
    status: str
    record_id: str | None
    table_name: str | None
    modified_on: datetime | None
    payload: str | None
    arrived_at: datetime
    attempts: int
    replay_count: int
    created_at: datetime
    is_apart: bool
    unsent: list[Notification]
    corrected_phone: str | None
    force: bool

    @property
    def lacks_table(self) -> bool:
        """Whether the body named no table, and its connection had several when it was stored."""
        return self.table_name is None and self.record_id is not None


@dataclass(frozen=True, slots=True)
class _ClaimRow(Claim):
    """The row of process_record/claim_event. All columns but `paused` are null if nothing was claimed."""

    paused: bool


async def claim_event(db: Database, event_id: int) -> Claim | None:
    """Claim a received event; None if it is not received. Raises ProcessingPaused: nothing was claimed."""
    name, params = claim_statement(event_id)
    return _claim_of(await db.fetch_one(name, params, _ClaimRow))


def claim_statement(event_id: int) -> Statement:
    return "process_record/claim_event", {"id": event_id}


def read_claim(row: Row | None) -> Claim | None:
    """Read the row of process_record/claim_event. Raises ProcessingPaused."""
    return _claim_of(_ClaimRow(**row) if row else None)


async def mark_failed(
    db: Database,
    claim: Claim,
    error_code: str,
    error_detail: str,
    *,
    next_attempt_at: datetime | None,
    error: dict[str, str],
) -> None:
    """Mark a claimed event failed, or dead_letter without a next attempt; `error` goes into its evidence.

    Does nothing if the claim is lost. Raises DatabaseUnavailable.
    """
    await db.fetch_all(
        "process_record/fail_event",
        {
            "id": claim.id,
            "claim_id": claim.claim_id,
            "next_attempt_at": next_attempt_at,
            "error_code": error_code,
            "error_detail": error_detail,
            "evidence": json.dumps({"error": error}),
        },
    )


def _claim_of(row: _ClaimRow | None) -> Claim | None:
    if row is None or row.paused:
        raise ProcessingPaused
    return row if row.id is not None else None
