"""Send claimed rows and store the results.

A claim by `claim_notifications` counts as an attempt with an unknown result until the result is stored, so
that a sender that dies each time does not repeat for ever. Waits and bounds: leads/domain/sending.py.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Params
from leads.adapters.graphql import GraphqlClient
from leads.adapters.logs import LOGGER
from leads.adapters.metrics import Metrics
from leads.domain.sending import NO_RECIPIENTS, REFUSED, UNKNOWN
from leads.services.sending.calls import NotificationInput, send_notifications
from leads.services.sending.reporting import report_sent, report_unsent
from leads.services.sending.rows import DueRow, Result, Stored, UnsentRow, group

CALLS_AT_A_TIME = 2
MAX_SECONDS_TO_START = 20.0
"""No call starts later, but is left to retry_failed: Hasura waits 30 s for a handler, and leases end."""
HasTime = Callable[[], bool]
"""Whether there is time for another call."""


@dataclass(slots=True)
class _Round(Generic[Stored]):
    """Groups of rows to claim and send; `alone` holds claimed rows whose common call was refused."""

    groups: deque[Sequence[int]]
    has_time: HasTime
    alone: deque[UnsentRow[Stored]] = field(default_factory=deque)
    done: int = 0
    errors: list[Exception] = field(default_factory=list)


class Sender(ABC, Generic[Stored]):
    """Sends claimed rows. A subclass knows the statements and the notifications of its table.

    The statements of outbox/ and run_notices/ differ in the table only, and SQL has no parameter for a table.
    """

    rows_name: ClassVar[str]
    """What log lines call the rows."""

    def __init__(self, db: Database, graphql: GraphqlClient, metrics: Metrics, clock: Clock) -> None:
        self._db = db
        self._graphql = graphql
        self._metrics = metrics
        self._clock = clock

    async def claim_and_send(self, ids: Sequence[int], *, has_time: HasTime | None = None) -> int:
        """Send what these rows hold and no other sender has claimed; return how many rows are done.

        What cannot be sent while there is time, by default 20 seconds, is left to retry_failed. Raises
        DatabaseUnavailable.
        """
        stop_at = self._clock.monotonic() + MAX_SECONDS_TO_START
        due = [DueRow(id_, 0, 0) for id_ in ids]
        return await self.send_due(due, has_time or (lambda: self._clock.monotonic() < stop_at))

    async def send_due(self, due: Sequence[DueRow], has_time: HasTime) -> int:
        """Send rows while there is time, first those that never failed; return how many are done.

        An error does not stop the other rows. The first is raised at the end, the others are logged.
        """
        round_: _Round[Stored] = _Round(deque(group(due)), has_time)
        await asyncio.gather(*(self._work(round_) for _ in range(CALLS_AT_A_TIME)))
        await self.release(round_.alone)
        for error in round_.errors[1:]:
            LOGGER.error("sending failed", exc_info=error)
        for error in round_.errors[:1]:
            raise error
        return round_.done

    async def attempt(self, rows: Sequence[UnsentRow[Stored]]) -> tuple[set[int], list[UnsentRow[Stored]]]:
        """Send claimed rows in one call and store the results.

        Returns the ids of the rows that are done, and the rows to send alone: a call for several was refused.
        """
        results = [self._exhausted(row) for row in rows if row.sending.is_exhausted]
        sendable = [row for row in rows if not row.sending.is_exhausted]
        refused: list[UnsentRow[Stored]] = []
        if len(sendable) == 1:
            results.append(await self._send_alone(sendable[0]))
        elif sendable:
            inputs = [each for row in sendable for each in self._sendable(row).values()]
            error = await self._call(sendable, inputs)
            if error == REFUSED:
                refused = sendable
            else:
                names = {row.id: [] if error else [*self._sendable(row)] for row in sendable}
                results += [self._result(row, names[row.id], error) for row in sendable]
        await self._store(results)
        return {result.row.id for result in results if result.sending is None}, refused

    async def release(self, rows: Iterable[UnsentRow[Stored]]) -> None:
        """Give back claimed rows that were not tried, as they were."""
        await self._store([Result(row, row.sending, [], was_tried=False) for row in rows])

    @abstractmethod
    def _inputs(self, row: UnsentRow[Stored]) -> dict[str, NotificationInput]:
        """Return the inputs of sendNotifications by a name that is unique within the row."""

    @abstractmethod
    async def _claim(self, ids: Sequence[int]) -> Sequence[UnsentRow[Stored]]: ...

    @abstractmethod
    async def _mark_notified(self, params: Params) -> None: ...

    @abstractmethod
    async def _mark_unsent(self, params: Params) -> None: ...

    async def _work(self, round_: _Round[Stored]) -> None:
        """Send groups, then rows alone, while there is time."""
        while (round_.groups or round_.alone) and round_.has_time():
            try:
                if round_.groups:
                    rows = await self._claim(round_.groups.popleft())
                else:
                    rows = [round_.alone.popleft()]
                done, refused = await self.attempt(rows)
                report_sent(self.rows_name, done)
            except Exception as error:  # noqa: BLE001 - raised when the others were tried: they must not starve
                round_.errors.append(error)
            else:
                round_.done += len(done)
                round_.alone.extend(refused)

    async def _send_alone(self, row: UnsentRow[Stored]) -> Result[Stored]:
        """Send a row by itself; if it was refused before, each of its notifications by itself."""
        inputs = self._sendable(row)
        parts = [[name] for name in inputs] if row.refusals else [[*inputs]]
        sent: list[str] = []
        failed: str | None = None
        for names in parts:
            error = await self._call([row], [inputs[name] for name in names])
            if error is None:
                sent += names
            else:
                failed = error
            if error == UNKNOWN:
                break  # another call without an answer would take as long
        return self._result(row, sent, failed)

    async def _call(
        self, rows: Sequence[UnsentRow[Stored]], inputs: Sequence[NotificationInput]
    ) -> str | None:
        return await send_notifications(self._graphql, self._metrics, inputs)

    def _sendable(self, row: UnsentRow[Stored]) -> dict[str, NotificationInput]:
        """The inputs with a recipient: the service refuses others."""
        return {name: each for name, each in self._inputs(row).items() if each["recipient_ids"]}

    def _result(self, row: UnsentRow[Stored], sent: list[str], error: str | None) -> Result[Stored]:
        if error is None and len(sent) < len(row.notifications):
            error = NO_RECIPIENTS
        return Result(row, row.sending.after(error, self._clock.now()) if error else None, sent)

    def _exhausted(self, row: UnsentRow[Stored]) -> Result[Stored]:
        return Result(row, row.sending.given_up(UNKNOWN, self._clock.now()), [])

    async def _store(self, results: Sequence[Result[Stored]]) -> None:
        """Mark the rows. A row that another sender has claimed meanwhile is left alone."""
        done = [result.row for result in results if result.sending is None]
        unsent = [result for result in results if result.sending is not None]
        if done:
            await self._mark_notified(
                {
                    "ids": [row.id for row in done],
                    "claimed_ats": [row.notify_claimed_at for row in done],
                    "now": self._clock.now(),
                }
            )
        if unsent:
            stored = [result.stored() for result in unsent]
            await self._mark_unsent({"results": json.dumps(stored, default=str)})
            report_unsent(self._metrics, self.rows_name, unsent)
