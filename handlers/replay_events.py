"""Process events again, by ids or by filter; or show what that would change.

Called by: action `pancake_replay_events`, from the Hasura console, the Settings tabs and `leads replay`.
A replay takes rows back to `received`, so many a second; their event trigger does the work.
"""

from functools import partial
from typing import Any

from leads.adapters.database import Row, Transaction
from leads.adapters.hasura_calls import ActionCall
from leads.domain.errors import Busy, KillSwitchOn
from leads.domain.lifecycle import INGESTED
from leads.domain.replay import Order, change, read_order, report
from leads.domain.work import Done, work_on
from leads.services.attempts import rehearse
from leads.services.runtime import Answer, Runtime

SECONDS_PER_CALL = 20.0
DEFAULT_RATE = 20
MAX_RATE = 1000


async def replay_events(on: Runtime, call: ActionCall) -> Answer:
    """Answers the balance of the replay; of a dry run the changes, row by row.

    Raises BadRequest, KillSwitchOn, or Busy while somebody else's replay runs.
    """
    order = read_order(call.input, call.session)
    before = await _find(on, order)
    if not before["switched_on"]:
        raise KillSwitchOn
    chosen = before["ids"][: order.limit]
    changes = await _changes(on, order, chosen) if order.dry_run else []
    replayed = [] if order.dry_run else await _replay(on, order, chosen, before["rate_per_second"])
    after = await _find(on, order)
    answer = report(order, before["ids"], replayed, after["ids"], before["refused"])
    return answer | {"changes": changes, "rate_per_second": before["rate_per_second"]}


async def _find(on: Runtime, order: Order) -> Row:
    row = await on.db.fetch_one("replay_events/find_rows", order.criteria()) or {}
    found = {item["event_id"] for item in row["refused"]} | set(row["ids"])
    unknown = [{"event_id": id_, "reason": "unknown_id"} for id_ in order.ids or () if id_ not in found]
    rate = row["rate_per_second"]
    per_second = min(max(int(rate), 1), MAX_RATE) if rate.isdigit() else DEFAULT_RATE
    return row | {"refused": row["refused"] + unknown, "rate_per_second": per_second}


async def _replay(on: Runtime, order: Order, ids: list[int], per_second: int) -> list[int]:
    """Take the events back to received, at most so many a second whoever else calls; those that were."""
    replayed: list[int] = []
    async with on.db.exclusive("replay_events") as (free, session):
        if not free:
            raise Busy("Another replay is running: try again in a few seconds.")
        deadline = on.clock.monotonic() + SECONDS_PER_CALL
        for start in range(0, len(ids), per_second):
            batch = ids[start : start + per_second]
            statement = ("replay_events/replay_rows", order.params(batch, on.clock.now()))
            ((done,),) = await session.run(statement, commit=True)
            replayed += done["ids"]
            await on.clock.sleep(len(batch) / per_second)
            if not done["switched_on"] or on.clock.monotonic() >= deadline:
                break
    return replayed


async def _changes(on: Runtime, order: Order, ids: list[int]) -> list[dict[str, Any]]:
    """What a replay of these events, one after the other, would change; all of it is undone."""
    async with on.db.rehearsal() as transaction:
        _, leads = await transaction.run(
            ("replay_events/lock_rehearsal", {}), ("replay_events/load_leads", {"ids": ids})
        )
        locks = order.locks(leads)
        await transaction.run(("process_record/lock_records", locks), ("process_record/lock_phones", locks))
        return [
            {"event_id": event_id}
            | await rehearse(transaction, partial(_change, on, order, transaction, event_id))
            for event_id in ids
        ]


async def _change(on: Runtime, order: Order, transaction: Transaction, event_id: int) -> dict[str, Any]:
    """The real processing of one event, inside the dry run's transaction."""
    now = on.clock.now()
    _, (claim,) = await transaction.run(
        ("replay_events/replay_rows", order.params([event_id], now)),
        ("process_record/claim_event", {"id": event_id}),
    )
    if claim["paused"]:
        return {"result": "processing_paused"}
    if claim["status"] != INGESTED:
        return {"result": claim["status"] or "not_received"}
    work = await transaction.converse(work_on(claim))
    if not isinstance(work, Done):
        return {"result": work.result}
    touched = ("replay_events/load_touched", work.touches)
    (before,), *_, (after,) = await transaction.run(touched, *work.written(now), touched)
    return {"result": work.result} | change(work, before, after)
