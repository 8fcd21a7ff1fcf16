"""Turn a received event into an account, a contact, a ticket with an owner, and notifications.

Called by: event trigger `pancake_webhook_event_status_update`, when a row becomes or is set to `received`.
"""

import re
from datetime import datetime
from functools import partial

from domain.assign import Choice, Member, choose
from domain.backoff import delay_after
from domain.decide import Plan, Situation, Version, decide, situation_of
from domain.errors import BadRequest, ProcessingPaused
from domain.lifecycle import (
    INGESTED,
    REPLAYED_BY_MANUAL_INVOCATION,
    SKIPPED_KILL_SWITCH,
    SKIPPED_SOURCE_DISABLED,
)
from domain.phone import stored_digits
from domain.write import (
    Intent,
    customer_columns,
    event_columns,
    notifications,
    roster_columns,
    ticket_columns,
)
from runtime.assembly import Answer, Runtime
from runtime.attempts import settle
from runtime.contract import EventCall
from runtime.db import Row, Statement, Transaction

_BIGINT = re.compile(r"[0-9]{1,18}")


async def process_record(on: Runtime, call: EventCall) -> Answer:
    """Answers `{event_id, result}`: an outcome, `failed`, a skipped status, `replayed`, or `not_received`."""
    event_id = _event_id(call)
    claim = await take_claim(on, event_id)
    if claim is None:
        result = await _not_received(on, call, event_id)
    elif claim["status"] != INGESTED:
        result = claim["status"]
    else:
        work = partial(apply_record, on, claim)
        result = await settle(on.db, on.clock, claim, delay_after, work) or "failed"
    on.metrics.events.labels(result).inc()
    return {"event_id": event_id, "result": result}


async def take_claim(on: Runtime, event_id: int) -> Row | None:
    """Claim a received event, committed alone. Raises ProcessingPaused before anything is claimed."""
    claim = await on.db.fetch_one("process_record/claim_event", {"id": event_id})
    if claim is None or claim["paused"]:
        raise ProcessingPaused
    return claim if claim["id"] is not None else None


async def apply_record(on: Runtime, claim: Row) -> str:
    """The work transaction of a claim: load → decide → apply → answer. Notifies after the commit."""
    version = Version.of(claim)
    async with on.db.transaction() as transaction:
        held = await _fence(transaction, claim, version)
        if held is not None:
            return held
        situation = await _situation(transaction, claim, version)
        plan = decide(version, situation)
        choice = await _choice(transaction, situation) if plan.ticket_is_new else None
        intents = notifications(version, plan, situation, choice)
        now = on.clock.now()
        await transaction.run(*written(version, plan, claim, choice, intents, now), commit=True)
    on.metrics.process_duration.observe((now - claim["created_at"]).total_seconds())
    await on.outbox.send([{"id": claim["id"], "notifications": claim["unsent"] + intents}])
    return plan.outcome


def written(
    version: Version, plan: Plan, claim: Row, choice: Choice | None, intents: list[Intent], now: datetime
) -> list[Statement]:
    """The statements that carry out a plan, in the order of the foreign keys between their tables."""
    statements: list[Statement] = []
    if plan.writes_customer:
        customer = customer_columns(version, plan) | {"now": now}
        statements.append(("insert_account" if plan.account_is_new else "touch_account", customer))
        if plan.records_consent:
            statements.append(("insert_consent", customer))
        statements.append(("upsert_contact", customer))
        if plan.ticket:
            ticket = ticket_columns(version, plan, choice.staff_id if choice else None) | {"now": now}
            statements.append(("insert_ticket" if plan.ticket_is_new else "update_ticket", ticket))
    if choice and choice.changed():
        statements.append(("store_roster", roster_columns(choice)))
    statements.append(("finish_event", event_columns(claim, plan, choice, intents) | {"now": now}))
    return [(f"process_record/{name}", params) for name, params in statements]


async def _fence(transaction: Transaction, claim: Row, version: Version) -> str | None:
    """Hold the row, take the lead's locks. A result if there is nothing to do, else None."""
    locks = {"record_id": claim["record_id"], "phones": list(version.phones.usable)}
    fence, _ = await transaction.run(
        ("process_record/fence_claim", claim), ("process_record/lock_lead", locks)
    )
    if not fence:
        return "claim_lost"
    if fence[0]["switched_on"] and fence[0]["source_active"]:
        return None
    status = SKIPPED_SOURCE_DISABLED if fence[0]["switched_on"] else SKIPPED_KILL_SWITCH
    await transaction.run(("process_record/hold_event", {"id": claim["id"], "status": status}), commit=True)
    return status


async def _situation(transaction: Transaction, claim: Row, version: Version) -> Situation:
    phones = version.phones.usable
    params = {
        "id": claim["id"],
        "record_id": version.lead.record_id,
        "phones": list(phones),
        "stored_digits": [digits for phone in phones for digits in stored_digits(phone)],
    }
    ((row,),) = await transaction.run(("process_record/load_situation", params))
    return situation_of(row)


async def _choice(transaction: Transaction, situation: Situation) -> Choice:
    """Lock the roster of the event's sources, the last lock of all, and choose from it."""
    roster = {"roster_source_id": situation.roster_source_id}
    _, members = await transaction.run(
        ("process_record/lock_roster", roster), ("process_record/load_roster", roster)
    )
    return choose([Member(**member) for member in members])


async def _not_received(on: Runtime, call: EventCall, event_id: int) -> str:
    """Nothing to claim: replay it if a person asked for that, and send what the row still has to say."""
    if call.op == "MANUAL":
        states = sorted(REPLAYED_BY_MANUAL_INVOCATION)
        params = {"id": event_id, "states": states, "now": on.clock.now()}
        if await on.db.fetch_one("process_record/replay_event", params):
            return "replayed"
    await on.outbox.send_claimed([event_id])
    return "not_received"


def _event_id(call: EventCall) -> int:
    event_id = call.new.get("id")
    if isinstance(event_id, bool) or not isinstance(event_id, (int, str)):
        raise BadRequest("event.data.new.id is not a number.")
    if not _BIGINT.fullmatch(str(event_id)):
        raise BadRequest("event.data.new.id is not the id of a row.")
    return int(event_id)
