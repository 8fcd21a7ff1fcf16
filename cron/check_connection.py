"""See whether each connection lives: its API key, its webhook, Pancake itself; keep its status and history.

Called by: cron trigger `pancake_check_connection`, every 5 minutes.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from leads.adapters.database import Statement
from leads.adapters.hasura_calls import CronCall
from leads.domain.health import ALIVE, REJECTED, UNAVAILABLE, Signs, judge
from leads.services.connections import Connection, for_each, load_connections, problems
from leads.services.cron_runs import Notice, Report, Run
from leads.services.runtime import Answer, Runtime

SECONDS = 40
PROBES = {
    "pancake_key_rejected": REJECTED,
    "pancake_refused": UNAVAILABLE,
    "pancake_unavailable": UNAVAILABLE,
}
"""What an error of the probe says of Pancake; any other one is a fault of ours and says nothing."""


async def check_connection(on: Runtime, call: CronCall) -> Answer:
    """Answers `{result, report}`; the report holds status before and after, and why, for each connection."""
    return await on.register.run(call, partial(check_all, on), seconds=SECONDS)


async def check_all(on: Runtime, run: Run) -> Report:
    """Probe, judge, and change the status in the transaction that stores the report: the history."""
    connections = await load_connections(on.db, on.settings.key_ring)
    probes = await for_each(connections, partial(_probe, on))
    faults = [probe for probe in probes if probe.get("error", "pancake_unavailable") not in PROBES]
    previous = await _previous(on, run)
    findings = [
        await examine(on, run, connection, probe, previous.get(connection.id, {}))
        for connection, probe in zip(connections, probes, strict=True)
        if probe not in faults
    ]
    changed = [finding for finding in findings if finding["before"] != finding["after"]]
    return Report(
        {"connections": findings},
        statements=tuple(_set_status(run, finding) for finding in changed),
        notices=tuple(_notice(run, finding) for finding in changed),
        problem=problems(faults),
    )


async def examine(
    on: Runtime, run: Run, connection: Connection, probe: Mapping[str, Any], previous: Mapping[str, Any]
) -> dict[str, Any]:
    """One connection: what its two channels show, and the status that follows."""
    params = {"connection_id": connection.id, "now": run.now}
    seen = await on.db.fetch_one("check_connection/load_signs", params) or {}
    word = PROBES[probe["error"]] if "error" in probe else ALIVE
    failed = previous.get("failed_probes", 0) + 1 if word == UNAVAILABLE else 0
    signs = Signs(word, failed, seen["last_webhook_at"], seen["missed"], seen["missed_since"])
    return {
        "connection_id": connection.id,
        "name": connection.name,
        "before": connection.status,
        "after": judge(connection.status, run.now, signs),
        "probe": word,
        "failed_probes": failed,
        "last_webhook_at": seen["last_webhook_at"],
        "missed": seen["missed"],
        "missed_since": seen["missed_since"],
    }


async def _probe(on: Runtime, connection: Connection) -> dict[str, Any]:
    """The cheapest read that needs a working key. It also keeps a key alive that is otherwise unused."""
    return {"sources": len(await on.pancake.sources(connection.access))}


async def _previous(on: Runtime, run: Run) -> dict[str, dict[str, Any]]:
    params = {"scheduled_time": run.scheduled_time}
    row = await on.db.fetch_one("check_connection/load_previous", params) or {}
    return {finding["connection_id"]: finding for finding in row.get("connections") or ()}


def _set_status(run: Run, finding: Mapping[str, Any]) -> Statement:
    names = ("connection_id", "before", "after")
    return "check_connection/set_status", {name: finding[name] for name in names} | {"now": run.now}


def _notice(run: Run, finding: Mapping[str, Any]) -> Notice:
    key = f"connection_status:{finding['connection_id']}:{run.scheduled_time.isoformat()}"
    detail = f"{finding['name']}: {finding['before']} → {finding['after']}"
    return Notice(key, f"connection_{finding['after']}", detail)
