"""`scripts/bench scrape`: how long a scrape of the handlers takes with many stored events."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Annotated, Any

import httpx
import psycopg
import typer
from rich.console import Console
from rich.table import Table

from leads.adapters.database import QUERIES
from leads.services.metrics import FIGURES, MAX_AGE_SECONDS
from proofs.bench.bars import print_result
from proofs.bench.environment import BenchEnvironment, bench_environment, describe_machine
from proofs.bench.status import fill

MOST_SCRAPE_MS = 100
PAUSE_SECONDS = MAX_AGE_SECONDS["fast"] + 0.1
"""Between scrapes, so that each reads the fast figures anew."""
EXPLAIN = b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
# The tickets of the events that the key figures of a day read; those that still wait for an owner have none.
TICKETS = """
    INSERT INTO ticket (id, title, source_id, assignee_id, status, created_at, first_response_at)
    SELECT e.ticket_id, 'Lead', 'ticket_source_pancake', e.assignee_id, 'in_progress', e.created_at,
        e.created_at + interval '10 minutes'
    FROM pancake_webhook_event AS e
    WHERE e.outcome = 'ticket_created' AND e.created_at > now() - interval '2 days'
"""


def scrape(
    events: Annotated[int, typer.Option(help="Stored events, of the last 30 days.", min=1000)] = 1_000_000,
    scrapes: Annotated[int, typer.Option(help="Number of scrapes, each 5 s after the last.", min=3)] = 15,
    rounds: Annotated[int, typer.Option(help="How often each statement is explained.", min=3)] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Scrape a handler again and again, with all fast figures due each time. Exit code 1: above 100 ms.

    Also explains each statement: milliseconds in the server, and blocks of 8 KiB that it touches. The slow
    figures, of an hour or a day, are read once a minute, and no scrape waits for them.
    """
    console = Console(stderr=True)
    with bench_environment() as bench:
        console.print(f"storing {events:,} events ...")
        fill(bench.database_url, events)
        with psycopg.connect(bench.database_url, autocommit=True) as db:
            db.execute("SET session_replication_role = replica")
            db.execute(TICKETS)
            db.execute("VACUUM ANALYZE")
            statements = {statement.name: _explain(db, statement, rounds) for statement in _statements()}
        result = _scrape(bench, scrapes)
    result |= {"events": events, "statements": statements, "bars": {"scrape_p50_ms": MOST_SCRAPE_MS}}
    result["machine"] = describe_machine()
    if not as_json:
        console.print(_table(statements))
    print_result(result, as_json)


def _scrape(bench: BenchEnvironment, number: int) -> dict[str, Any]:
    """Return the milliseconds of the scrapes, and the CPU time of the handler for one."""
    milliseconds = []
    with httpx.Client(base_url=bench.handler_url, timeout=30) as http:
        http.get("/metrics").raise_for_status()
        time.sleep(PAUSE_SECONDS)
        cpu_before = bench.cpu_seconds()
        for _ in range(number):
            started = time.perf_counter()
            http.get("/metrics").raise_for_status()
            milliseconds.append((time.perf_counter() - started) * 1000)
            time.sleep(PAUSE_SECONDS)
    return {
        "scrapes": number,
        "scrape_min_ms": round(min(milliseconds), 1),
        "scrape_p50_ms": round(median(milliseconds), 1),
        "scrape_max_ms": round(max(milliseconds), 1),
        "handler_cpu_ms_per_scrape": round((bench.cpu_seconds() - cpu_before) / number * 1000, 1),
    }


@dataclass(frozen=True, slots=True)
class _Statement:
    """What a figure of the database is read with."""

    name: str
    pace: str
    text: bytes
    params: Mapping[str, Any]


def _statements() -> Iterator[_Statement]:
    now = datetime.now(UTC)
    for figure in FIGURES:
        yield _Statement(figure.name, figure.pace, QUERIES[figure.statement], figure.params_at(now))


def _explain(db: psycopg.Connection[Any], statement: _Statement, rounds: int) -> dict[str, Any]:
    """Return the milliseconds to plan and execute a statement, and the blocks that it touches."""
    milliseconds, blocks = [], 0
    for _ in range(rounds):
        ((found,),) = db.execute(EXPLAIN + statement.text, statement.params).fetchall()
        (plan,) = found
        milliseconds.append(plan["Planning Time"] + plan["Execution Time"])
        blocks = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    return {
        "pace": statement.pace,
        "min_ms": round(min(milliseconds), 2),
        "p50_ms": round(median(milliseconds), 2),
        "blocks": blocks,
    }


def _table(statements: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("statement", "pace", "min ms", "p50 ms", "blocks")
    for name, found in sorted(statements.items(), key=lambda each: -each[1]["p50_ms"]):
        table.add_row(name, *(str(found[key]) for key in ("pace", "min_ms", "p50_ms", "blocks")))
    return table
