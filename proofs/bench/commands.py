"""What a command of `leads` costs: its work within one process, and the whole command with its start."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import psycopg

from proofs.bench.environment import ROOT, cpu_seconds
from sandbox.postgres.server import Cluster

COMMANDS = 10
"""How often a whole command is started."""
BLOCKS = """
    SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()
"""


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
            row = db_connection.execute(BLOCKS.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def _server_cpu_seconds(self) -> float:
        """Return the CPU time of the server's processes, also of those that have ended."""
        pid = self.cluster.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return cpu_seconds(pid, with_ended_children=True) + sum(map(_cpu_seconds_if_running, children))


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


def _cpu_seconds_if_running(pid: str) -> float:
    try:
        return cpu_seconds(int(pid))
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
