"""`scripts/bench ingest`: deliveries per second of the handler against single-row INSERTs by pgbench."""

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

from sandbox.bench.environment import SECRET, TOKEN, Stage, envelope, machine, stage
from sandbox.bench.load import Figures, closed_loop, constant_arrival, request_for
from sandbox.bench.pgbench import pgbench

CLIENTS = 32
BODY_BYTES = 1500
ARRIVAL_RATE = 1000
MOST_PER_SECOND = 10_000
"""Requests are made before the clock runs, so that the generator costs little while it does."""
BASELINE = """
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, arrived_at,
    source_ids, created_at
)
VALUES (
    (SELECT id FROM pancake_connection LIMIT 1), 'webhook', gen_random_uuid(), 'lead', now(),
    sha256(gen_random_uuid()::text::bytea), '{payload}', 'received', now(),
    ARRAY['-1'], now()
);
"""


def ingest(
    rounds: Annotated[int, typer.Option(help="Rounds; the median ratio counts.", min=1)] = 3,
    seconds: Annotated[float, typer.Option(help="Seconds per measurement.", min=1)] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ingest, closed loop with 32 clients, as a ratio to pgbench inserting that row; then 1,000 a second."""
    console = Console(stderr=True)
    ratios: list[float] = []
    with stage() as standing:
        numbers = count()
        uvloop.run(_closed(standing, numbers, 2))
        for number in range(1, rounds + 1):
            script = BASELINE.format(payload=_text(0))
            baseline = pgbench(standing.database_url, script, clients=CLIENTS, seconds=seconds)
            cpu = standing.cpu_seconds()
            ours = uvloop.run(_closed(standing, numbers, seconds))
            cpu = standing.cpu_seconds() - cpu
            ratios.append(ours.rate / baseline)
            console.print(
                f"round {number}: {ours.rate:,.0f}/s to pgbench's {baseline:,.0f}/s = {ratios[-1]:.2f}"
            )
        rss_mb = standing.rss_mb()
        steady = uvloop.run(_steady(standing, numbers, seconds))
    result: dict[str, Any] = {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "rate": round(ours.rate),
        "baseline_rate": round(baseline),
        "cpu_us_per_request": round(cpu / len(ours.latencies) * 1e6),
        **ours.percentiles(),
        "errors": ours.errors,
        "steady": {"rate": ARRIVAL_RATE, **steady.percentiles(), "errors": steady.errors},
        "rss_mb": round(rss_mb, 1),
        "machine": machine(),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)


async def _closed(standing: Stage, numbers: Iterator[int], seconds: float) -> Figures:
    url = f"{standing.handler_url}/actions/ingest_record"
    requests = [_request(url, next(numbers)) for _ in range(int(MOST_PER_SECOND * seconds))]
    return await closed_loop(url, iter(requests), CLIENTS, seconds)


async def _steady(standing: Stage, numbers: Iterator[int], seconds: float) -> Figures:
    url = f"{standing.handler_url}/actions/ingest_record"
    requests = [_request(url, next(numbers)) for _ in range(int(ARRIVAL_RATE * seconds))]
    return await constant_arrival(url, requests, ARRIVAL_RATE, 64)


def _request(url: str, number: int) -> bytes:
    raw = base64.b64encode(_text(number).encode()).decode()
    body = envelope("pancake_ingest_record", {"token": TOKEN, "raw": raw, "source_ip": "203.0.113.7"})
    return request_for(url, {"X-Handler-Secret": SECRET}, body)


def _text(number: int) -> str:
    """A record of about 1.5 KB."""
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
