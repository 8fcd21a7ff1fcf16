"""Keep the list of a workspace's sources: new ones arrive inactive, removed ones are marked.

Called by: cron trigger `pancake_sync_sources`, every 15 minutes.
"""

from functools import partial
from typing import Any

from leads.adapters.hasura_calls import CronCall
from leads.domain.sources import source_columns
from leads.services.connections import Connection, for_each, load_connections, problems
from leads.services.cron_runs import Notice, Report, Run
from leads.services.runtime import Answer, Runtime

SECONDS = 40


async def sync_sources(on: Runtime, call: CronCall) -> Answer:
    """Answers `{result, report}`; the report lists for each connection what is new, removed or restored."""
    return await on.register.run(call, partial(sync_all, on), seconds=SECONDS)


async def sync_all(on: Runtime, run: Run) -> Report:
    """Read and store the sources of every connection."""
    connections = await load_connections(on.db, on.settings.key_ring)
    reports = await for_each(connections, partial(sync_connection, on, run))
    notices = tuple(notice for report in reports for notice in _notices(report))
    return Report({"connections": reports}, notices=notices, problem=problems(reports))


async def sync_connection(on: Runtime, run: Run, connection: Connection) -> dict[str, Any]:
    """One connection. Raises PancakeUnavailable or PancakeRefused."""
    entries = await on.pancake.sources(connection.access)
    columns = source_columns(connection.id, entries) | {"now": run.now}
    changes: dict[str, list[str]] = {"new": [], "removed": [], "restored": []}
    for row in await on.db.fetch_all("sync_sources/store_sources", columns):
        changes[row["change"]].append(row["source_id"])
    return {"listed": len(columns["ids"]), **changes}


def _notices(report: dict[str, Any]) -> list[Notice]:
    """One notification for all new sources of a connection."""
    new = report.get("new")
    key = f"new_source:{report['connection_id']}:{','.join(new or ())}"
    return [Notice(key, "new_source", ", ".join(new))] if new else []
