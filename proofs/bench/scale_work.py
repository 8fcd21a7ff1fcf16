"""The pieces of work that `scripts/bench scale` measures."""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import httpx
import psycopg
import uvloop

from leads.adapters.database import QUERIES
from leads.services.metrics import FIGURES, MAX_AGE_SECONDS
from leads.services.outbox import SEND_LEASE
from proofs.bench.costs import Piece
from proofs.bench.environment import SECRET, TOKEN_SHA256, BenchEnvironment, action_call
from proofs.bench.load import closed_loop, request_for
from proofs.bench.poll import poll_again
from proofs.bench.process import process_request, store_events
from proofs.bench.scale_data import SOURCES
from proofs.bench.simulator import Simulator

CLIENTS = 4
REQUESTS = 300
TICKS = 5
QUERIES_PER_ROUND = 5
SESSION_END_SECONDS = 1.0
SCRAPES = 3
SCRAPE_PAUSE_SECONDS = MAX_AGE_SECONDS["fast"] + 0.1
SOURCE_IDS = [str(number) for number in range(1, SOURCES + 1)]


@dataclass(frozen=True)
class Work:
    """The work on one environment; `until` is the time of the newest event of its history."""

    bench: BenchEnvironment
    pancake: Simulator
    until: datetime
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def pieces(self) -> Iterator[Piece]:
        yield Piece("ingest", REQUESTS, self._ingest)
        yield Piece("process", REQUESTS, self._process)
        yield _unprepared("poll", TICKS, partial(poll_again, self.pancake, TICKS))
        yield _unprepared("retry", TICKS, self._retry)
        for figure in FIGURES:
            if figure.is_of_window:
                yield self._statement(figure.name, figure.statement, figure.params_at(self.until))
        late = {"now": self.until + timedelta(seconds=2), "limit": 200, "lease": SEND_LEASE}
        yield self._statement("check_sla/flag_late_tickets", "check_sla/flag_late_tickets", late)
        yield Piece("scrape", SCRAPES, lambda: self._scrape, rounds=1, pause_seconds=SCRAPE_PAUSE_SECONDS)

    def _ingest(self) -> Callable[[], object]:
        url = f"{self.bench.handler_url}/actions/ingest_record"
        return partial(_post, url, [_ingest_request(url, next(self.numbers)) for _ in range(REQUESTS)])

    def _process(self) -> Callable[[], object]:
        first = store_events(self.bench, REQUESTS, SOURCE_IDS)
        url = f"{self.bench.handler_url}/events/process_record"
        return partial(
            _post, url, [process_request(url, number) for number in range(first, first + REQUESTS)]
        )

    def _retry(self) -> None:
        for _ in range(TICKS):
            self.pancake.tick("retry_failed")

    def _statement(self, name: str, query: str, params: Mapping[str, Any]) -> Piece:
        work = partial(self._ask, query, params)
        return Piece(name, QUERIES_PER_ROUND, lambda: work, settle_seconds=SESSION_END_SECONDS)

    def _ask(self, name: str, params: Mapping[str, Any]) -> None:
        """Run a statement again and again; what it changes is undone."""
        with psycopg.connect(self.bench.database_url) as db:
            for _ in range(QUERIES_PER_ROUND):
                db.execute(QUERIES[name], params).fetchall()
                db.rollback()

    def _scrape(self) -> None:
        """Each scrape reads the fast figures anew."""
        for _ in range(SCRAPES):
            time.sleep(SCRAPE_PAUSE_SECONDS)
            httpx.get(f"{self.bench.handler_url}/metrics", timeout=60).raise_for_status()


def _unprepared(name: str, repeats: int, work: Callable[[], object]) -> Piece:
    return Piece(name, repeats, lambda: work)


def _post(url: str, requests: list[bytes]) -> None:
    measurement = uvloop.run(closed_loop(url, iter(requests), CLIENTS, 600))
    if measurement.errors:
        raise RuntimeError(f"{url} answered {measurement.errors}")


def _ingest_request(url: str, number: int) -> bytes:
    record = {
        "id": f"ingest-{number}",
        "name": "Nguyen Van A",
        "phone_number": f"09{number:08d}",
        "source": [SOURCE_IDS[number % SOURCES]],
    }
    raw = base64.b64encode(json.dumps(record).encode()).decode()
    arguments: dict[str, object] = {"token_sha256": TOKEN_SHA256, "raw": raw, "source_ip": "203.0.113.7"}
    return request_for(url, {"X-Handler-Secret": SECRET}, action_call("pancake_ingest_record", arguments))
