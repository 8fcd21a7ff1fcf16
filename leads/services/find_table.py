"""Find the table of a record whose body named none, before the work begins: Pancake is asked.

Only a connection with several tables has such events: ingest fills in the table of one that has one.
"""

import asyncio
from collections.abc import Sequence

from leads.adapters.clock import Clock
from leads.adapters.database import Database
from leads.adapters.pancake_api import PancakeApi
from leads.adapters.secrets import KeyRing
from leads.domain.errors import Misconfigured, PancakeRefused, PancakeUnavailable
from leads.services.connections import Connection, load_connections

LOOK_UP_SECONDS = 3.0
"""For all tables together."""
NAME_TIMEOUT_SECONDS = 4.0
"""For the look-up and its statements. With 5 s for a work slot and 20 s of work it stays below the 30 s that
Hasura waits."""
LOOK_UPS_SECONDS = 10.0
"""For all events of a dry run, which has at most 100."""


async def find_table(
    db: Database, pancake: PancakeApi, key_ring: KeyRing, connection_id: str, record_id: str | None
) -> str | None:
    """Return the table of a record; None if Pancake cannot tell. Raises DatabaseUnavailable."""
    connections = await load_connections(db, key_ring)
    connection = next((each for each in connections if each.id == connection_id), None)
    return await _find_in(pancake, connection, record_id) if connection and record_id else None


async def find_tables(
    db: Database, clock: Clock, pancake: PancakeApi, key_ring: KeyRing, event_ids: Sequence[int]
) -> dict[int, str | None]:
    """Return the tables of those events that lack one, for a dry run, which stores nothing.

    None where Pancake cannot tell, or where LOOK_UPS_SECONDS were used up. Raises DatabaseUnavailable.
    """
    rows = await db.fetch_all("process_record/list_without_table", {"ids": list(event_ids)})
    if not rows:
        return {}
    connections = {connection.id: connection for connection in await load_connections(db, key_ring)}
    found: dict[tuple[str, str], str | None] = {}
    deadline = clock.monotonic() + LOOK_UPS_SECONDS
    events = {row["id"]: (row["connection_id"], row["record_id"]) for row in rows}
    for connection_id, record_id in dict.fromkeys(events.values()):
        connection = connections.get(connection_id)
        if connection and clock.monotonic() < deadline:
            found[connection_id, record_id] = await _find_in(pancake, connection, record_id)
    return {event_id: found.get(key) for event_id, key in events.items()}


async def _find_in(pancake: PancakeApi, connection: Connection, record_id: str) -> str | None:
    """Return the one table of a connection that holds a record.

    None if no table or several hold it, or if Pancake refuses, does not answer in time or cannot be asked.
    """
    if len(connection.tables) == 1:
        return connection.tables[0]
    breaker = pancake.look_ups[connection.access.host]  # must not open for polling, which can wait longer
    try:
        tables = await breaker.call_async(_tables_holding, pancake, connection, record_id)
    except (PancakeUnavailable, PancakeRefused, Misconfigured):
        return None
    return tables[0] if len(tables) == 1 else None


async def _tables_holding(pancake: PancakeApi, connection: Connection, record_id: str) -> list[str]:
    """Ask every table. Raises PancakeUnavailable, PancakeRefused or Misconfigured."""
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            return [
                table
                for table in connection.tables
                if await pancake.record(connection.access, table, record_id) is not None
            ]
    except TimeoutError as error:
        raise PancakeUnavailable("Pancake did not answer in time.") from error
