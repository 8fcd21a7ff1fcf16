"""One simulated workspace: records, sender, generator, faults, and the choices the vendor leaves open."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from sandbox.pancake.faults import Faults
from sandbox.pancake.leads import Leads
from sandbox.pancake.store import TABLES, Table
from sandbox.pancake.webhook import Sender, Settings


def present() -> datetime:
    """The real time."""
    return datetime.now(UTC)


class Workspace:
    """Everything behind the two APIs. `now` may be a clock that a test moves."""

    def __init__(
        self,
        *,
        seed: int = 0,
        workspace_id: int = 123,
        api_key: str = "0123456789abcdef0123456789abcdef",
        now: Callable[[], datetime] = present,
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
        """Insert or update a record, as a person or the API would, and send the event."""
        record = {"id": self.leads.uuid()} | record
        created = record["id"] not in self.tables[table].current
        whole = self.tables[table].write(record, lag=self.faults.lag_seconds)
        self.sender.emit(whole, table, created=created)
        return whole

    def new_lead(self) -> dict[str, Any]:
        """Make up a lead and save it."""
        return self.save(self.leads.lead())

    def edit_lead(self, record_id: str) -> dict[str, Any]:
        """Change something that matters in a lead. Raises KeyError if there is none."""
        record = self.tables["lead"].get(record_id)
        if record is None:
            raise KeyError(record_id)
        return self.save(self.leads.edit(record))

    def bulk(self, count: int, start: datetime, end: datetime) -> None:
        """Leads spread evenly over a stretch of time, without webhooks: the past."""
        step = (end - start) / max(count, 1)
        for number in range(count):
            self.tables["lead"].write(self.leads.lead(), at=start + step * number)

    async def aclose(self) -> None:
        """Stop the sender."""
        await self.sender.aclose()
