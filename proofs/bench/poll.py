"""`scripts/bench poll`: the cost of a poll that finds nothing new, with few and with many stored events."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from proofs.bench.bars import print_result
from proofs.bench.costs import Costs, Piece, measure
from proofs.bench.environment import bench_environment, describe_machine
from proofs.bench.scale_data import HISTORY_AGE, add_history
from proofs.bench.simulator import Simulator, simulator

LISTED_RECORDS = 2_000
"""Records that each poll lists: those of a busy day."""
POLLS_PER_ROUND = 5
MAX_GROWTH = 1.1


def poll(
    rounds: Annotated[int, typer.Option(help="Rounds of five polls per size.", min=1)] = 6,
    small: Annotated[int, typer.Option(help="Stored events in the first measurement.", min=4)] = 10_000,
    large: Annotated[int, typer.Option(help="Stored events in the second measurement.", min=4)] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure polls that find nothing new: their CPU and blocks with many stored events to those with few.

    Exit code 1: one of the two is above its bar. Other work on the machine lengthens the time by the clock,
    and changes these little.
    """
    console = Console(stderr=True)
    costs: list[Costs] = []
    with bench_environment() as bench, simulator(bench) as pancake:
        until = list_records(pancake)
        piece = Piece("poll", POLLS_PER_ROUND, lambda: partial(poll_again, pancake, POLLS_PER_ROUND), rounds)
        for stored, size in ((0, small), (small, large)):
            console.print(f"storing {size:,} events ...")
            add_history(bench.database_url, stored, size, until)
            costs.append(measure(bench, piece))
            console.print(f"{size:,} events: {costs[-1]}")
    cpu = [cost["postgres_cpu_ms"] + cost["handler_cpu_ms"] for cost in costs]
    result: dict[str, Any] = {
        "cpu_ratio": round(cpu[1] / cpu[0], 3),
        "blocks_ratio": round(costs[1]["blocks"] / costs[0]["blocks"], 3),
        "small": costs[0],
        "large": costs[1],
        "events": [small, large],
        "listed": LISTED_RECORDS,
        "bars": {"cpu_ratio": MAX_GROWTH, "blocks_ratio": MAX_GROWTH},
        "machine": describe_machine(),
    }
    print_result(result, as_json)


def list_records(pancake: Simulator) -> datetime:
    """Let Pancake list the records of a day and store them; return when a history before them ends."""
    now = datetime.now(UTC)
    pancake.bulk(LISTED_RECORDS, now - timedelta(hours=20), now - timedelta(minutes=2))
    pancake.tick("poll_records")
    return now - HISTORY_AGE


def poll_again(pancake: Simulator, polls: int) -> None:
    """Poll the last day again and again; nothing of it is missing."""
    for _ in range(polls):
        with psycopg.connect(pancake.bench.database_url, autocommit=True) as db_connection:
            db_connection.execute("UPDATE pancake_connection SET poll_watermark = now() - interval '1 day'")
        pancake.tick("poll_records")
