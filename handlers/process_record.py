"""Process a received event into an account, a contact, a ticket with an owner, and notifications.

Called by: event trigger `pancake_webhook_event_status_update`, when an event is inserted as `received` or set
to it.
"""

import re

from leads.adapters.hasura_calls import Answer, EventCall
from leads.adapters.logs import bind
from leads.adapters.tracing import join_event_trace
from leads.domain.errors import BadRequest, ProcessingPaused
from leads.domain.event_states import claimed_answer
from leads.runtime import Runtime
from leads.services.outbox import note_dropped
from leads.services.process_record import DeliveryResult, process_event
from leads.services.redelivery import answer_unclaimed

DELIVERED_COLUMNS = frozenset({"id", "status", "received_at"})
"""The columns that our event trigger delivers."""
_BIGINT = re.compile(r"[0-9]{1,18}")  # always less than 2^63


async def process_record(runtime: Runtime, call: EventCall) -> Answer:
    """Answer `{event_id, result, message}` and what else is known of the event.

    The result is that of `DeliveryResult`; of an event that was not received it is `replayed`, or why nothing
    was done (leads/domain/event_states.py). Raises Unavailable when nothing was claimed.
    """
    event_id = _event_id(call)
    if not call.is_by_hand and call.new.keys() - DELIVERED_COLUMNS:
        runtime.metrics.whole_row_deliveries.inc()
    bind(event_id=event_id, event_trace_id=join_event_trace(call.trace))
    result = await _process(runtime, call, event_id)
    if result is None:
        answer = await answer_unclaimed(runtime.db, runtime.clock, runtime.outbox, call, event_id)
    else:
        answer = claimed_answer(event_id, result.result, result.error_code)
        for name in result.dropped:
            fields = {"event_id": event_id, "name": name, "reason": "no active staff"}
            note_dropped(runtime.metrics, "notification dropped", 1, fields)
        if result.unsent:
            bind(notified=await runtime.outbox.send([result.unsent]) == 1)
    is_invalid = result is not None and result.is_invalid
    runtime.metrics.events.labels("invalid" if is_invalid else answer["result"]).inc()
    return answer


def _event_id(call: EventCall) -> int:
    event_id = call.new.get("id")
    if isinstance(event_id, bool) or not isinstance(event_id, (int, str)):
        raise BadRequest("event.data.new.id is not a number.")
    if not _BIGINT.fullmatch(str(event_id)):
        raise BadRequest("event.data.new.id is not the id of a row.")
    return int(event_id)


async def _process(runtime: Runtime, call: EventCall, event_id: int) -> DeliveryResult | None:
    """Process the event, in its turn if the delivery is repeated; None if it is not received."""
    key_ring, digester = runtime.settings.key_ring, runtime.digester
    try:
        if call.current_retry:
            await runtime.repeat_limit.take(event_id)
        async with runtime.db.work_slot():
            result = await process_event(
                runtime.db, runtime.clock, runtime.pancake, key_ring, digester, event_id
            )
    except ProcessingPaused:
        runtime.repeat_limit.note_pause()
        raise
    created_at, finished_at = (result.created_at, result.finished_at) if result else (None, None)
    if created_at and finished_at and not runtime.repeat_limit.has_waited(created_at):
        runtime.metrics.process_duration.observe((finished_at - created_at).total_seconds())
    return result
