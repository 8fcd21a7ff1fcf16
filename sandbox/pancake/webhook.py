"""The webhook sender: custom headers, an optional signature, retries, and the vendor's suspension rule.

Published (webhook OpenAPI 2.0.0): the vendor suspends a webhook when within 30 minutes at least 300 requests
and more than 80 % of them fail. Nothing is sent until an admin enables it again, and then only new events.
The retry policy is not published; the default here is two retries after 1 and 5 seconds.
"""

import asyncio
import hashlib
import hmac
import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx

from sandbox.pancake.faults import Faults
from sandbox.pancake.leads import TAGS, Leads

SUSPENSION_WINDOW = timedelta(minutes=30)
MIN_FAILURES = 300
MAX_FAILURE_SHARE = 0.8


@dataclass
class Settings:
    """The settings of the vendor's form, and those that the simulator adds."""

    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    secret: str = ""
    shape: str = "flat"
    """`documented` (bare record), `flat` (with type, event_type, workspace_id, table_id) or `enveloped`."""
    retry_seconds: list[float] = field(default_factory=lambda: [1.0, 5.0])
    timeout_seconds: float = 5.0
    workspace_id: int = 123


@dataclass
class Delivery:
    """One event to be sent."""

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
        """Wait until nothing is pending."""
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
        """Suspend the webhook as the vendor does."""
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
                headers=self._headers(delivery.body),
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

    def _headers(self, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "hackney/1.20.1"} | self.settings.headers
        if self.settings.secret:
            stamp = str(int(self._now().timestamp()))
            signed = hmac.new(self.settings.secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
            headers |= {"X-Pancake-Timestamp": stamp, "X-Pancake-Signature": signed.hexdigest()}
        return headers

    def _body(self, record: dict[str, Any], table: str, created: bool) -> bytes:
        """Return the event in the chosen shape. It has full tag objects and no `interested_product`."""
        workspace = self.settings.workspace_id
        tags = [
            {"id": tag, "text": text, "description": None, "color": color, "lighten_color": color,
             "workspace_id": workspace}
            for tag, text, color in TAGS if tag in record.get("pancake_tags", ())
        ]  # fmt: skip
        body: dict[str, Any] = {key: value for key, value in record.items() if key != "interested_product"}
        body["pancake_tags_obj"] = tags
        if self.settings.shape == "flat":
            kind = "insert" if created else "update"
            body |= {"type": "records", "event_type": kind, "workspace_id": workspace, "table_id": table}
        elif self.settings.shape == "enveloped":
            data = body | {"workspace_id": workspace, "table_id": table}
            body = {"event": "record", "action": "created" if created else "updated", "data": data}
        return json.dumps(body, ensure_ascii=False).encode()
