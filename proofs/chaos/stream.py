"""Generate lead versions and post them at a constant rate, whatever the answers are."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx

CLIENT_TIMEOUT_SECONDS = 10.0
DELIVERIES_PER_DUPLICATE = 20
"""Every twentieth delivery is sent twice, as Pancake may."""
MAX_EDIT_AGE_RECORDS = 500
FIRST_MODIFIED_ON = datetime(2026, 11, 1)  # noqa: DTZ001 - Pancake's timestamps carry no zone


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
    departures: dict[str, float] = field(default_factory=dict)
    """When each record was first posted, by time.monotonic()."""
    slowest_ms: float = 0.0

    def record(self, version: LeadVersion, status: str, delivered: bool, seconds: float) -> None:
        """Record one answer or failure."""
        self.answers[status] = self.answers.get(status, 0) + 1
        self.slowest_ms = max(self.slowest_ms, seconds * 1000)
        if delivered:
            self.acknowledged.append(version)
        else:
            self.non_2xx.append(f"{version.record_id}@{version.modified_on}: {status}")


class Stream:
    """Posts lead versions until `stop` is called."""

    def __init__(self, url: str, rate_per_second: float, seed: int, new_share: float = 0.8) -> None:
        self.sent = Sent()
        self._url, self._rate_per_second, self._versions = url, rate_per_second, versions(seed, new_share)
        self._stop = asyncio.Event()

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Stop posting; `run` returns when every delivery has its answer."""
        self._stop.set()

    async def run(self) -> None:
        """Send each delivery when it is due, without waiting for earlier answers."""
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        async with (
            httpx.AsyncClient(timeout=CLIENT_TIMEOUT_SECONDS, limits=limits, trust_env=False) as client,
            asyncio.TaskGroup() as tasks,
        ):
            started, count = time.monotonic(), 0
            while not self._stop.is_set():
                version = next(self._versions)
                self.sent.versions.append(version)
                for _ in range(2 if version.number % DELIVERIES_PER_DUPLICATE == 0 else 1):
                    tasks.create_task(self._post(client, version))
                    count += 1
                await asyncio.sleep(max(0.0, started + count / self._rate_per_second - time.monotonic()))

    async def _post(self, client: httpx.AsyncClient, version: LeadVersion) -> None:
        started = time.monotonic()
        self.sent.departures.setdefault(version.record_id, started)
        try:
            response = await client.post(self._url, content=version.body)
            status, delivered = f"{response.status_code}", response.is_success
            if delivered:
                status = str(response.json()["status"])
        except (httpx.HTTPError, ValueError) as error:
            status, delivered = type(error).__name__, False
        self.sent.record(version, status, delivered, time.monotonic() - started)
