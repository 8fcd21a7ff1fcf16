"""`scripts/bench ingest`: deliveries per second of the handler, compared with INSERTs by pgbench."""

import base64
import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Annotated, Any
from uuid import uuid4

import typer
import uvloop
from rich.console import Console

from proofs.bench.environment import (
    SECRET,
    TOKEN_SHA256,
    BenchEnvironment,
    action_call,
    analyze,
    bench_environment,
    describe_machine,
)
from proofs.bench.load import Measurement, closed_loop, constant_arrival, request_for
from proofs.bench.pgbench import pgbench
from proofs.bench.slices import Done, figures, ratio, run_slices

CONCURRENT_CLIENTS = 32
BODY_BYTES = 1500
ARRIVALS_PER_SECOND = 1000
STEADY_CONNECTIONS = 64
MAX_REQUESTS_PER_SECOND = 10_000
"""Requests are built before the measurement, so that the load generator uses little CPU during it."""
BASELINE = """
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, arrived_at,
    normalized_phone, source_ids, created_at
)
VALUES (
    (SELECT id FROM pancake_connection LIMIT 1), 'webhook', gen_random_uuid(), 'lead', now(),
    sha256(gen_random_uuid()::text::bytea), '{payload}', 'received', now(),
    '+849' || lpad(trunc(random() * 1e8)::text, 8, '0'), ARRAY['-1'], now()
);
"""


def ingest(
    slices: Annotated[int, typer.Option(help="Slices of each, in turn.", min=1)] = 12,
    seconds: Annotated[float, typer.Option(help="Seconds per slice.", min=1)] = 2,
    steady_seconds: Annotated[float, typer.Option(help="Seconds at a constant rate.", min=1)] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure ingest with 32 clients in a closed loop, as a ratio to pgbench inserting the same row.

    Slices of both take turns. Then measure its latency at a constant 1,000 deliveries per second: it counts
    from the time at which each was due; `missed` were sent more than 10 ms after that.
    """
    console = Console(stderr=True)
    total = Measurement()
    with bench_environment() as bench:
        numbers = count()
        _closed_loop(bench, numbers, seconds, Measurement())()
        analyze(bench.database_url)
        found = run_slices(
            bench,
            {
                "ours": lambda: _closed_loop(bench, numbers, seconds, total),
                "pgbench": lambda: _baseline(bench.database_url, seconds),
            },
            slices,
            console,
        )
        rss_mb = bench.rss_mb()
        steady = uvloop.run(_steady(bench, numbers, steady_seconds))
    result: dict[str, Any] = {
        "slice_seconds": seconds,
        "ratio": ratio(found["ours"], found["pgbench"]),
        **{name: figures(each) for name, each in found.items()},
        "latency": total.percentiles(),
        "errors": total.errors,
        "steady": steady.summary() | {"rate": ARRIVALS_PER_SECOND},
        "rss_mb": round(rss_mb, 1),
        "machine": describe_machine(),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)


def _closed_loop(
    bench: BenchEnvironment, numbers: Iterator[int], seconds: float, total: Measurement
) -> Callable[[], Done]:
    """Build the requests of a slice; its work adds what it measures to `total`."""
    url = f"{bench.handler_url}/actions/ingest_record"
    requests = [_request(url, next(numbers)) for _ in range(int(MAX_REQUESTS_PER_SECOND * seconds))]
    return lambda: total.add(uvloop.run(closed_loop(url, iter(requests), CONCURRENT_CLIENTS, seconds)))


def _baseline(database_url: str, seconds: float) -> Callable[[], Done]:
    script = BASELINE.format(payload=_record(0))
    return pgbench(database_url, script, clients=CONCURRENT_CLIENTS, seconds=seconds)


async def _steady(bench: BenchEnvironment, numbers: Iterator[int], seconds: float) -> Measurement:
    url = f"{bench.handler_url}/actions/ingest_record"
    requests = [_request(url, next(numbers)) for _ in range(int(ARRIVALS_PER_SECOND * seconds))]
    return await constant_arrival(url, requests, ARRIVALS_PER_SECOND, STEADY_CONNECTIONS)


def _request(url: str, number: int) -> bytes:
    raw = base64.b64encode(_record(number).encode()).decode()
    body = action_call(
        "pancake_ingest_record", {"token_sha256": TOKEN_SHA256, "raw": raw, "source_ip": "203.0.113.7"}
    )
    return request_for(url, {"X-Handler-Secret": SECRET}, body)


def _record(number: int) -> str:
    """Return the JSON of a record of BODY_BYTES."""
    record = {
        "id": str(uuid4()),
        "name": f"Nguyen Van {number}",
        "phone_number": f"09{number:08d}",
        "source": ["-1"],
        "table_id": "lead",
        "full_address": "126 Hang Trong, Hoan Kiem, Ha Noi",
        "pancake_tags": ["104943019063372_11"],
        "modified_on": "2026-05-14T02:35:56.000000",
        "created_on": "2026-05-14T02:35:56.000000",
    }
    record["note"] = "x" * (BODY_BYTES - len(json.dumps(record)))
    return json.dumps(record)
