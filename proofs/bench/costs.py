"""What a piece of work costs PostgreSQL and the handler: CPU time and blocks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import psycopg

from proofs.bench.environment import BenchEnvironment
from proofs.loadtest.resources import cpu_seconds_of_tree

STATISTICS_DELAY_SECONDS = 10.5
"""An idle session reports what it read after 10 s (PGSTAT_IDLE_INTERVAL of PostgreSQL's pgstat.c)."""

_BLOCKS = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"

Costs = dict[str, float]


@dataclass(frozen=True, slots=True)
class Piece:
    """Work that is done `repeats` times in a round, with a pause before each."""

    name: str
    repeats: int
    prepare: Callable[[], Callable[[], object]]
    """Returns the work of a round; what it does itself is not measured."""
    rounds: int = 4
    pause_seconds: float = 0.0
    settle_seconds: float = STATISTICS_DELAY_SECONDS
    """Until PostgreSQL knows which blocks a round touched: no time if the round closes its session."""


def measure(bench: BenchEnvironment, piece: Piece) -> Costs:
    """Return the costs of one repeat, after a round for warm connections, plans and caches.

    The least of the rounds: other work on the machine can only add to a time. `ms_p50` is the median,
    `blocks` are those of 8 KiB that PostgreSQL touched in one more round.
    """
    piece.prepare()()
    rounds = [_round(bench, piece) for _ in range(piece.rounds)]
    blocks = _blocks_of(bench, piece)
    return {
        "ms": round(min(each[0] for each in rounds), 2),
        "ms_p50": round(median(each[0] for each in rounds), 2),
        "postgres_cpu_ms": round(min(each[1] for each in rounds), 2),
        "handler_cpu_ms": round(min(each[2] for each in rounds), 2),
        "blocks": round(blocks / piece.repeats, 1),
    }


def _round(bench: BenchEnvironment, piece: Piece) -> tuple[float, float, float]:
    """Return the milliseconds of one repeat: by the clock, of PostgreSQL's CPU, of the handler's CPU."""
    work = piece.prepare()
    before = cpu_seconds_of_tree(bench.cluster.pid), bench.cpu_seconds()
    started = time.perf_counter()
    work()
    seconds = (time.perf_counter() - started) / piece.repeats - piece.pause_seconds
    postgres = (cpu_seconds_of_tree(bench.cluster.pid) - before[0]) / piece.repeats
    handler = (bench.cpu_seconds() - before[1]) / piece.repeats
    return seconds * 1000, postgres * 1000, handler * 1000


def _blocks_of(bench: BenchEnvironment, piece: Piece) -> int:
    work = piece.prepare()
    with psycopg.connect(bench.database_url, autocommit=True) as db:
        _wait_for_statistics(piece.settle_seconds)
        before = _blocks(db)
        work()
        _wait_for_statistics(piece.settle_seconds)
        return _blocks(db) - before


def _wait_for_statistics(seconds: float) -> None:
    time.sleep(seconds)


def _blocks(db: psycopg.Connection[Any]) -> int:
    row = db.execute(_BLOCKS).fetchone()
    assert row is not None
    return int(row[0])
