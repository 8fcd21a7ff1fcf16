"""A delivery whose event is not `received`: answer its state, or replay it for a person.

"Redeliver" in the Hasura console delivers the same event of Hasura again, "Invoke" makes a new one.
"""

from leads.adapters.hasura_calls import EventCall
from leads.domain.event_states import (
    REPLAYED,
    REPLAYED_BY_MANUAL_INVOCATION,
    UNDER_WAY,
    UnclaimedEvent,
    refusal,
    unclaimed_answer,
)
from leads.domain.replay import ReplayRequest
from leads.runtime import Runtime
from leads.services.replay_events import replay_one


async def answer_unclaimed(runtime: Runtime, call: EventCall, event_id: int) -> dict[str, object]:
    """Replay the event if a person asked for that and it can be; else send what it has not sent yet.

    Raises DatabaseUnavailable, or Contended: nothing was changed.
    """
    event = await _load(runtime, call, event_id)
    refused = refusal(event, by_hand=call.is_by_hand)
    if refused is None:
        request = ReplayRequest(
            states=REPLAYED_BY_MANUAL_INVOCATION,
            requested_by=call.user_id or ("console:invoke" if call.is_by_hand else "console:redeliver"),
        )
        replayed = await replay_one(runtime.db, request, event_id, runtime.clock.now())
        if replayed.done:
            return unclaimed_answer(event_id, REPLAYED, event, replayed.hasura_event_id)
        # Another session changed the row, or the switch, since it was read.
        event = await _load(runtime, call, event_id)
        refused = refusal(event, by_hand=call.is_by_hand) or UNDER_WAY
    await runtime.outbox.claim_and_send([event_id])
    return unclaimed_answer(event_id, refused, event)


async def _load(runtime: Runtime, call: EventCall, event_id: int) -> UnclaimedEvent:
    params = {"id": event_id, "hasura_event_id": call.id, "tries": call.current_retry}
    (event,) = await runtime.db.fetch_all("process_record/load_unclaimed", params, UnclaimedEvent)
    return event
