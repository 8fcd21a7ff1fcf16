"""One simulated workspace: records, sender, generator, faults and options."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from sandbox.pancake.faults import Faults
from sandbox.pancake.leads import Leads
from sandbox.pancake.store import TABLES, Table
from sandbox.pancake.webhook import Sender, Settings


def real_time() -> datetime:
    return datetime.now(UTC)


class Workspace:
    """The state behind both APIs. `now` may be the clock of a test."""

    def __init__(
        self,
        *,
        seed: int = 0,
        workspace_id: int = 123,
        api_key: str = "0123456789abcdef0123456789abcdef",
        now: Callable[[], datetime] = real_time,
        transport: httpx.AsyncBaseTransport | None = None,
        zone_hours: float = 0,
        filter_zone_hours: float = 0,
        enveloped: bool = True,
        descending: bool = True,
    ) -> None:
        self.workspace_id, self.api_key, self.now = workspace_id, api_key, now
        self.filter_zone = timedelta(hours=filter_zone_hours)
        self.enveloped, self.descending = enveloped, descending
        self.leads, self.faults = Leads(seed), Faults()
        self.tables = {name: Table(now, timedelta(hours=zone_hours)) for name in TABLES}
        self.sender = Sender(
            Settings(workspace_id=workspace_id), self.faults, self.leads, now, transport=transport
        )
        self.counts: Counter[str] = Counter()
        self.more_sources: dict[str, str] = {}
        self.removed_sources: set[str] = set()
        self.first_cursor = ""

    def save(self, record: dict[str, Any], table: str = "lead") -> dict[str, Any]:
        """Insert or update a record and send the event."""
        record = {"id": self.leads.uuid()} | record
        created = record["id"] not in self.tables[table].current
        whole = self.tables[table].write(record, lag_seconds=self.faults.lag_seconds)
        self.sender.emit(whole, table, created=created)
        return whole

    def new_lead(self) -> dict[str, Any]:
        """Generate a lead and save it."""
        return self.save(self.leads.lead())

    def edit_lead(self, record_id: str) -> dict[str, Any]:
        """Change a lead and save it. Raises KeyError for an unknown id."""
        record = self.tables["lead"].get(record_id)
        if record is None:
            raise KeyError(record_id)
        return self.save(self.leads.edit(record))

    def bulk(self, count: int, start: datetime, end: datetime) -> None:
        """Create past leads, evenly spread from `start` to `end`, without webhooks."""
        step = (end - start) / max(count, 1)
        for number in range(count):
            self.tables["lead"].write(self.leads.lead(), at=start + step * number)

    async def aclose(self) -> None:
        await self.sender.aclose()
