"""Process a received event into an account, a contact, a ticket with an owner, and notifications.

Called by: event trigger `pancake_webhook_event_status_update`, when an event is inserted as `received` or set
to it.
"""

import re
from dataclasses import dataclass
from functools import partial

from leads.adapters.hasura_calls import EventCall
from leads.adapters.http import Answer
from leads.adapters.logs import bind, loggable_record_id
from leads.adapters.tracing import follow
from leads.domain.errors import BadRequest, ProcessingPaused
from leads.domain.event_states import DEAD_LETTER, INGESTED, processed_answer
from leads.runtime import Runtime
from leads.services.outbox import UnsentRow
from leads.services.process_record.apply import apply_plan, erase_event, hold_event
from leads.services.process_record.attempts import FailedAttempt, attempt
from leads.services.process_record.claim import Claim, claim_event
from leads.services.process_record.load import CLAIM_LOST, ERASED, NotProcessed
from leads.services.process_record.plan import load_and_decide
from leads.services.process_record.table import NAME_TIMEOUT_SECONDS, name_table
from leads.services.process_record.unclaimed import answer_unclaimed

DELIVERED_COLUMNS = frozenset({"id", "status", "received_at"})
"""The columns that our event trigger delivers."""
_BIGINT = re.compile(r"[0-9]{1,18}")  # always less than 2^63


@dataclass(frozen=True, slots=True)
class Processed:
    """The result of one delivery of the trigger, and the notifications to send for it."""

    result: str
    unsent: UnsentRow | None = None
    error_code: str | None = None
    is_invalid: bool = False


async def process_record(runtime: Runtime, call: EventCall) -> Answer:
    """Answer `{event_id, result, message}` and what else is known of the event.

    The result is an outcome, `failed`, `dead_letter`, a skipped status or `claim_lost`; of an event that was
    not received it is `replayed`, or why nothing was done (leads/domain/event_states.py). Raises Unavailable
    when nothing was claimed.
    """
    event_id = _event_id(call)
    if not call.is_by_hand and call.new.keys() - DELIVERED_COLUMNS:
        runtime.metrics.whole_row_deliveries.inc()
    bind(event_id=event_id, event_trace_id=follow(call.trace))
    try:
        if call.current_retry:
            await runtime.turns.take(event_id)
        async with runtime.db.work_slot():
            processed = await _claim_and_process(runtime, event_id)
    except ProcessingPaused:
        runtime.turns.note_pause()
        raise
    if processed is None:
        answer = await answer_unclaimed(runtime, call, event_id)
    else:
        answer = processed_answer(event_id, processed.result, processed.error_code)
        if processed.unsent:
            bind(notified=await runtime.outbox.send([processed.unsent]) == 1)
    is_invalid = processed is not None and processed.is_invalid
    runtime.metrics.events.labels("invalid" if is_invalid else answer["result"]).inc()
    return answer


async def _claim_and_process(runtime: Runtime, event_id: int) -> Processed | None:
    """Return None if the event is not received."""
    claim = await claim_event(runtime.db, event_id)
    if claim is None:
        return None
    bind(record_id=loggable_record_id(claim.record_id))
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


def _failed(failed: FailedAttempt) -> Processed:
    return Processed(failed.status, error_code=failed.error_code, is_invalid=failed.is_invalid)


async def process_claim(runtime: Runtime, claim: Claim) -> Processed:
    """Load, decide, apply in one transaction, which commits with its last statement."""
    async with runtime.db.transaction() as transaction:
        planned = await load_and_decide(transaction, claim, runtime.digester, runtime.clock.now())
        if isinstance(planned, NotProcessed):
            if planned.result == ERASED:
                await erase_event(transaction, claim)
                return Processed(DEAD_LETTER, error_code=ERASED, is_invalid=True)
            if planned.result != CLAIM_LOST:
                await hold_event(transaction, claim, planned.result)
            return Processed(planned.result)
        now = runtime.clock.now()
        unsent = await apply_plan(transaction, planned, now)
    runtime.outbox.note_dropped(claim.id, planned.dropped)
    if not claim.is_apart and not runtime.turns.has_waited(claim.created_at):
        runtime.metrics.process_duration.observe((now - claim.created_at).total_seconds())
    return Processed(planned.plan.outcome, unsent)


def _event_id(call: EventCall) -> int:
    event_id = call.new.get("id")
    if isinstance(event_id, bool) or not isinstance(event_id, (int, str)):
        raise BadRequest("event.data.new.id is not a number.")
    if not _BIGINT.fullmatch(str(event_id)):
        raise BadRequest("event.data.new.id is not the id of a row.")
    return int(event_id)
