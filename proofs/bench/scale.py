"""`scripts/bench scale`: what one piece of work costs, with few, many and very many stored events."""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import httpx
import psycopg
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from leads.adapters.database import QUERIES
from leads.services.metrics import FIGURES, MAX_AGE_SECONDS
from leads.services.outbox import SEND_LEASE
from proofs.bench.crons import list_records, poll_again
from proofs.bench.environment import (
    SECRET,
    TOKEN_SHA256,
    AsJson,
    BenchEnvironment,
    Simulator,
    action_call,
    analyze,
    bench_environment,
    describe_machine,
    notification_sink,
    print_result,
    simulator,
)
from proofs.bench.measuring import Costs, Piece, measure
from proofs.bench.scale_data import SOURCES, TELESALES, add_history, add_rosters
from proofs.bench.scale_plans import Readings, Snapshot, read_plans, scanned_whole, summarize, write_snapshot
from proofs.bench.throughput import process_request, store_events
from proofs.sender import closed_loop, request_for

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


MAX_GROWTH = {"ingest": 1.5, "process": 1.5, "poll": 1.1, "retry": 1.5}
"""How much the blocks that a piece of work touches may grow from the first size to the last."""
MAX_DAY_MS = 100
MAX_LATE_MS = 300
MAX_SCRAPE_MS = 100


def scale(
    sizes: Annotated[
        str, typer.Option(help="Stored events, rising; a quarter of them are of new customers.")
    ] = "10000,1000000",
    plans: Annotated[Path | None, typer.Option(help="Write what each statement reads, at each size.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure ingest, processing, a poll, a retry, key figures, late tickets and a scrape at each size.

    Traffic is 30,000 events a day from 40 sources, each with a roster of 60; a size is the length of the
    history. 10,000,000 events need about 20 GB of disk and half an hour. Exit code 1: the blocks of a piece
    grew above its bar, a key figure of a day, the search for late tickets or a scrape took too long, or a
    statement reads a large table whole at the last size.
    """
    steps = _read_sizes(sizes)
    console = Console(stderr=True)
    costs: dict[str, dict[str, Costs]] = {}
    readings: Readings = {}
    with notification_sink() as hasura_url, bench_environment(hasura_url) as bench:
        for size, work in _stored(bench, steps, console):
            for name, found in read_plans(bench.database_url, work.until).items():
                readings.setdefault(name, {})[size] = found
            analyze(bench.database_url)  # the row versions that were undone would be measured too
            for piece in work.pieces():
                costs.setdefault(piece.name, {})[str(size)] = cost = measure(bench, piece)
                console.print(f"{piece.name}: {cost}")
    snapshot = summarize(readings)
    if plans is not None:
        write_snapshot(plans, snapshot)
    result = _result(costs, snapshot, steps)
    if not as_json:
        Console().print(_table(result.pop("costs"), steps))
    print_result(result, as_json)


def _stored(bench: BenchEnvironment, steps: list[int], console: Console) -> Iterator[tuple[int, Work]]:
    """Store each size in turn, and yield it with its work."""
    add_rosters(bench.database_url)
    with simulator(bench) as pancake:
        work = Work(bench, pancake, list_records(pancake))
        stored = 0
        for size in steps:
            console.print(f"storing {size:,} events ...")
            add_history(bench.database_url, stored, size, work.until)
            stored = size
            yield size, work


def _result(costs: dict[str, dict[str, Costs]], snapshot: Snapshot, steps: list[int]) -> dict[str, Any]:
    last = str(steps[-1])
    growth = {f"{name}_blocks_growth": _growth(costs[name], steps, "blocks") for name in MAX_GROWTH}
    of_day = {name: cost[last]["ms"] for name, cost in costs.items() if name.endswith(" of 1d")}
    whole = scanned_whole(snapshot)
    return {
        "sizes": steps,
        "sources": SOURCES,
        "telesales": TELESALES,
        "costs": costs,
        **growth,
        "poll_cpu_growth": _growth(costs["poll"], steps, "postgres_cpu_ms", "handler_cpu_ms"),
        "slowest_day_ms": max(of_day.values()),
        "late_tickets_ms": costs["check_sla/flag_late_tickets"][last]["ms"],
        "scrape_ms": costs["scrape"][last]["ms"],
        "scanned_whole": whole,
        "scans": len(whole),
        "bars": {f"{name}_blocks_growth": bar for name, bar in MAX_GROWTH.items()}
        | {"poll_cpu_growth": 1.1, "slowest_day_ms": MAX_DAY_MS, "late_tickets_ms": MAX_LATE_MS}
        | {"scrape_ms": MAX_SCRAPE_MS, "scans": 0},
        "machine": describe_machine(),
    }


def _read_sizes(text: str) -> list[int]:
    """Raises typer.BadParameter."""
    try:
        steps = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--sizes is not a list of numbers: {text!r}") from None
    if steps != sorted(set(steps)) or steps[0] < 1000 or steps[-1] > 20_000_000:
        raise typer.BadParameter("--sizes takes rising numbers from 1000 to 20000000")
    if any(step % 4 for step in steps):
        raise typer.BadParameter("--sizes takes multiples of 4")
    return steps


def _growth(costs: dict[str, Costs], steps: list[int], *figures: str) -> float:
    first, last = (sum(costs[str(size)][figure] for figure in figures) for size in (steps[0], steps[-1]))
    return round(last / first, 2) if first else 0.0


def _table(costs: dict[str, dict[str, Costs]], steps: list[int]) -> Table:
    table = Table("work", "events", "ms", "median", "PostgreSQL ms", "handler ms", "blocks", box=None)
    for name, by_size in costs.items():
        for size in steps:
            cost = by_size[str(size)]
            table.add_row(name, f"{size:,}", *(f"{value:g}" for value in cost.values()))
    return table
