"""`scripts/bench scale`: what one piece of work costs, with few, many and very many stored events."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Annotated, Any

import httpx
import psycopg
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from leads.adapters.queries import QUERIES
from leads.services.metrics.collector import MAX_AGE_SECONDS
from leads.services.metrics.key_figures import KEY_FIGURES
from sandbox.bench.bars import print_result
from sandbox.bench.environment import (
    SECRET,
    TOKEN_SHA256,
    BenchEnvironment,
    action_call,
    bench_environment,
    describe_machine,
)
from sandbox.bench.load import closed_loop, request_for
from sandbox.bench.process import process_request, store_events
from sandbox.bench.scale_data import fill
from sandbox.bench.simulator import Simulator, simulator
from sandbox.bench.sink import notification_sink
from sandbox.loadtest.resources import cpu_seconds_of_tree

CLIENTS = 4
REQUESTS = 300
TICKS = 5
LISTED_RECORDS = 500
STATISTICS_DELAY_SECONDS = 10.5
"""An idle session reports what it read after 10 s (PGSTAT_IDLE_INTERVAL of PostgreSQL's pgstat.c)."""
SCRAPE_PAUSE_SECONDS = MAX_AGE_SECONDS["fast"] + 0.1
MAX_GROWTH = 1.5
GROWING = ("ingest", "process", "poll", "retry")
"""The work whose blocks must not grow with the tables by more than MAX_GROWTH."""

_BLOCKS = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"

Costs = dict[str, float]


@dataclass(frozen=True, slots=True)
class Piece:
    """Work that a call of `work` does `repeats` times, with a pause before each."""

    name: str
    repeats: int
    work: Callable[[], None]
    pause_seconds: float = 0.0


def scale(
    sizes: Annotated[
        str, typer.Option(help="Stored events, rising; a quarter of them are of new customers.")
    ] = "10000,1000000",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure ingest, processing, a poll, a tick of the retry cron, key figures and a scrape at each size.

    Of each: milliseconds, CPU of PostgreSQL and of the handler, and blocks of 8 KiB that PostgreSQL touched.
    10,000,000 events need about 15 GB of disk and half an hour. Exit code 1: the blocks of ingest,
    processing, a poll or a retry grew by more than a half from the first size to the last.
    """
    steps = _read_sizes(sizes)
    console = Console(stderr=True)
    costs: dict[str, dict[str, Costs]] = {}
    with (
        notification_sink() as hasura_url,
        bench_environment(hasura_url) as bench,
        simulator(bench) as pancake,
    ):
        now = datetime.now(UTC)
        pancake.bulk(LISTED_RECORDS, now - timedelta(hours=20), now - timedelta(minutes=2))
        pancake.tick("poll_records")
        stored = 0
        numbers = count(1)
        for size in steps:
            console.print(f"storing {size:,} events ...")
            fill(bench.database_url, stored, size)
            stored = size
            for piece in _pieces(bench, pancake, numbers):
                piece.work()  # connections, plans and caches are warm afterwards
                costs.setdefault(piece.name, {})[str(size)] = cost = _measure(bench, piece)
                console.print(f"{piece.name}: {cost}")
    growth = {name: _growth(costs[name], steps) for name in GROWING}
    result: dict[str, Any] = {
        "sizes": steps,
        "costs": costs,
        **{f"{name}_blocks_growth": value for name, value in growth.items()},
        "bars": {f"{name}_blocks_growth": MAX_GROWTH for name in GROWING},
        "machine": describe_machine(),
    }
    if not as_json:
        Console().print(_table(result.pop("costs"), steps))
    print_result(result, as_json)


def _read_sizes(text: str) -> list[int]:
    """Raises typer.BadParameter."""
    try:
        steps = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--sizes is not a list of numbers: {text!r}") from None
    if steps != sorted(set(steps)) or steps[0] < 1000 or steps[-1] > 20_000_000:
        raise typer.BadParameter("--sizes takes rising numbers from 1000 to 20000000")
    return steps


def _pieces(bench: BenchEnvironment, pancake: Simulator, numbers: Iterator[int]) -> Iterator[Piece]:
    yield Piece("ingest", REQUESTS, partial(_ingest, bench, numbers))
    yield Piece("process", REQUESTS, partial(_process, bench))
    yield Piece("poll", TICKS, partial(_ticks, pancake, "poll_records"))
    yield Piece("retry", TICKS, partial(_ticks, pancake, "retry_failed"))
    for figure in KEY_FIGURES:
        yield Piece(figure.query, TICKS, partial(_ask, bench, figure.name, figure.length))
    yield Piece("scrape", TICKS, partial(_scrape, bench), SCRAPE_PAUSE_SECONDS)


def _measure(bench: BenchEnvironment, piece: Piece) -> Costs:
    """Return the costs of one repeat."""
    repeats = piece.repeats
    with psycopg.connect(bench.database_url, autocommit=True) as db:
        time.sleep(STATISTICS_DELAY_SECONDS)
        before = _blocks(db), cpu_seconds_of_tree(bench.cluster.pid), bench.cpu_seconds()
        started = time.perf_counter()
        piece.work()
        seconds = time.perf_counter() - started
        postgres = cpu_seconds_of_tree(bench.cluster.pid) - before[1]
        handler = bench.cpu_seconds() - before[2]
        time.sleep(STATISTICS_DELAY_SECONDS)
        blocks = _blocks(db) - before[0]
    return {
        "ms": round((seconds / repeats - piece.pause_seconds) * 1000, 2),
        "postgres_cpu_ms": round(postgres / repeats * 1000, 2),
        "handler_cpu_ms": round(handler / repeats * 1000, 2),
        "blocks": round(blocks / repeats, 1),
    }


def _blocks(db: psycopg.Connection[Any]) -> int:
    row = db.execute(_BLOCKS).fetchone()
    assert row is not None
    return int(row[0])


def _ingest(bench: BenchEnvironment, numbers: Iterator[int]) -> None:
    url = f"{bench.handler_url}/actions/ingest_record"
    requests = [_ingest_request(url, next(numbers)) for _ in range(REQUESTS)]
    uvloop.run(closed_loop(url, iter(requests), CLIENTS, 600))


def _ingest_request(url: str, number: int) -> bytes:
    record = {
        "id": f"ingest-{number}",
        "name": "Nguyen Van A",
        "phone_number": f"09{number:08d}",
        "source": ["-1"],
    }
    raw = base64.b64encode(json.dumps(record).encode()).decode()
    arguments: dict[str, object] = {"token_sha256": TOKEN_SHA256, "raw": raw, "source_ip": "203.0.113.7"}
    return request_for(url, {"X-Handler-Secret": SECRET}, action_call("pancake_ingest_record", arguments))


def _process(bench: BenchEnvironment) -> None:
    first = store_events(bench, REQUESTS)
    url = f"{bench.handler_url}/events/process_record"
    requests = [process_request(url, event_id) for event_id in range(first, first + REQUESTS)]
    uvloop.run(closed_loop(url, iter(requests), CLIENTS, 600))


def _ticks(pancake: Simulator, name: str) -> None:
    for _ in range(TICKS):
        pancake.tick(name)


def _ask(bench: BenchEnvironment, name: str, length: timedelta) -> None:
    with psycopg.connect(bench.database_url, autocommit=True) as db:
        for _ in range(TICKS):
            now = datetime.now(UTC)
            db.execute(QUERIES[name], {"from": now - length, "to": now}).fetchall()


def _scrape(bench: BenchEnvironment) -> None:
    """Each scrape reads the fast figures anew."""
    for _ in range(TICKS):
        time.sleep(SCRAPE_PAUSE_SECONDS)
        httpx.get(f"{bench.handler_url}/metrics", timeout=60).raise_for_status()


def _growth(costs: dict[str, Costs], steps: list[int]) -> float:
    first, last = costs[str(steps[0])]["blocks"], costs[str(steps[-1])]["blocks"]
    return round(last / first, 2) if first else 0.0


def _table(costs: dict[str, dict[str, Costs]], steps: list[int]) -> Table:
    table = Table("work", "events", "ms", "PostgreSQL ms", "handler ms", "blocks", box=None)
    for name, by_size in costs.items():
        for size in steps:
            cost = by_size[str(size)]
            table.add_row(name, f"{size:,}", *(f"{value:g}" for value in cost.values()))
    return table
