"""`scripts/bench ingest`: deliveries per second of the handler, compared with INSERTs by pgbench."""

import base64
import json
import statistics
from collections.abc import Iterator
from itertools import count
from typing import Annotated, Any
from uuid import uuid4

import typer
import uvloop
from rich.console import Console

from sandbox.bench.environment import (
    SECRET,
    TOKEN_SHA256,
    BenchEnvironment,
    action_call,
    bench_environment,
    describe_machine,
)
from sandbox.bench.load import Measurement, closed_loop, constant_arrival, request_for
from sandbox.bench.pgbench import pgbench

CONCURRENT_CLIENTS = 32
BODY_BYTES = 1500
ARRIVALS_PER_SECOND = 1000
STEADY_CONNECTIONS = 64
WARM_UP_SECONDS = 2
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
    rounds: Annotated[int, typer.Option(help="Rounds; the result is the median ratio.", min=1)] = 3,
    seconds: Annotated[float, typer.Option(help="Seconds per measurement.", min=1)] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure ingest with 32 clients in a closed loop, as a ratio to pgbench inserting the same row.

    Then measure its latency at a constant 1,000 deliveries per second.
    """
    console = Console(stderr=True)
    ratios: list[float] = []
    with bench_environment() as bench:
        numbers = count()
        uvloop.run(_closed_loop(bench, numbers, WARM_UP_SECONDS))
        for number in range(1, rounds + 1):
            script = BASELINE.format(payload=_record(0))
            baseline_rate = pgbench(bench.database_url, script, clients=CONCURRENT_CLIENTS, seconds=seconds)
            cpu_seconds_before = bench.cpu_seconds()
            measurement = uvloop.run(_closed_loop(bench, numbers, seconds))
            cpu_seconds = bench.cpu_seconds() - cpu_seconds_before
            ratios.append(measurement.rate / baseline_rate)
            console.print(
                f"round {number}: {measurement.rate:,.0f}/s, pgbench {baseline_rate:,.0f}/s, "
                f"ratio {ratios[-1]:.2f}"
            )
        rss_mb = bench.rss_mb()
        steady = uvloop.run(_steady(bench, numbers, seconds))
    result: dict[str, Any] = {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "rate": round(measurement.rate),
        "baseline_rate": round(baseline_rate),
        "cpu_us_per_request": round(cpu_seconds / len(measurement.latencies_seconds) * 1e6),
        **measurement.percentiles(),
        "errors": measurement.errors,
        "steady": {"rate": ARRIVALS_PER_SECOND, **steady.percentiles(), "errors": steady.errors},
        "rss_mb": round(rss_mb, 1),
        "machine": describe_machine(),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)


async def _closed_loop(bench: BenchEnvironment, numbers: Iterator[int], seconds: float) -> Measurement:
    url = f"{bench.handler_url}/actions/ingest_record"
    requests = [_request(url, next(numbers)) for _ in range(int(MAX_REQUESTS_PER_SECOND * seconds))]
    return await closed_loop(url, iter(requests), CONCURRENT_CLIENTS, seconds)


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
