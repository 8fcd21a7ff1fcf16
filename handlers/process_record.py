"""Process a received event into an account, a contact, a ticket with an owner, and notifications.

Called by: event trigger `pancake_webhook_event_status_update`, when an event is inserted as `received` or set
to it.
"""

import re
from dataclasses import dataclass
from functools import partial

from leads.adapters.hasura_calls import EventCall
from leads.adapters.http import Answer
from leads.domain.errors import BadRequest, ProcessingPaused
from leads.domain.lifecycle import INGESTED, REPLAYED_BY_MANUAL_INVOCATION
from leads.domain.replay import ReplayRequest
from leads.services.outbox import UnsentEvent
from leads.services.process_record.apply import apply_plan, erase_event, hold_event
from leads.services.process_record.attempts import FailedAttempt, attempt
from leads.services.process_record.claim import Claim, claim_event
from leads.services.process_record.load import CLAIM_LOST, ERASED, NotProcessed
from leads.services.process_record.plan import load_and_decide
from leads.services.process_record.table import NAME_TIMEOUT_SECONDS, name_table
from leads.services.replay_events import replay_batch
from leads.services.runtime import Runtime

NOT_RECEIVED = "not_received"
_BIGINT = re.compile(r"[0-9]{1,18}")  # always less than 2^63


@dataclass(frozen=True, slots=True)
class Processed:
    """The result of one delivery of the trigger, and the notifications to send for it."""

    result: str
    unsent: UnsentEvent | None = None
    is_invalid: bool = False


async def process_record(runtime: Runtime, call: EventCall) -> Answer:
    """Answer `{event_id, result}`.

    The result is an outcome, `failed`, `dead_letter`, a skipped status, `erased`, `claim_lost`, `replayed`,
    `kill_switch_on` or `not_received`. Raises Unavailable when nothing was claimed.
    """
    event_id = _event_id(call)
    try:
        if call.current_retry:
            await runtime.turns.take(event_id)
        async with runtime.db.work_slot():
            processed = await _claim_and_process(runtime, event_id)
    except ProcessingPaused:
        runtime.turns.note_pause()
        raise
    result = processed.result
    if result == NOT_RECEIVED:
        result = await _handle_not_received(runtime, call, event_id)
    if processed.unsent:
        await runtime.outbox.send([processed.unsent])
    runtime.metrics.events.labels("invalid" if processed.is_invalid else result).inc()
    return {"event_id": event_id, "result": result}


async def _claim_and_process(runtime: Runtime, event_id: int) -> Processed:
    claim = await claim_event(runtime.db, event_id)
    if claim is None:
        return Processed(NOT_RECEIVED)
    if claim.status != INGESTED:
        return Processed(claim.status)
    if claim.lacks_table:
        find_table = partial(name_table, runtime, claim)
        named = await attempt(
            runtime.db, runtime.clock, claim, find_table, timeout_seconds=NAME_TIMEOUT_SECONDS
        )
        if isinstance(named, FailedAttempt):
            return _failed(named)
        claim = named
    processed = await attempt(runtime.db, runtime.clock, claim, partial(process_claim, runtime, claim))
    return _failed(processed) if isinstance(processed, FailedAttempt) else processed


def _failed(attempt: FailedAttempt) -> Processed:
    return Processed(attempt.status, is_invalid=attempt.is_invalid)


async def process_claim(runtime: Runtime, claim: Claim) -> Processed:
    """Load, decide, apply in one transaction, which commits with its last statement."""
    async with runtime.db.transaction() as transaction:
        planned = await load_and_decide(transaction, claim, runtime.digester, runtime.clock.now())
        if isinstance(planned, NotProcessed):
            if planned.result == ERASED:
                await erase_event(transaction, claim)
            elif planned.result != CLAIM_LOST:
                await hold_event(transaction, claim, planned.result)
            return Processed(planned.result)
        now = runtime.clock.now()
        unsent = await apply_plan(transaction, planned, now)
    runtime.outbox.note_dropped(claim.id, planned.dropped)
    if not claim.is_apart and not runtime.turns.has_waited(claim.created_at):
        runtime.metrics.process_duration.observe((now - claim.created_at).total_seconds())
    return Processed(planned.plan.outcome, unsent)


async def _handle_not_received(runtime: Runtime, call: EventCall, event_id: int) -> str:
    """Replay the event if a person invoked the trigger by hand; else send what the event has not sent yet."""
    if call.op == "MANUAL":
        request = ReplayRequest(states=REPLAYED_BY_MANUAL_INVOCATION, requested_by="console")
        replayed = await replay_batch(runtime.db, request, [event_id], runtime.clock.now())
        if replayed.ids:
            return "replayed"
        if not replayed.switched_on:
            return "kill_switch_on"
    await runtime.outbox.claim_and_send([event_id])
    return NOT_RECEIVED


def _event_id(call: EventCall) -> int:
    event_id = call.new.get("id")
    if isinstance(event_id, bool) or not isinstance(event_id, (int, str)):
        raise BadRequest("event.data.new.id is not a number.")
    if not _BIGINT.fullmatch(str(event_id)):
        raise BadRequest("event.data.new.id is not the id of a row.")
    return int(event_id)
