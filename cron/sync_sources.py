"""Store the list of each workspace's sources: new ones are inactive, removed ones are marked.

The admins get one notification for all new sources of a connection, those created by deliveries included.

Called by: cron trigger `pancake_sync_sources`, every 15 minutes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Literal

from leads.adapters.database import Params
from leads.domain.listing import read_sources
from leads.domain.reports import MAX_ITEMS_PER_ANSWERED_LIST, ConnectionReport
from leads.runtime import Runtime
from leads.services.connections import Connection, load_connections
from leads.services.cron_work import AdminNotice, CronReport, CronRun, for_each, problems


class SourcesReport(ConnectionReport, total=False):
    """How many sources Pancake lists, and the ids of those that changed."""

    listed: int
    new: list[str]
    removed: list[str]
    restored: list[str]


@dataclass(frozen=True, slots=True)
class NewSource:
    """A row of sync_sources/list_unannounced: a source that Pancake lists, or that a delivery named."""

    id: str
    connection_id: str
    source_id: str
    name: str | None

    @property
    def label(self) -> str:
        return f"{self.name} ({self.source_id})" if self.name else self.source_id


async def sync_sources(runtime: Runtime, run: CronRun) -> CronReport:
    """Read and store the sources of every connection; report which are new, removed or restored."""
    connections = await load_connections(runtime.db, runtime.settings.key_ring)
    reports, is_complete = await for_each(run, connections, partial(sync_connection, runtime, run))
    if not is_complete:
        return CronReport({"connections": reports}, unfinished=True)
    new = await runtime.db.fetch_all("sync_sources/list_unannounced", {}, NewSource)
    announced: Params = {"ids": [source.id for source in new], "now": run.now}
    return CronReport(
        {"connections": reports},
        statements=(("sync_sources/mark_announced", announced),),
        notices=tuple(_notices({each.id: each.name for each in connections}, new)),
        problem=problems(reports),
    )


async def sync_connection(runtime: Runtime, run: CronRun, connection: Connection) -> SourcesReport:
    """Read and store the sources of one connection. Raises PancakeUnavailable or PancakeRefused."""
    sources = read_sources(await runtime.pancake.sources(connection.access))
    params = {
        "connection_id": connection.id,
        "ids": [source.id for source in sources],
        "names": [source.name for source in sources],
        "parents": [source.parent_id for source in sources],
        "removed": [source.is_removed for source in sources],
        "now": run.now,
    }
    report: SourcesReport = {"listed": len(sources), "new": [], "removed": [], "restored": []}
    for row in await runtime.db.fetch_all("sync_sources/store_sources", params):
        change: Literal["new", "removed", "restored"] = row["change"]
        report[change].append(row["source_id"])
    return report


def _notices(names: Mapping[str, str], new: Sequence[NewSource]) -> Iterator[AdminNotice]:
    """One notice for all new sources of a connection. A source is announced once, so its id is a key.

    `names` are those of the connections by id; one that was disabled meanwhile is named by its id.
    """
    for connection_id, group in groupby(new, attrgetter("connection_id")):
        sources = list(group)
        named = ", ".join(source.label for source in sources[:MAX_ITEMS_PER_ANSWERED_LIST])
        left = len(sources) - MAX_ITEMS_PER_ANSWERED_LIST
        detail = f"{named}, … (+{left})" if left > 0 else named
        facts = {"connection": names.get(connection_id, connection_id), "count": str(len(sources))}
        yield AdminNotice(f"new_source:{connection_id}:{sources[0].id}", "new_source", detail, facts)
