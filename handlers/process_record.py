"""Turn a received event into an account, a contact, a ticket with an owner, and notifications.

Called by: event trigger `pancake_webhook_event_status_update`, when a row becomes or is set to `received`.
"""

import re
from functools import partial

from leads.adapters.database import Row
from leads.adapters.hasura_calls import EventCall
from leads.domain.backoff import delay_after
from leads.domain.errors import BadRequest, ProcessingPaused
from leads.domain.lifecycle import INGESTED, REPLAYED_BY_MANUAL_INVOCATION
from leads.domain.replay import Order
from leads.domain.work import Done, work_on
from leads.services.attempts import settle
from leads.services.runtime import Answer, Runtime

NOT_RECEIVED = "not_received"
_BIGINT = re.compile(r"[0-9]{1,18}")


async def process_record(on: Runtime, call: EventCall) -> Answer:
    """Answers `{event_id, result}`: an outcome, `failed`, a skipped status, `replayed`, or `not_received`."""
    event_id = _event_id(call)
    async with on.db.place():
        result, unsent = await _processed(on, event_id)
    if result == NOT_RECEIVED:
        result = await _not_received(on, call, event_id)
    await on.outbox.send(unsent)
    on.metrics.events.labels(result).inc()
    return {"event_id": event_id, "result": result}


async def _processed(on: Runtime, event_id: int) -> tuple[str, list[Row]]:
    """Claim and work, with a place for both; the result, and what to send now."""
    claim = await take_claim(on, event_id)
    if claim is None:
        return NOT_RECEIVED, []
    if claim["status"] != INGESTED:
        return claim["status"], []
    settled = await settle(on.db, on.clock, claim, delay_after, partial(apply_record, on, claim))
    return settled or ("failed", [])


async def take_claim(on: Runtime, event_id: int) -> Row | None:
    """Claim a received event, committed alone. Raises ProcessingPaused before anything is claimed."""
    claim = await on.db.fetch_one("process_record/claim_event", {"id": event_id})
    if claim is None or claim["paused"]:
        raise ProcessingPaused
    return claim if claim["id"] is not None else None


async def apply_record(on: Runtime, claim: Row) -> tuple[str, list[Row]]:
    """The work transaction of a claim: load → decide → apply → answer. The result, and what to send now."""
    async with on.db.transaction() as transaction:
        work = await transaction.converse(work_on(claim))
        now = on.clock.now()
        written = await transaction.run(*work.written(now), commit=True)
    if not isinstance(work, Done):
        return work.result, []
    on.metrics.process_duration.observe((now - claim["created_at"]).total_seconds())
    (finished,) = written[-1]
    return work.result, [finished | {"id": claim["id"], "notifications": claim["unsent"] + work.intents}]


async def _not_received(on: Runtime, call: EventCall, event_id: int) -> str:
    """Nothing to claim: replay it if a person asked for that, and send what the row still has to say."""
    if call.op == "MANUAL":
        order = Order(states=REPLAYED_BY_MANUAL_INVOCATION, by="console")
        params = order.params([event_id], on.clock.now())
        (row,) = await on.db.fetch_all("replay_events/replay_rows", params)
        if row["ids"]:
            return "replayed"
        if not row["switched_on"]:
            return "kill_switch_on"
    await on.outbox.send_claimed([event_id])
    return NOT_RECEIVED


def _event_id(call: EventCall) -> int:
    event_id = call.new.get("id")
    if isinstance(event_id, bool) or not isinstance(event_id, (int, str)):
        raise BadRequest("event.data.new.id is not a number.")
    if not _BIGINT.fullmatch(str(event_id)):
        raise BadRequest("event.data.new.id is not the id of a row.")
    return int(event_id)
