"""The one sender of load: HTTP/1.1 with keep-alive over asyncio, which uses little CPU.

Closed loop: each client sends its next request when it has received the answer to the last one. Open loop:
each request has a due time, and its latency counts from then, with any answers. A stall therefore
shows in the latencies of all requests that were due during it (no coordinated omission).
"""

import asyncio
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from math import ceil
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
from hdrh.histogram import HdrHistogram

REQUEST_TIMEOUT_SECONDS = 30.0
ANSWER_TIMEOUT_SECONDS = 10.0
TICK_TIMEOUT_SECONDS, TICK_PAUSE_SECONDS = 600.0, 0.2
PUNCTUAL_SECONDS = 0.01
"""A request that is sent later after its due time has missed it."""
MAX_DELAY_SECONDS = 10.0
"""A delivery that no connection is free for until then is dropped."""
LATE_SECONDS = 1.0
MAX_INTERVALS = 60
HIGHEST_LATENCY_US = 60_000_000
DELIVERIES_PER_DUPLICATE = 20
"""Every twentieth delivery is sent twice, as Pancake may."""
MAX_EDIT_AGE_RECORDS = 500
FIRST_MODIFIED_ON = datetime(2026, 11, 1)  # noqa: DTZ001 - Pancake's timestamps carry no zone
T = TypeVar("T")


class Client:
    """One HTTP connection that sends requests, one at a time; `source`: the address that it comes from.

    What gets no answer is sent to `standby` once more, and so is all after it.
    """

    def __init__(self, url: str, source: str = "", standby: str = "") -> None:
        addresses = [urlsplit(each) for each in (url, standby) if each]
        self._addresses = [(each.hostname or "127.0.0.1", each.port or 80) for each in addresses]
        self._source = (source, 0) if source else None
        self._writer: asyncio.StreamWriter | None = None
        self.left_at: list[float] = []
        """When it went over to the standby: the time of the day in seconds since 1970."""

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the answer, which has to state its length."""
        while True:
            try:
                return await self._send(request)
            except (OSError, EOFError):
                if len(self._addresses) == 1:
                    raise
                self.close()
                del self._addresses[0]
                self.left_at.append(time.time())

    async def _send(self, request: bytes) -> tuple[int, bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                *self._addresses[0], local_addr=self._source
            )
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        at = lower.index(b"content-length:") + len(b"content-length:")
        body = await self._reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))
        return int(head[9:12]), body  # the status after "HTTP/1.1 "

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def request_for(url: str, headers: dict[str, str], body: bytes) -> bytes:
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in {"Content-Type": "application/json", **headers}.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def tick_answers(handlers_url: str, secret: str, name: str, due: datetime) -> Iterator[httpx.Response]:
    """Deliver a tick of a cron as Hasura does; yield each answer, until one says that it is finished."""
    body = {"id": "tick", "name": f"pancake_{name}", "scheduled_time": due.isoformat(), "payload": {}}
    with httpx.Client(headers={"X-Handler-Secret": secret}, timeout=TICK_TIMEOUT_SECONDS) as client:
        while True:
            answer = client.post(f"{handlers_url}/cron/{name}", json=body)
            yield answer
            if answer.status_code != 503 or "Retry-After" not in answer.headers:
                return
            time.sleep(TICK_PAUSE_SECONDS)


def tick(handlers_url: str, secret: str, name: str, due: datetime) -> str:
    """Deliver a tick of a cron until it is finished; return its result, else the status."""
    *_, answer = tick_answers(handlers_url, secret, name, due)
    return str(answer.json().get("result", answer.status_code))


@contextmanager
def repeating(work: Callable[[], object], seconds: float) -> Iterator[None]:
    """Do some work every so many seconds within the block, in a thread; at once if it is late.

    An exception ends the work, and is raised after the block.
    """
    stop = threading.Event()

    def run() -> None:
        started = time.monotonic()
        for number in itertools.count(1):
            if stop.wait(max(0.0, started + number * seconds - time.monotonic())):
                return
            work()

    with ThreadPoolExecutor(1) as thread:
        repeated = thread.submit(run)
        try:
            yield
        finally:
            stop.set()
    repeated.result()


async def open_loop(
    url: str, items: Iterable[T], per_second: float, connections: int,
    post: Callable[[Client, T, float], Awaitable[None]], source: str = "", standby: str = "",
) -> list[float]:  # fmt: skip
    """Call `post` with each item when it is due and a connection is free, and with its due time.

    That is in seconds of time.perf_counter(). Returns when connections went over to the standby.
    """
    started, numbered, turn = time.perf_counter() + 0.1, enumerate(items), asyncio.Lock()
    left_at: list[float] = []

    async def run() -> None:
        client = Client(url, source, standby)
        while True:
            async with turn:
                number, item = next(numbered, (-1, None))
                if item is None:
                    break
                due = started + number / per_second
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
            await post(client, item, due)
        client.close()
        left_at.extend(client.left_at)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(run())
    return left_at


@dataclass
class Measurement:
    """The result of a run: latencies of the answers with status 200, and the number of others by status."""

    latencies_seconds: list[float] = field(default_factory=list)
    errors: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    missed: int = 0
    """Requests at a constant rate that were not sent when they were due: no connection was free."""

    def add(self, other: "Measurement") -> None:
        self.latencies_seconds += other.latencies_seconds
        self.errors += other.errors

    async def take(self, client: Client, request: bytes, since: float) -> None:
        async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
            status, _ = await client.send(request)
        if status == 200:
            self.latencies_seconds.append(time.perf_counter() - since)
        else:
            self.errors[status] += 1

    def percentile(self, share: float) -> float:
        """Return the latency in milliseconds that this share of the answers did not exceed."""
        ordered = sorted(self.latencies_seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else float("nan")

    def summary(self) -> dict[str, object]:
        counts = {"n": len(self.latencies_seconds), "errors": self.errors, "missed": self.missed}
        return self.percentiles() | counts

    def percentiles(self) -> dict[str, float]:
        return {f"p{int(share * 100)}_ms": round(self.percentile(share), 2) for share in (0.5, 0.95, 0.99)}


async def closed_loop(url: str, requests: Iterator[bytes], clients: int, seconds: float) -> Measurement:
    """Send requests with `clients` connections for `seconds`, or until there are no more."""
    measurement = Measurement()
    started = time.perf_counter()

    async def run() -> None:
        client = Client(url)
        while time.perf_counter() - started < seconds and (request := next(requests, None)) is not None:
            await measurement.take(client, request, time.perf_counter())
        client.close()

    await asyncio.gather(*(run() for _ in range(clients)))
    measurement.seconds = time.perf_counter() - started
    return measurement


async def constant_arrival(
    url: str, requests: Sequence[bytes], per_second: float, clients: int
) -> Measurement:
    """Send the requests at a constant rate over `clients` connections."""
    measurement = Measurement()

    async def post(client: Client, request: bytes, due: float) -> None:
        measurement.missed += time.perf_counter() - due > PUNCTUAL_SECONDS
        await measurement.take(client, request, due)

    started = time.perf_counter()
    await open_loop(url, requests, per_second, clients, post)
    measurement.seconds = time.perf_counter() - started
    return measurement


@dataclass(frozen=True)
class LeadVersion:
    """One version of one record, as it is posted; `number` counts the versions of the stream."""

    number: int
    record_id: str
    phone: str
    name: str
    modified_on: str

    @property
    def body(self) -> bytes:
        record = {
            "type": "records", "event_type": "update", "workspace_id": 607, "table_id": "lead",
            "id": self.record_id, "name": self.name, "phone_number": self.phone, "source": ["-1"],
            "created_on": FIRST_MODIFIED_ON.isoformat(), "modified_on": self.modified_on,
        }  # fmt: skip
        return json.dumps(record, ensure_ascii=False).encode()


def versions(seed: int, new_share: float = 0.8) -> Iterator[LeadVersion]:
    """Generate new records and later versions of earlier ones; each record has a unique phone."""
    choice = random.Random(seed)
    records = 0
    number = 0
    while True:
        number += 1
        if records == 0 or choice.random() < new_share:
            records += 1
            record = records
        else:
            record = choice.randint(max(1, records - MAX_EDIT_AGE_RECORDS), records)
        moment = (FIRST_MODIFIED_ON + timedelta(milliseconds=number)).isoformat(timespec="microseconds")
        yield LeadVersion(
            number, f"chaos-{record:06d}", f"09{record + 10_000_000:08d}", f"Khách {number}", moment
        )


@dataclass
class Sent:
    """The posted versions, and the answers by status, HTTP status or exception."""

    versions: list[LeadVersion] = field(default_factory=list)
    acknowledged: list[LeadVersion] = field(default_factory=list)
    """Those that were answered with 2xx; a version that was posted twice may be in it twice."""
    answers: dict[str, int] = field(default_factory=dict)
    non_2xx: list[str] = field(default_factory=list)
    slowest_ms: float = 0.0

    def record(self, version: LeadVersion, status: str, delivered: bool, seconds: float) -> None:
        self.answers[status] = self.answers.get(status, 0) + 1
        self.slowest_ms = max(self.slowest_ms, seconds * 1000)
        if delivered:
            self.acknowledged.append(version)
        else:
            self.non_2xx.append(f"{version.record_id}@{version.modified_on}: {status}")


def new_histogram() -> HdrHistogram:
    """Return an empty histogram of latencies in microseconds, of three significant digits."""
    return HdrHistogram(1, HIGHEST_LATENCY_US, 3)


@dataclass
class Leg:
    """Deliveries at one rate, until `is_stopped`. Times of the day are seconds since 1970."""

    per_second: float
    seconds: float
    is_doubled: bool = True
    """One of DELIVERIES_PER_DUPLICATE is sent twice."""
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
    left_at: list[float] = field(default_factory=list)
    """When connections went over to the standby."""
    started_at: float = 0.0
    posted_at: float = 0.0
    """When the last delivery was posted; its answer comes later."""
    ended_at: float = 0.0
    is_stopped: bool = False

    @property
    def interval_seconds(self) -> int:
        return max(1, ceil(self.seconds / MAX_INTERVALS))

    @property
    def offered_per_second(self) -> float:
        return self.offered / (self.posted_at - self.started_at)

    @property
    def delivered_per_second(self) -> float:
        """Deliveries that were answered with 2xx, per second until the last answer."""
        return self.delivered / (self.ended_at - self.started_at)

    def record(self, version: LeadVersion, status: str, delivered: bool, seconds: float) -> None:
        self.sent.record(version, status, delivered, seconds)
        if delivered:
            self.delivered += 1
            self.late += seconds >= LATE_SECONDS
            microseconds = min(HIGHEST_LATENCY_US, max(1, round(seconds * 1_000_000)))
            interval = int((time.time() - seconds - self.started_at) / self.interval_seconds)
            self.latencies.record_value(microseconds)
            self.intervals.setdefault(interval, new_histogram()).record_value(microseconds)


async def send(
    leg: Leg, url: str, versions: Iterator[LeadVersion], connections: int, standby: str = "", source: str = ""
) -> None:
    """Post the deliveries of a leg; returns when the last has its answer. It can be cancelled.

    `{number}` in the URL stands for that of the version.
    """

    def deliveries() -> Iterator[LeadVersion]:
        for version in versions:
            is_twice = leg.is_doubled and version.number % DELIVERIES_PER_DUPLICATE == 0
            yield from [version] * (1 + is_twice)
            if leg.is_stopped:
                return

    async def post(client: Client, version: LeadVersion, due: float) -> None:
        leg.offered += 1
        leg.due.setdefault(version.record_id, since_1970 + due)
        late = time.perf_counter() - due
        leg.unpunctual += late > PUNCTUAL_SECONDS
        if late > MAX_DELAY_SECONDS:
            leg.dropped += 1
            return
        leg.sent.versions.append(version)
        leg.posted_at = time.time()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                path = url.replace("{number}", str(version.number))
                code, body = await client.send(request_for(path, {}, version.body))
            delivered = 200 <= code < 300
            status = str(json.loads(body)["status"]) if delivered else str(code)
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
            status, delivered = type(error).__name__, False
            client.close()
        leg.record(version, status, delivered, time.perf_counter() - due)

    since_1970 = time.time() - time.perf_counter()
    leg.started_at = time.time() + 0.1
    of_leg = islice(deliveries(), round(leg.per_second * leg.seconds))
    leg.left_at = await open_loop(url, of_leg, leg.per_second, connections, post, source, standby)
    leg.ended_at = time.time()
    leg.sent.versions.sort(key=lambda version: version.number)


class Stream:
    """Posts lead versions until `stop` is called, over as many connections as an outage needs.

    When it has ended, `sent.versions` has each version once. A second `run` goes on with the next version.
    """

    def __init__(self, url: str, per_second: float, seed: int, new_share: float = 0.8) -> None:
        self._per_second, self._url, self._versions = per_second, url, versions(seed, new_share)
        self._leg = Leg(per_second, 86_400)
        self.sent = self._leg.sent

    def stop(self) -> None:
        """Stop posting; `run` returns when every delivery has its answer."""
        self._leg.is_stopped = True

    async def run(self, per_second: float = 0) -> None:
        """Post at the rate of the stream, or at another one."""
        self._leg.is_stopped, self._leg.per_second = False, per_second or self._per_second
        await send(self._leg, self._url, self._versions, 200)
        self.sent.versions = list({each.number: each for each in self.sent.versions}.values())
