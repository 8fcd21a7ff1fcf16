"""A load generator that uses little CPU: HTTP/1.1 with keep-alive over asyncio.

Closed loop: each client sends its next request when it has received the answer to the last one. Constant
arrival: each request has a due time, and its latency counts from then. A stall therefore shows in the
latencies of all requests that were due during it (no coordinated omission).

proofs/loadtest and proofs/chaos/flood.py send over the same Client. Apart are senders whose deliveries must
not wait for a free connection: proofs/chaos/stream.py, and the traffic of a live incident, which runs in
threads beside code that blocks.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from proofs.bench.measuring import Done

REQUEST_TIMEOUT_SECONDS = 30.0
PUNCTUAL_SECONDS = 0.01
"""A request that is sent later after its due time has missed it."""


@dataclass
class Measurement:
    """The result of a run: latencies of the answers with status 200, and the number of others by status."""

    latencies_seconds: list[float] = field(default_factory=list)
    errors: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    missed: int = 0
    """Requests at a constant rate that were not sent when they were due: no connection was free."""

    def add(self, other: "Measurement") -> Done:
        """Add another run; return how much that one did."""
        self.latencies_seconds += other.latencies_seconds
        for status, number in other.errors.items():
            self.errors[status] = self.errors.get(status, 0) + number
        return Done(len(other.latencies_seconds), other.seconds)

    def percentile(self, share: float) -> float:
        """Return the latency in milliseconds that this share of the answers did not exceed."""
        ordered = sorted(self.latencies_seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else float("nan")

    def summary(self) -> dict[str, object]:
        """Return the percentiles with the number of answers, errors and missed due times."""
        counts = {"n": len(self.latencies_seconds), "errors": self.errors, "missed": self.missed}
        return self.percentiles() | counts

    def percentiles(self) -> dict[str, float]:
        return {f"p{int(share * 100)}_ms": round(self.percentile(share), 2) for share in (0.5, 0.95, 0.99)}


def request_for(url: str, headers: dict[str, str], body: bytes) -> bytes:
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in {"Content-Type": "application/json", **headers}.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Client:
    """One HTTP connection that sends requests, one at a time; `source`: the address that it comes from."""

    def __init__(self, host: str, port: int, source: str = "") -> None:
        self._address = (host, port)
        self._source = (source, 0) if source else None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(*self._address, local_addr=self._source)

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the answer, which has to state its length."""
        assert self._writer is not None
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


async def closed_loop(url: str, requests: Iterator[bytes], clients: int, seconds: float) -> Measurement:
    """Send requests with `clients` connections for `seconds`, or until there are no more."""
    measurement = Measurement()
    started = time.perf_counter()

    async def run(client: Client) -> None:
        while time.perf_counter() - started < seconds:
            request = next(requests, None)
            if request is None:
                return
            await _measure(client, request, time.perf_counter(), measurement)

    await _with_clients(url, clients, run)
    measurement.seconds = time.perf_counter() - started
    return measurement


async def constant_arrival(
    url: str, requests: Sequence[bytes], rate_per_second: float, clients: int
) -> Measurement:
    """Send the requests at a constant rate over `clients` connections."""
    measurement = Measurement()
    started = time.perf_counter() + 0.1  # time to open the connections
    numbers = iter(range(len(requests)))

    async def run(client: Client) -> None:
        for number in numbers:
            due = started + number / rate_per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            measurement.missed += time.perf_counter() - due > PUNCTUAL_SECONDS
            await _measure(client, requests[number], due, measurement)

    await _with_clients(url, clients, run)
    measurement.seconds = time.perf_counter() - started
    return measurement


async def _measure(client: Client, request: bytes, since: float, measurement: Measurement) -> None:
    async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
        status, _ = await client.send(request)
    if status == 200:
        measurement.latencies_seconds.append(time.perf_counter() - since)
    else:
        measurement.errors[status] = measurement.errors.get(status, 0) + 1


async def _with_clients(url: str, count: int, run: Callable[[Client], object]) -> None:
    parts = urlsplit(url)
    clients = [Client(parts.hostname or "127.0.0.1", parts.port or 80) for _ in range(count)]
    await asyncio.gather(*(client.open() for client in clients))
    try:
        await asyncio.gather(*(run(client) for client in clients))  # type: ignore[call-overload]
    finally:
        for client in clients:
            client.close()
