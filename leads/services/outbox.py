"""Send the notifications that events and cron runs hold, and mark the rows (transactional outbox).

A row is claimed first: by the transaction that wrote its notifications, or by claim_notifications. A claim
counts as an attempt with an unknown result until the result is stored, so that a sender that dies each time
does not repeat for ever. What was not sent, also after a crash, is sent again by retry_failed, with the same
idempotency keys. Waits and bounds: leads/domain/notifications.py.
"""

import asyncio
import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from leads.adapters.batcher import Batcher
from leads.adapters.clock import Clock
from leads.adapters.database import Database
from leads.adapters.graphql import GraphqlClient
from leads.adapters.logs import LOGGER
from leads.adapters.metrics import Metrics
from leads.domain.errors import HasuraRefused, HasuraUnavailable, HasuraUncertain, Retryable
from leads.domain.notifications import (
    MAX_ROWS_PER_CALL,
    NO_RECIPIENTS,
    REFUSED,
    UNKNOWN,
    UNREACHED,
    RetryState,
    input_of,
    max_rows_per_call,
)

BATCHES_AT_A_TIME = 1
"""Events that are processed during a call share the next one; of two calls each would carry half as many."""
GATHER_SECONDS = 0.05
"""From a call for several events to the next: while many are processed, each call carries more of them."""
CALLS_AT_A_TIME = 2
"""Of rows that wait to be sent."""
SEND_LEASE = timedelta(seconds=60)
"""How long claimed notifications are left to their sender."""
MAX_SECONDS_TO_START = 20.0
"""No call starts later, but is left to retry_failed: Hasura waits 30 s for a handler, and leases end."""
MAX_LOGGED_IDS = 20


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows hold notifications: what log lines call the rows, and its statements.

    They differ in the table only, and SQL has no parameter for a table.
    """

    rows_name: str
    claim: str
    mark_notified: str
    mark_unsent: str


EVENTS = Table("events", "outbox/claim_notifications", "outbox/mark_notified", "outbox/mark_unsent")
RUNS = Table(
    "runs", "run_notices/claim_notifications", "run_notices/mark_notified", "run_notices/mark_unsent"
)


@dataclass(frozen=True, slots=True)
class DueRow:
    """A row whose notifications are to be sent now, with the attempts that failed so far."""

    id: int
    refusals: int
    unknowns: int


@dataclass(frozen=True, slots=True)
class UnsentRow:
    """A row with its unsent notifications; `notify_claimed_at` identifies the sender's claim.

    The other fields are those of RetryState before this attempt.
    """

    id: int
    notifications: Sequence[Mapping[str, object]]
    notify_claimed_at: datetime
    attempts: int = 0
    refusals: int = 0
    unknowns: int = 0
    unsent_since: datetime | None = None
    next_at: datetime | None = None
    error: str | None = None

    @property
    def state(self) -> RetryState:
        return RetryState(
            self.attempts, self.refusals, self.unknowns, self.unsent_since, self.next_at, error=self.error
        )


@dataclass(frozen=True, slots=True)
class SendResult:
    """What an attempt did for a row. `state` is None if all is sent; else `sent` names what is."""

    row: UnsentRow
    state: RetryState | None
    sent: Sequence[str] = ()
    was_tried: bool = True

    @property
    def unsent(self) -> int:
        return len(self.row.notifications) - len(self.sent)

    @property
    def error(self) -> str | None:
        return self.state.error if self.state else None

    @property
    def is_given_up(self) -> bool:
        return self.state is not None and self.state.given_up_at is not None

    def stored(self) -> dict[str, object]:
        """Return the row's element of the parameter `results` of mark_unsent."""
        state = asdict(self.state or RetryState())
        return {"id": self.row.id, "claimed_at": self.row.notify_claimed_at, "sent": self.sent, **state}


class Outbox:
    """Sends the notifications of one table through Hasura."""

    def __init__(
        self, db: Database, graphql: GraphqlClient, metrics: Metrics, clock: Clock, table: Table
    ) -> None:
        self._db = db
        self._graphql = graphql
        self._metrics = metrics
        self._clock = clock
        self._table = table

    async def claim_and_send(self, ids: Sequence[int], *, has_time: Callable[[], bool] | None = None) -> int:
        """Send what these rows hold and no other sender has claimed; return how many rows are done.

        What cannot be sent while there is time, by default 20 seconds, is left to retry_failed. Raises
        DatabaseUnavailable.
        """
        stop_at = self._clock.monotonic() + MAX_SECONDS_TO_START
        due = [DueRow(id_, 0, 0) for id_ in ids]
        return await self.send_due(due, has_time or (lambda: self._clock.monotonic() < stop_at))

    async def send_due(self, due: Sequence[DueRow], has_time: Callable[[], bool]) -> int:
        """Send rows while there is time, first those that never failed; return how many are done.

        An error does not stop the other rows. The first is raised at the end, the others are logged.
        """
        groups = deque(_groups(due))
        alone: deque[UnsentRow] = deque()  # claimed rows whose common call was refused
        done = 0
        errors: list[Exception] = []

        async def work() -> None:
            nonlocal done
            while (groups or alone) and has_time():
                try:
                    rows = await self._claim(groups.popleft()) if groups else [alone.popleft()]
                    sent, refused = await self._send_claimed(rows)
                    self._report_sent(sent)
                except Exception as error:  # noqa: BLE001 - raised when the others were tried: they must not starve
                    errors.append(error)
                else:
                    done += len(sent)
                    alone.extend(refused)

        await asyncio.gather(*(work() for _ in range(CALLS_AT_A_TIME)))
        await self._release(alone)
        for error in errors[1:]:
            LOGGER.error("sending failed", exc_info=error)
        for error in errors[:1]:
            raise error
        return done

    async def _claim(self, ids: Sequence[int]) -> list[UnsentRow]:
        params = {"ids": list(ids), "lease": SEND_LEASE, "now": self._clock.now()}
        return await self._db.fetch_all(self._table.claim, params, UnsentRow)

    async def _send_claimed(self, rows: Sequence[UnsentRow]) -> tuple[set[int], list[UnsentRow]]:
        """Send claimed rows in one call and store the results.

        Returns the ids of the rows that are done, and the rows to send alone: a call for several was refused.
        """
        now = self._clock.now()
        exhausted = [row for row in rows if row.state.is_exhausted]
        results = [SendResult(row, row.state.given_up(UNKNOWN, now)) for row in exhausted]
        sendable = [row for row in rows if not row.state.is_exhausted]
        refused: list[UnsentRow] = []
        if len(sendable) == 1:
            results.append(await self._send_row(sendable[0]))
        elif sendable:
            inputs = {row.id: _inputs(row) for row in sendable}
            error = await self._call([each for of_row in inputs.values() for each in of_row.values()])
            if error == REFUSED:
                refused = sendable
            else:
                results += [self._result(row, [] if error else [*inputs[row.id]], error) for row in sendable]
        await self._store(results)
        return {result.row.id for result in results if result.state is None}, refused

    async def _send_row(self, row: UnsentRow) -> SendResult:
        """Send a row by itself; if it was refused before, each of its notifications by itself."""
        inputs = _inputs(row)
        parts = [[name] for name in inputs] if row.refusals else [[*inputs]]
        sent: list[str] = []
        failed: str | None = None
        for names in parts:
            error = await self._call([inputs[name] for name in names])
            if error is None:
                sent += names
            else:
                failed = error
            if error == UNKNOWN:
                break  # another call without an answer would take as long
        return self._result(row, sent, failed)

    async def _call(self, inputs: Sequence[Mapping[str, object]]) -> str | None:
        """Send inputs and count those accepted; return None, or REFUSED, UNREACHED, UNKNOWN."""
        if not inputs:
            return None
        try:
            result = await self._graphql.send_notifications(inputs)
        except HasuraRefused:
            return REFUSED
        except HasuraUncertain:
            return UNKNOWN
        except HasuraUnavailable:
            return UNREACHED
        if sum(result.values()) < len(inputs):
            # The service took fewer than it was sent, and does not say which.
            return REFUSED
        for name, count in result.items():
            self._metrics.notifications.labels(name).inc(count)
        return None

    def _result(self, row: UnsentRow, sent: Sequence[str], error: str | None) -> SendResult:
        if error is None and len(sent) < len(row.notifications):
            error = NO_RECIPIENTS
        return SendResult(row, row.state.after(error, self._clock.now()) if error else None, sent)

    async def _release(self, rows: Iterable[UnsentRow]) -> None:
        """Give back claimed rows that were not tried, as they were."""
        await self._store([SendResult(row, row.state, was_tried=False) for row in rows])

    async def _store(self, results: Sequence[SendResult]) -> None:
        """Mark the rows. A row that another sender has claimed meanwhile is left alone."""
        done = [result.row for result in results if result.state is None]
        unsent = [result for result in results if result.state is not None]
        if done:
            params = {
                "ids": [row.id for row in done],
                "claimed_ats": [row.notify_claimed_at for row in done],
                "now": self._clock.now(),
            }
            await self._db.fetch_all(self._table.mark_notified, params)
        if unsent:
            stored = json.dumps([result.stored() for result in unsent], default=str)
            await self._db.fetch_all(self._table.mark_unsent, {"results": stored})
            self._report_unsent([result for result in unsent if result.was_tried])

    def _report_sent(self, ids: Collection[int]) -> None:
        """One log line for the rows that are done, when no request of their own says it."""
        if ids:
            fields = {"rows": self._table.rows_name, "count": len(ids), "ids": sorted(ids)[:MAX_LOGGED_IDS]}
            LOGGER.info("notifications sent", extra={"fields": fields})

    def _report_unsent(self, results: Sequence[SendResult]) -> None:
        """Count notifications that were not sent; one log line for those deferred, one for those given up."""
        for result in results:
            label = "unknown" if result.error == UNKNOWN else "failed"
            self._metrics.notifications.labels(label).inc(result.unsent)
        given_up = [result for result in results if result.is_given_up]
        self._metrics.notifications.labels("given_up").inc(sum(result.unsent for result in given_up))
        deferred = [result for result in results if not result.is_given_up]
        for level, message, those in (
            (logging.WARNING, "notifications deferred", deferred),
            (logging.ERROR, "notifications given up", given_up),
        ):
            if those:
                fields = {
                    "rows": self._table.rows_name,
                    "count": len(those),
                    "ids": [result.row.id for result in those[:MAX_LOGGED_IDS]],
                    "reasons": dict(Counter(result.error for result in those)),
                }
                LOGGER.log(level, message, extra={"fields": fields})


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A claimed row in the queue; its call must start before `start_before`, in monotonic seconds."""

    row: UnsentRow
    start_before: float


class EventOutbox(Outbox):
    """Sends also what processing has just written: events processed at the same time share a call."""

    def __init__(self, db: Database, graphql: GraphqlClient, metrics: Metrics, clock: Clock) -> None:
        super().__init__(db, graphql, metrics, clock, EVENTS)
        self._batcher: Batcher[_Submitted, bool | None] = Batcher(
            self._send_submitted,
            max_batch_size=MAX_ROWS_PER_CALL,
            batches_at_a_time=BATCHES_AT_A_TIME,
            gather_seconds=GATHER_SECONDS,
        )
        # Events whose call was refused, one in each call. The others do not wait for them.
        self._alone: Batcher[_Submitted, bool | None] = Batcher(
            self._send_submitted, max_batch_size=1, batches_at_a_time=1
        )

    async def send(self, events: Iterable[UnsentRow]) -> int:
        """Send the notifications of claimed events; return how many events are done.

        What cannot be sent now is left to retry_failed.
        """
        pending = [event for event in events if event.notifications]
        return sum(await asyncio.gather(*(self._submit(event) for event in pending)))

    async def _submit(self, event: UnsentRow) -> bool:
        submitted = _Submitted(event, self._clock.monotonic() + MAX_SECONDS_TO_START)
        try:
            is_done = await self._batcher.submit(submitted)
            if is_done is None:
                is_done = await self._alone.submit(submitted)
            return bool(is_done)
        except Retryable as error:
            fields = {"event_id": event.id, "reason": str(error)}
            LOGGER.warning("notifications deferred to the retry cron", extra={"fields": fields})
            self._metrics.notifications.labels("failed").inc(len(event.notifications))
            return False

    async def _send_submitted(self, submitted: Sequence[_Submitted]) -> list[bool | None]:
        """Send in one call; return whether each event is done, or None: a call for several was refused."""
        late: list[UnsentRow] = []
        in_time: list[UnsentRow] = []
        for each in submitted:
            (in_time if self._clock.monotonic() < each.start_before else late).append(each.row)
        done, refused = await self._send_claimed(in_time)
        await self._release(late)
        again = {row.id for row in refused}
        return [None if each.row.id in again else each.row.id in done for each in submitted]

    async def drain(self) -> None:
        """Wait until everything submitted is sent."""
        await self._batcher.drain()
        await self._alone.drain()


def note_dropped(metrics: Metrics, message: str, count: int, fields: Mapping[str, object]) -> None:
    """Log and count notifications that have no recipient, not even an administrator."""
    LOGGER.warning(message, extra={"fields": fields})
    metrics.notifications.labels("dropped").inc(count)


def _groups(due: Sequence[DueRow]) -> list[list[int]]:
    """Group rows into calls, in their order, but first the rows that can share calls with many."""
    groups: list[list[int]] = []
    filling: dict[int, list[int]] = {}
    for row in sorted(due, key=lambda row: row.refusals + row.unknowns > 0):
        size = max_rows_per_call(row.refusals, row.unknowns)
        if size not in filling or len(filling[size]) == size:
            filling[size] = []
            groups.append(filling[size])
        filling[size].append(row.id)
    return groups


def _inputs(row: UnsentRow) -> dict[str, Mapping[str, object]]:
    """Return the inputs that have a recipient, by name: the service refuses others.

    The key makes a repeat harmless if the service uses it. A run stores it: there it is the name, too.
    """
    inputs: dict[str, Mapping[str, object]] = {}
    for each in row.notifications:
        name = str(each.get("name") or each["idempotency_key"])
        key = f"{row.id}:{name}" if "name" in each else name
        if each["recipient_ids"]:
            inputs[name] = input_of(each, key)
    return inputs
