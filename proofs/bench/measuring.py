"""What work costs in time, CPU and blocks: commands of `leads`, pieces of work, contenders in short slices.

Contenders take turns, so that other work on the machine meets all of them alike.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, permutations
from statistics import median, quantiles
from typing import Any

import psycopg
from rich.console import Console

from proofs.bench.environment import ROOT, BenchEnvironment
from proofs.loadtest.resources import cpu_seconds_of_tree
from sandbox.postgres.server import Cluster

COMMANDS = 10
"""How often a whole command is started."""


@dataclass(frozen=True)
class Meter:
    """Measures work on a database of an embedded server; what else uses the server meanwhile counts too."""

    cluster: Cluster
    database_url: str

    def measure(self, name: str, works: Sequence[Callable[[], object]]) -> dict[str, float]:
        """Do each work; return their times and, for each on average, what it costs.

        Keys begin with the name: `_min_ms _p50_ms _p95_ms _max_ms`, `_cpu_ms` of this process,
        `_server_cpu_ms` of PostgreSQL, `_blocks` of shared buffers that PostgreSQL read. Sessions that a work
        opens have to be closed at its end: PostgreSQL then counts their blocks.
        """
        blocks, server, own = self._blocks(), self._server_cpu_seconds(), time.process_time()
        times = sorted(_milliseconds(work) for work in works)
        cuts = quantiles(times, n=20)
        number = len(works)
        return {
            f"{name}_min_ms": round(times[0], 1),
            f"{name}_p50_ms": round(median(times), 1),
            f"{name}_p95_ms": round(cuts[18], 1),
            f"{name}_max_ms": round(times[-1], 1),
            f"{name}_cpu_ms": round(1000 * (time.process_time() - own) / number, 1),
            f"{name}_server_cpu_ms": round(1000 * (self._server_cpu_seconds() - server) / number, 1),
            f"{name}_blocks": round((self._blocks() - blocks) / number),
        }

    def _blocks(self) -> int:
        with psycopg.connect(self.database_url) as db_connection:
            return _blocks(db_connection)

    def _server_cpu_seconds(self) -> float:
        """Return the CPU time of the server's processes, also of those that have ended."""
        return cpu_seconds_of_tree(self.cluster.pid)


def measure_command(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Run `leads` with these arguments, a few times; return `command_min_ms _p50_ms _cpu_ms`.

    Raises RuntimeError if it ends with a code above 1, those of wrong usage and faults.
    """
    words = [sys.executable, "-m", "ops", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    times = []
    for _ in range(COMMANDS):
        started = time.perf_counter()
        done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
        times.append(1000 * (time.perf_counter() - started))
        if done.returncode > 1:
            raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "command_min_ms": round(min(times)),
        "command_p50_ms": round(median(times)),
        "command_cpu_ms": round(1000 * cpu / COMMANDS),
    }


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


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


Spread = dict[str, float]


@dataclass(frozen=True, slots=True)
class Done:
    """How much was done, and in how many seconds."""

    number: int
    seconds: float

    @property
    def rate(self) -> float:
        """Per second."""
        return self.number / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Slice:
    """One measurement of one contender; `cpu_us` is the CPU time of one piece of work, by process."""

    rate: float
    cpu_us: Mapping[str, float]


Contender = Callable[[], Callable[[], Done]]
"""Prepares a slice, which is not measured, and returns its work."""


def run_slices(
    bench: BenchEnvironment, contenders: Mapping[str, Contender], rounds: int, console: Console
) -> dict[str, list[Slice]]:
    """Measure one slice of each contender in each round; their order changes from round to round."""
    slices: dict[str, list[Slice]] = {name: [] for name in contenders}
    orders = cycle(permutations(contenders))
    for number in range(1, rounds + 1):
        for name in next(orders):
            slices[name].append(_slice(bench, contenders[name]()))
        rates = ", ".join(f"{name} {found[-1].rate:,.0f}/s" for name, found in slices.items())
        console.print(f"round {number}: {rates}")
    return slices


def spread(values: Sequence[float], digits: int = 3) -> Spread:
    """Return median, quartiles, the least, and the number of the values."""
    cuts = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    figures = {"median": median(values), "q1": cuts[0], "q3": cuts[2], "min": min(values)}
    return {name: round(value, digits) for name, value in figures.items()} | {"n": len(values)}


def ratio(slices: Sequence[Slice], baseline: Sequence[Slice]) -> Spread:
    """Return the rate as a ratio to the baseline's, from the pairs of the same round."""
    return spread([ours.rate / theirs.rate for ours, theirs in zip(slices, baseline, strict=True)])


def figures(slices: Sequence[Slice]) -> dict[str, Any]:
    """Return rates per second; of each process the CPU time for one piece of work in µs, and cores in use.

    A process of one thread that uses a whole core limits the rate.
    """
    processes = slices[0].cpu_us
    return {
        "rate": spread([each.rate for each in slices], 0),
        "cpu_us": {name: spread([each.cpu_us[name] for each in slices], 0) for name in processes},
        "cores": {
            name: round(median(each.rate * each.cpu_us[name] / 1e6 for each in slices), 2)
            for name in processes
        },
    }


def _slice(bench: BenchEnvironment, work: Callable[[], Done]) -> Slice:
    before = dict(_cpu_seconds(bench))
    done = work()
    used = {name: seconds - before[name] for name, seconds in _cpu_seconds(bench)}
    return Slice(done.rate, {name: seconds / max(1, done.number) * 1e6 for name, seconds in used.items()})


def _cpu_seconds(bench: BenchEnvironment) -> Iterator[tuple[str, float]]:
    """Yield what each process has used so far; `client` is the load generator, also if that is pgbench."""
    own = os.times()
    yield "handler", bench.cpu_seconds()
    yield "postgres", cpu_seconds_of_tree(bench.cluster.pid)
    yield "client", own.user + own.system + own.children_user + own.children_system
