"""An endless stream of lead versions, and somebody who posts them at a constant rate whatever comes back."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx

CLIENT_TIMEOUT_SECONDS = 10.0
FIRST = datetime(2026, 11, 1)  # noqa: DTZ001 - Pancake's timestamps carry no zone


@dataclass(frozen=True)
class Version:
    """One version of one record, as it is posted; `number` counts the versions of the stream."""

    number: int
    record_id: str
    phone: str
    name: str
    modified_on: str

    @property
    def body(self) -> bytes:
        """The webhook body."""
        record = {
            "type": "records", "event_type": "update", "workspace_id": 607, "table_id": "lead",
            "id": self.record_id, "name": self.name, "phone_number": self.phone, "source": ["-1"],
            "created_on": FIRST.isoformat(), "modified_on": self.modified_on,
        }  # fmt: skip
        return json.dumps(record, ensure_ascii=False).encode()


def versions(seed: int, new_share: float = 0.8) -> Iterator[Version]:
    """New records and later versions of earlier ones; each record has a phone of its own."""
    choice = random.Random(seed)
    records = 0
    number = 0
    while True:
        number += 1
        if records == 0 or choice.random() < new_share:
            records += 1
            record = records
        else:
            record = choice.randint(max(1, records - 500), records)
        moment = (FIRST + timedelta(milliseconds=number)).isoformat(timespec="microseconds")
        yield Version(
            number, f"chaos-{record:06d}", f"09{record + 10_000_000:08d}", f"Khách {number}", moment
        )


@dataclass
class Sent:
    """What was posted and what came back: the status word, or the kind of failure."""

    versions: list[Version] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=dict)
    non_2xx: list[str] = field(default_factory=list)
    departures: dict[str, float] = field(default_factory=dict)
    """When each record was first posted, by time.monotonic()."""
    slowest_ms: float = 0.0

    def note(self, version: Version, word: str, delivered: bool, seconds: float) -> None:
        """One answer, or none."""
        self.words[word] = self.words.get(word, 0) + 1
        self.slowest_ms = max(self.slowest_ms, seconds * 1000)
        if not delivered:
            self.non_2xx.append(f"{version.record_id}@{version.modified_on}: {word}")


class Stream:
    """Posts until told to stop. Every twentieth delivery is sent twice, as Pancake may."""

    def __init__(self, url: str, rate: float, seed: int, new_share: float = 0.8) -> None:
        self.sent = Sent()
        self._url, self._rate, self._source = url, rate, versions(seed, new_share)
        self._stop = asyncio.Event()

    @property
    def stopped(self) -> bool:
        """Whether nothing more is sent."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Send no more; `run` returns once everything has its answer."""
        self._stop.set()

    async def run(self) -> None:
        """Constant arrival: each delivery leaves when it is due, not when the one before is answered."""
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        async with (
            httpx.AsyncClient(timeout=CLIENT_TIMEOUT_SECONDS, limits=limits, trust_env=False) as client,
            asyncio.TaskGroup() as tasks,
        ):
            started, count = time.monotonic(), 0
            while not self._stop.is_set():
                version = next(self._source)
                self.sent.versions.append(version)
                for _ in range(2 if version.number % 20 == 0 else 1):
                    tasks.create_task(self._post(client, version))
                    count += 1
                await asyncio.sleep(max(0.0, started + count / self._rate - time.monotonic()))

    async def _post(self, client: httpx.AsyncClient, version: Version) -> None:
        started = time.monotonic()
        self.sent.departures.setdefault(version.record_id, started)
        try:
            response = await client.post(self._url, content=version.body)
            word, delivered = f"{response.status_code}", response.is_success
            if delivered:
                word = str(response.json()["status"])
        except (httpx.HTTPError, ValueError) as error:
            word, delivered = type(error).__name__, False
        self.sent.note(version, word, delivered, time.monotonic() - started)
