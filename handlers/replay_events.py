"""Replay events by ids or by filter, or show in a dry run what that would change.

Called by: action `pancake_replay_events`, from the Hasura console, the Settings tabs and `leads replay`.
"""

from leads.adapters.hasura_calls import ActionCall, Answer
from leads.domain.errors import KillSwitchOn
from leads.domain.replay import balance, read_request
from leads.runtime import Runtime
from leads.services.find_table import find_tables
from leads.services.replay_events import dry_run, find_events, load_results, replay, wait_for_results


async def replay_events(runtime: Runtime, call: ActionCall) -> Answer:
    """Answer the balance of the replay and its results; of a dry run the changes, event by event.

    Raises BadRequest, Busy while another replay runs, and KillSwitchOn unless it is a dry run.
    """
    request = read_request(call.input, call.session)
    before = await find_events(runtime.db, request)
    if not (before.switched_on or request.dry_run):
        raise KillSwitchOn
    chosen = before.ids[: request.max_events]
    changes: list[dict[str, object]] = []
    replayed: list[int] = []
    if request.dry_run:
        tables = await find_tables(
            runtime.db, runtime.clock, runtime.pancake, runtime.settings.key_ring, chosen
        )
        changes = await dry_run(runtime.db, runtime.clock, request, chosen, tables, runtime.digester)
    else:
        replayed = await replay(runtime.db, runtime.clock, request, chosen, before.events_per_second)
    paused = await wait_for_results(runtime.db, runtime.clock, replayed, wait=request.waits)
    after = await find_events(runtime.db, request)
    answer = balance(request, before.ids, replayed, after.ids, before.refused)
    return answer | {
        "changes": changes,
        "rate_per_second": before.events_per_second,
        "replayed_ids": replayed,
        "results": None if request.dry_run else await load_results(runtime.db, replayed),
        "processing_paused": paused,
    }
