"""One simulated workspace: records, generator, options, faults, and the webhook sender.

Published (webhook OpenAPI 2.0.0): the vendor suspends a webhook when within 30 minutes at least 300 requests
and more than 80 % of them fail. Nothing is sent until an admin enables it again, and then only new events.
The retry policy is not published; the default here is two retries after 1 and 5 seconds.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from sandbox.pancake.leads import TAGS, Leads
from sandbox.pancake.store import TABLES, Table


@dataclass
class Faults:
    """Faults of the REST API and of the webhook sender; probabilities are between 0 and 1."""

    down: bool = False
    """REST answers 503 with `Retry-After`."""
    error_rate: float = 0
    """Share of REST requests answered 500."""
    slow_seconds: float = 0
    """Delay of every REST answer."""
    rate_limited: bool = False
    """REST answers 429."""
    unauthorized: bool = False
    """REST answers 401, as for a disabled key."""
    success_false: bool = False
    """REST answers 200 with `success: false`."""
    ignore_filter: bool = False
    """The list ignores `filter`."""
    wrong_filter: bool = False
    """The list reads the filter as another year and returns no records."""
    repeat_cursor: bool = False
    """Every page returns the cursor of the first page."""
    truncate_body: bool = False
    """REST bodies end after half of their bytes."""
    cut_page: int = 0
    """Number of records that each full page omits."""
    lag_seconds: float = 0
    """Time until a write appears in the list."""
    drop: float = 0
    """Share of webhooks never sent."""
    duplicate: float = 0
    """Share of webhooks sent twice."""
    delay: float = 0
    """Share of webhooks sent `delay_seconds` late, and so after newer ones."""
    delay_seconds: float = 1

    def change(self, values: dict[str, Any]) -> None:
        """Set some faults. Raises ValueError for an unknown name or a value of the wrong type."""
        kinds = {item.name: type(item.default) for item in fields(self)}
        for name, value in values.items():
            if name not in kinds:
                raise ValueError(f"unknown fault {name}; use one of {', '.join(kinds)}")
            if kinds[name] is bool and not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false, not {value!r}")
            if kinds[name] is not bool and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise ValueError(f"{name} must be a number, not {value!r}")
            setattr(self, name, value)

    def reset(self) -> None:
        self.change({item.name: item.default for item in fields(self)})


SUSPENSION_WINDOW = timedelta(minutes=30)
MIN_FAILURES = 300
MAX_FAILURE_SHARE = 0.8
HEADERS = {"Content-Type": "application/json", "User-Agent": "hackney/1.20.1"}


@dataclass
class Settings:
    """The settings of the vendor's form, and those that the simulator adds."""

    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    retry_seconds: list[float] = field(default_factory=lambda: [1.0, 5.0])
    timeout_seconds: float = 5.0
    workspace_id: int = 123


@dataclass
class Delivery:
    record_id: str
    modified_on: str
    body: bytes
    attempts: int = 0


class Sender:
    """Sends events in the background, at most `parallel` at a time."""

    def __init__(
        self,
        settings: Settings,
        faults: Faults,
        leads: Leads,
        now: Callable[[], datetime],
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        parallel: int = 16,
    ) -> None:
        self.settings, self.faults, self.enabled = settings, faults, True
        self.suspensions: list[datetime] = []
        self.counts: Counter[str] = Counter()
        self.delivered: dict[str, list[str]] = {}
        self._leads, self._now = leads, now
        self._answers: deque[tuple[datetime, bool]] = deque()
        self._failures = 0
        self._slots = asyncio.Semaphore(parallel)
        self._tasks: set[asyncio.Task[None]] = set()
        self._http = httpx.AsyncClient(transport=transport, trust_env=False)

    @property
    def pending(self) -> int:
        """Number of unfinished deliveries: waiting, being sent, or before a retry."""
        return len(self._tasks)

    async def aclose(self) -> None:
        """Cancel the unfinished deliveries and close the client."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    async def idle(self) -> None:
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def emit(self, record: dict[str, Any], table: str, *, created: bool) -> None:
        """Send an event, unless the webhook is off or a fault drops it."""
        self.counts["events"] += 1
        if not self.settings.url or not self.enabled:
            self.counts["not_sent"] += 1
            return
        if self._leads.chance(self.faults.drop):
            self.counts["dropped"] += 1
            return
        copies = 1 + self._leads.chance(self.faults.duplicate)
        self.counts["doubled"] += copies - 1
        for _ in range(copies):
            late = self._leads.chance(self.faults.delay)
            self.counts["delayed"] += late
            delivery = Delivery(record["id"], record["modified_on"], self._body(record, table, created))
            task = asyncio.create_task(self._deliver(delivery, self.faults.delay_seconds if late else 0))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def enable(self) -> None:
        """Enable the webhook as an admin does: counting restarts, old events are not sent."""
        self.enabled = True
        self._answers.clear()
        self._failures = 0

    def suspend(self) -> None:
        self.enabled = False
        self.suspensions.append(self._now())

    async def _deliver(self, delivery: Delivery, wait: float) -> None:
        for pause in (wait, *self.settings.retry_seconds):
            await asyncio.sleep(pause)
            async with self._slots:
                if not self.enabled:
                    self.counts["not_sent"] += 1
                    return
                if await self._send(delivery):
                    self.delivered.setdefault(delivery.record_id, []).append(delivery.modified_on)
                    return
        self.counts["given_up"] += 1

    async def _send(self, delivery: Delivery) -> bool:
        """Send one request; return whether the vendor counts it as delivered (2xx)."""
        delivery.attempts += 1
        self.counts["requests"] += 1
        try:
            response = await self._http.post(
                self.settings.url,
                content=delivery.body,
                headers={**HEADERS, **self.settings.headers},
                timeout=self.settings.timeout_seconds,
            )
            delivered = response.is_success
            self.counts[f"status_{response.status_code}"] += 1
        except httpx.HTTPError as error:
            delivered = False
            self.counts[type(error).__name__] += 1
        self._count_answer(delivered)
        return delivered

    def _count_answer(self, delivered: bool) -> None:
        now = self._now()
        self._answers.append((now, delivered))
        self._failures += not delivered
        while self._answers[0][0] < now - SUSPENSION_WINDOW:
            self._failures -= not self._answers.popleft()[1]
        if (
            self._failures >= MIN_FAILURES
            and self._failures > MAX_FAILURE_SHARE * len(self._answers)
            and self.enabled
        ):
            self.suspend()

    def _body(self, record: dict[str, Any], table: str, created: bool) -> bytes:
        """Return the event: the record with full tag objects, without `interested_product`."""
        workspace = self.settings.workspace_id
        tags = [
            {"id": tag, "text": text, "description": None, "color": color, "lighten_color": color,
             "workspace_id": workspace}
            for tag, text, color in TAGS if tag in record.get("pancake_tags", ())
        ]  # fmt: skip
        body = {key: value for key, value in record.items() if key != "interested_product"} | {
            "pancake_tags_obj": tags, "type": "records", "event_type": "insert" if created else "update",
            "workspace_id": workspace, "table_id": table,
        }  # fmt: skip
        return json.dumps(body, ensure_ascii=False).encode()


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
    ) -> None:
        self.workspace_id, self.api_key, self.now = workspace_id, api_key, now
        self.leads, self.faults = Leads(seed), Faults()
        self.tables = {name: Table(now) for name in TABLES}
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
