"""Walk Pancake's lists and store what we lack: the mechanics that polling and reconciliation share.

What covers a listed record is a rule of the domain, handed in as a function.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import psycopg

from leads.adapters.database import Database, Row
from leads.adapters.pancake_api import COMPLETE, PAGE_LIMIT, Pancake
from leads.domain.errors import Contended
from leads.services.connections import Connection

PAUSED = "paused"
TRIES = 3
GROUP = 300
"""Records that are looked up and stored together, about ten pages."""
Item = TypeVar("Item")
Missing = Callable[[Sequence[Row]], Sequence[Item]]
"""What to store, given our rows of the records in question."""


async def walk(
    pancake: Pancake,
    connection: Connection,
    record_filter: Mapping[str, Any],
    state: dict[str, Any],
    on_entries: Callable[[str, list[dict[str, Any]]], Awaitable[None]],
    *,
    time_left: Callable[[], float],
    max_pages: int,
) -> str:
    """Read every table of a connection, from where `state` stands, which moves on after each group of pages.

    Returns COMPLETE, or why not: PAUSED (no time left), REPEATED_CURSOR, PAGE_LIMIT. The cursor to go on from
    is used once: if Pancake refuses it, the table starts anew next time.
    """
    for counter in ("table", "pages", "short_pages"):
        state.setdefault(counter, 0)
    while state["table"] < len(connection.tables):
        table, cursor = connection.tables[state["table"]], state.pop("cursor", None)
        entries: list[dict[str, Any]] = []
        async for page in pancake.pages(connection.access, table, record_filter, cursor=cursor):
            entries += page.entries
            state["pages"] += 1
            state["short_pages"] += page.after_short
            stop = page.ending or (PAGE_LIMIT if state["pages"] >= max_pages else None)
            stop = stop or (PAUSED if time_left() <= 0 else None)
            if stop or len(entries) >= GROUP:
                await on_entries(table, entries)
                entries, state["cursor"] = [], page.cursor
            if stop and stop != COMPLETE:
                return stop
        state.pop("cursor", None)
        state["table"] += 1
    return COMPLETE


async def look_up(
    pancake: Pancake, connection: Connection, tables: Mapping[str, str | None]
) -> dict[str, dict[str, Any]]:
    """Records read one by one, by their ids; who is gone is left out.

    `tables` names the table of each record, None where any of the connection's may hold it.
    """
    present: dict[str, dict[str, Any]] = {}
    for record_id, table in tables.items():
        for name in (table,) if table else connection.tables:
            record = await pancake.record(connection.access, name, record_id)
            if record is not None:
                present[record_id] = record
                break
    return present


class Layer(Generic[Item]):
    """Stores what one layer found that nothing of ours covers.

    `columns` gives the parameters of ingest_record/store_deliveries for some items; asked to mend, in a form
    that PostgreSQL takes in any case.
    """

    def __init__(self, db: Database, columns: Callable[[Sequence[Item], bool], dict[str, Any]]) -> None:
        self._db = db
        self._columns = columns

    async def store(self, asked: Mapping[str, Any], missing: Missing[Item]) -> list[tuple[Item, Row]]:
        """Store what `missing` makes of our rows; returns it with the rows of store_deliveries.

        `asked`: the parameters of pancake_lists/load_events. Looked at once without locks, then under the
        records' locks, so that two layers never store the same version.
        """
        if not missing(await self._db.fetch_all("pancake_lists/load_events", asked)):
            return []
        return await self._locked(asked, missing)

    async def _locked(
        self, asked: Mapping[str, Any], missing: Missing[Item], *, mend: bool = False
    ) -> list[tuple[Item, Row]]:
        items: Sequence[Item] = ()
        for attempt in range(1, TRIES + 1):
            try:
                async with self._db.transaction() as transaction:
                    lock = ("process_record/lock_records", {"record_ids": asked["record_ids"]})
                    _, rows = await transaction.run(lock, ("pancake_lists/load_events", asked))
                    items = missing(rows)
                    if not items:
                        return []
                    params = self._columns(items, mend)
                    filled, stored = await transaction.run(
                        ("pancake_lists/fill_held", params),
                        ("ingest_record/store_deliveries", params),
                        commit=True,
                    )
                    became = {row["ordinal"]: row for row in [*stored, *filled]}
                    return [(items[ordinal], row) for ordinal, row in became.items()]
            except Contended:
                if attempt == TRIES:
                    raise
            except psycopg.DataError:
                if mend:
                    raise
                break
        pairs = []
        for item in items:
            alone = partial(_only, missing, item)
            pairs += await self._locked(asked, alone, mend=len(items) == 1)
        return pairs


def _only(missing: Missing[Item], item: Item, rows: Sequence[Row]) -> list[Item]:
    return [other for other in missing(rows) if other == item]
