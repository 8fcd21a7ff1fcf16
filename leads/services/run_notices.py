"""Send the notices that runs of crons hold, and mark them as sent, as the outbox does for events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from leads.adapters.database import Params
from leads.services.outbox import SEND_LEASE
from leads.services.sending.calls import NotificationInput
from leads.services.sending.rows import DueRow, UnsentRow
from leads.services.sending.sender import Sender

MAX_RUNS_PER_TICK = 200


@dataclass(frozen=True, slots=True)
class UnsentRun(UnsentRow[NotificationInput]):
    """A cron run with unsent notices: the row of run_notices/claim_notifications."""


class RunNotices(Sender[NotificationInput]):
    """Sends the notices of runs. A run stores them as inputs of sendNotifications."""

    rows_name = "runs"

    async def list_unsent(self, now: datetime) -> list[DueRow]:
        """Return the runs with notices that are due and that no sender has claimed."""
        params = {"now": now, "lease": SEND_LEASE, "limit": MAX_RUNS_PER_TICK}
        return await self._db.fetch_all("run_notices/list_unnotified", params, DueRow)

    def _inputs(self, row: UnsentRow[NotificationInput]) -> dict[str, NotificationInput]:
        return {str(notice["idempotency_key"]): notice for notice in row.notifications}

    async def _claim(self, ids: Sequence[int]) -> list[UnsentRun]:
        params = {"ids": list(ids), "lease": SEND_LEASE, "now": self._clock.now()}
        return await self._db.fetch_all("run_notices/claim_notifications", params, UnsentRun)

    async def _mark_notified(self, params: Params) -> None:
        await self._db.fetch_all("run_notices/mark_notified", params)

    async def _mark_unsent(self, params: Params) -> None:
        await self._db.fetch_all("run_notices/mark_unsent", params)
