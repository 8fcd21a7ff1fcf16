"""Repeated deliveries: their rate after a pause, and the answer for an event that is not `received`.

Hasura repeats a delivery that was refused: processing was paused, or the process could not serve it. Then the
backlog is processed at a bounded rate, over all processes: each turn holds an advisory lock for a part of a
second, so all processes together give no more turns a second than the setting replay_rate_per_second says. A
first delivery needs no turn and is never behind the backlog.

A person repeats a delivery too: "Redeliver" in the Hasura console delivers the same event of Hasura again,
"Invoke" makes a new one. Then the event is replayed.
"""

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Statement
from leads.adapters.hasura_calls import EventCall
from leads.domain.errors import Claimed, Deferred, ProcessingPaused
from leads.domain.event_states import (
    CLAIM_LIMITS,
    REPLAYED,
    REPLAYED_BY_MANUAL_INVOCATION,
    UNDER_WAY,
    UnclaimedEvent,
    refusal,
    unclaimed_answer,
)
from leads.services.outbox import Outbox

MAX_WAIT_SECONDS = 1.0
"""How long a delivery waits here for its turn at most; the next one is deferred, and Hasura repeats it."""
MAX_WAITING = 50
"""Half of the deliveries that Hasura has under way at a time by default; the other half is for new leads."""
MAX_RETRY_AFTER_SECONDS = 300
"""So that a higher rate takes effect within minutes."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The row of process_record/load_turn."""

    paused: bool
    is_received: bool
    events_per_second: int


class RepeatLimit:
    """Gives turns to the repeated deliveries of a process.

    One delivery at a time waits for the lock, so that the others hold no connection.
    """

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._order = asyncio.Lock()
        self._waiting = 0
        self._last_turn_at = 0.0
        self._paused_at: datetime | None = None

    def note_pause(self) -> None:
        """Remember that this process has just refused a delivery because processing is paused."""
        self._paused_at = self._clock.now()

    def has_waited(self, created_at: datetime) -> bool:
        """Tell whether an event is from before, or from within, the last pause that this process knows of."""
        return self._paused_at is not None and created_at <= self._paused_at

    async def take(self, event_id: int) -> None:
        """Wait for a turn; return at once if the event is not received any more.

        Raises ProcessingPaused; Deferred if too many wait, with the time of a later turn.
        """
        async with self._db.work_slot():
            (turn,) = await self._db.fetch_all("process_record/load_turn", {"id": event_id}, Turn)
        if turn.paused:
            raise ProcessingPaused
        if not turn.is_received:
            return
        if self._waiting >= min(MAX_WAITING, ceil(turn.events_per_second * MAX_WAIT_SECONDS)):
            raise Deferred(retry_after_seconds=self._seconds_to_turn(turn.events_per_second))
        self._waiting += 1
        try:
            async with self._order, self._db.work_slot(), self._db.transaction() as transaction:
                await transaction.run(("process_record/lock_turns", {}))
                await self._clock.sleep(1 / turn.events_per_second)
        finally:
            self._waiting -= 1

    def _seconds_to_turn(self, events_per_second: int) -> int:
        """Return when a delivery that is deferred has its turn: after those that were deferred before it."""
        now = self._clock.monotonic()
        seconds = max(self._last_turn_at - now, MAX_WAIT_SECONDS) + 1 / events_per_second
        seconds = min(seconds, MAX_RETRY_AFTER_SECONDS)
        self._last_turn_at = now + seconds
        return ceil(seconds)


async def answer_unclaimed(
    db: Database, clock: Clock, outbox: Outbox, call: EventCall, event_id: int
) -> dict[str, object]:
    """Replay the event if a person asked for that and it can be; else send what it has not sent yet.

    Raises DatabaseUnavailable, Contended, or Claimed if the delivery before may have died at work.
    """
    event = await _load(db, call, event_id)
    if call.current_retry and event.claimed_for is not None:
        raise Claimed(retry_after_seconds=max(1, ceil(event.claimed_for.total_seconds())))
    refused = refusal(event, by_hand=call.is_by_hand)
    if refused is None:
        by = call.user_id or ("console:invoke" if call.is_by_hand else "console:redeliver")
        statement = replay_statement([event_id], REPLAYED_BY_MANUAL_INVOCATION, by, clock.now())
        is_done, hasura_event_id = await replay_event(db, event_id, statement)
        if is_done:
            return unclaimed_answer(event_id, REPLAYED, event, hasura_event_id)
        # Another session changed the row, or the switch, since it was read.
        event = await _load(db, call, event_id)
        refused = refusal(event, by_hand=call.is_by_hand) or UNDER_WAY
    await outbox.claim_and_send([event_id])
    return unclaimed_answer(event_id, refused, event)


async def _load(db: Database, call: EventCall, event_id: int) -> UnclaimedEvent:
    params = {"id": event_id, "hasura_event_id": call.id, "tries": call.current_retry, **CLAIM_LIMITS}
    (event,) = await db.fetch_all("process_record/load_unclaimed", params, UnclaimedEvent)
    return event


async def replay_event(db: Database, event_id: int, replay: Statement) -> tuple[bool, str | None]:
    """Set one event to received, unless another session changed it or the kill switch is on.

    Returns whether it was set, and Hasura's event that this fired. Raises DatabaseUnavailable, or Contended
    if the connection was lost.
    """
    async with db.transaction() as transaction:
        (row,), (fired,) = await transaction.run(
            replay, ("replay_events/find_fired", {"id": event_id}), commit=True
        )
    return bool(row["ids"]), fired["hasura_event_id"]


def replay_statement(
    ids: Sequence[int],
    states: Collection[str],
    requested_by: str,
    now: datetime,
    *,
    corrected_phone: str | None = None,
    force: bool = False,
) -> Statement:
    """Return the statement that sets events to received, with the request noted in their evidence."""
    evidence: dict[str, object] = {}
    if corrected_phone:
        evidence["corrected_phone"] = corrected_phone
    if force:
        evidence["force"] = True
    params = {
        "ids": list(ids),
        "states": sorted(states),
        "by": requested_by,
        "now": now,
        "evidence": json.dumps(evidence),
    }
    return "replay_events/replay_rows", params
