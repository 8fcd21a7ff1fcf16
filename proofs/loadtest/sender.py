"""Post leads when they are due, over a fixed number of connections, whatever the answers are.

An open loop: the latency of a delivery counts from the time at which it was due, so that a stall shows in
all deliveries that were due during it.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from urllib.parse import urlsplit

from hdrh.histogram import HdrHistogram

from proofs.bench.load import PUNCTUAL_SECONDS, Client, request_for
from proofs.chaos.stream import DELIVERIES_PER_DUPLICATE, LeadVersion, Sent

ANSWER_TIMEOUT_SECONDS = 10.0
MAX_DELAY_SECONDS = 10.0
"""A delivery that no connection is free for until then is dropped."""
LATE_SECONDS = 1.0
MAX_INTERVALS = 60
HIGHEST_LATENCY_US = 60_000_000


def new_histogram() -> HdrHistogram:
    """Return an empty histogram of latencies in microseconds, of three significant digits."""
    return HdrHistogram(1, HIGHEST_LATENCY_US, 3)


@dataclass
class Leg:
    """Deliveries at one rate. Times of the day are seconds since 1970."""

    per_second: float
    seconds: float
    sent: Sent = field(default_factory=Sent)
    latencies: HdrHistogram = field(default_factory=new_histogram)
    due: dict[str, float] = field(default_factory=dict)
    """The time of the day at which each record was first due."""
    intervals: dict[int, HdrHistogram] = field(default_factory=dict)
    """The latencies of the deliveries that were due in each interval, by its number."""
    offered: int = 0
    delivered: int = 0
    late: int = 0
    """Deliveries that were answered with 2xx, LATE_SECONDS after they were due or later."""
    dropped: int = 0
    """Deliveries that were never posted: no connection was free for MAX_DELAY_SECONDS."""
    unpunctual: int = 0
    """Deliveries that were posted more than PUNCTUAL_SECONDS after they were due."""
    started_at: float = 0.0
    ended_at: float = 0.0

    @property
    def interval_seconds(self) -> int:
        return max(1, ceil(self.seconds / MAX_INTERVALS))

    @property
    def delivered_per_second(self) -> float:
        """Deliveries that were answered with 2xx, per second until the last answer."""
        return self.delivered / (self.ended_at - self.started_at)


def _deliveries(versions: Iterator[LeadVersion]) -> Iterator[LeadVersion]:
    """Yield each version, and every twentieth twice, as Pancake may send it."""
    for version in versions:
        yield version
        if version.number % DELIVERIES_PER_DUPLICATE == 0:
            yield version


async def send(leg: Leg, url: str, versions: Iterator[LeadVersion], connections: int) -> None:
    """Post the deliveries of a leg; returns when the last has its answer. It can be cancelled."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    number_of = round(leg.per_second * leg.seconds)
    numbers = count()
    deliveries = _deliveries(versions)
    start = time.perf_counter() + 0.1
    leg.started_at = time.time() + 0.1

    async def run() -> None:
        client: Client | None = None
        while (number := next(numbers)) < number_of:
            version = next(deliveries)
            due = start + number / leg.per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            leg.offered += 1
            leg.due.setdefault(version.record_id, leg.started_at + number / leg.per_second)
            late = time.perf_counter() - due
            leg.unpunctual += late > PUNCTUAL_SECONDS
            if late > MAX_DELAY_SECONDS:
                leg.dropped += 1
                continue
            client = await _post(leg, client or Client(host, port), url, version, due)
        if client is not None:
            client.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(run())
    leg.ended_at = time.time()
    leg.sent.versions.sort(key=lambda version: version.number)


async def _post(leg: Leg, client: Client, url: str, version: LeadVersion, due: float) -> Client | None:
    """Post one delivery; return the connection, or None if it cannot be used any more."""
    reusable: Client | None = client
    leg.sent.versions.append(version)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            if not client.is_open:
                await client.open()
            code, body = await client.send(request_for(url, {}, version.body))
        delivered = 200 <= code < 300
        status = str(json.loads(body)["status"]) if delivered else str(code)
    except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
        status, delivered, reusable = type(error).__name__, False, None
        client.close()
    seconds = time.perf_counter() - due
    leg.sent.record(version, status, delivered, seconds)
    if delivered:
        _record(leg, seconds)
    return reusable


def _record(leg: Leg, seconds: float) -> None:
    leg.delivered += 1
    leg.late += seconds >= LATE_SECONDS
    microseconds = min(HIGHEST_LATENCY_US, max(1, round(seconds * 1_000_000)))
    interval = int((time.time() - seconds - leg.started_at) / leg.interval_seconds)
    leg.latencies.record_value(microseconds)
    leg.intervals.setdefault(interval, new_histogram()).record_value(microseconds)
