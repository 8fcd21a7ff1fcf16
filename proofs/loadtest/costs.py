"""What a load costs: CPU and memory of processes, read from /proc once a second; statements of PostgreSQL."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg

from ops.clients.db_session import QUERIES as PRODUCT
from proofs.sender import repeating

INTERVAL_SECONDS = 1.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    """What a service used: a process and all its children, those that ended and a restarted one too."""

    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    samples: list[tuple[float, float, float]] = field(default_factory=list)
    """Time of the day in seconds since 1970, cores in use since the last sample, memory in MB."""


@contextmanager
def sampled(
    find_pids: Callable[[], Mapping[str, int]], titles: Mapping[str, str] = MappingProxyType({})
) -> Iterator[dict[str, Usage]]:
    """Sample the usage of services within the block.

    `find_pids`: returns the first process of each service that runs; when the block begins, all do.
    `titles`: of these services only the processes count whose command line begins so.
    """
    sampler = _Sampler(find_pids, titles)
    with repeating(sampler.sample, INTERVAL_SECONDS):
        yield sampler.usage
    sampler.sample()


class _Sampler:
    def __init__(self, find_pids: Callable[[], Mapping[str, int]], titles: Mapping[str, str]) -> None:
        self._find_pids, self._titles = find_pids, titles
        self._pids = dict(find_pids())
        self._last = {
            name: cpu_seconds_of_tree(pid, titles.get(name, "")) for name, pid in self._pids.items()
        }
        self.usage = {name: Usage() for name in self._pids}
        self._at = time.time()

    def sample(self) -> None:
        now = time.time()
        for name, pid in self._find_pids().items():
            if pid != self._pids[name]:  # it has started again
                self._pids[name], self._last[name] = pid, 0.0
        for name, pid in self._pids.items():
            usage, title = self.usage[name], self._titles.get(name, "")
            # A process that has ended uses no more.
            cpu = max(self._last[name], cpu_seconds_of_tree(pid, title))
            memory = _memory_mb(pid, title)
            used = cpu - self._last[name]
            usage.samples.append((round(now, 1), round(used / (now - self._at), 2), round(memory, 1)))
            usage.cpu_seconds += used
            usage.peak_mb = max(usage.peak_mb, memory)
            self._last[name] = cpu
        self._at = now


def _tree(pid: int) -> Iterator[int]:
    """Yield a process and all that it started."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:  # it has ended
        return
    for child in children.split():
        yield from _tree(int(child))


def _titled(pid: int, title: str) -> Iterator[int]:
    """Yield those of a tree whose command line begins with `title`."""
    for each in _tree(pid):
        try:
            if Path(f"/proc/{each}/cmdline").read_text().startswith(title):
                yield each
        except OSError:  # it has ended
            continue


def cpu_seconds_of_tree(pid: int, title: str = "") -> float:
    """Return the CPU time of a process, its running children, and those that ended and were waited for.

    Only of those whose command line begins with `title`: PostgreSQL's sessions name their user in it.
    """
    ticks = 0
    for each in _titled(pid, title):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended; its parent has its time
            continue
        # utime, stime, cutime and cstime: fields 14 to 17 of proc(5); the first two are cut off above.
        ticks += sum(int(field_) for field_ in fields[11:15])
    return ticks / TICKS_PER_SECOND


def _memory_mb(pid: int, title: str) -> float:
    """Return the memory of a process and its children, each page that they share counted once."""
    kilobytes = 0
    for each in _titled(pid, title):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended, or belongs to another user
            continue
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1024


COUNTING = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_planning": "on"}
"""Planning counts too: a function that is not inlined may be planned at each call."""
MAX_STATEMENTS = 25
CONSTANT = re.compile(r"'(?:[^']|'')*'|%\(\w+\)s|\$\d+|\b(?:\d+(?:\.\d+)?|true|false|null)\b", re.IGNORECASE)
"""What pg_stat_statements replaces by a parameter, a parameter of it, and one of the product's statements."""
BEGIN = b"CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()"
COUNT = b"""
SELECT s.query, s.calls, s.total_plan_time, s.total_exec_time, s.shared_blks_hit + s.shared_blks_read
FROM pg_stat_statements AS s
WHERE s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
ORDER BY s.total_plan_time + s.total_exec_time DESC
LIMIT %s
"""
LONGEST = b"""
SELECT s.query, s.max_exec_time / 1000
FROM pg_stat_statements AS s
WHERE s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
ORDER BY s.max_exec_time DESC
LIMIT 1
"""


def begin_counting(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        db_connection.execute(BEGIN)


def count_costs(database_url: str, leads: int) -> list[dict[str, Any]]:
    """Return the statements that took longest: times and calls a lead, blocks a call. Waits count."""
    with psycopg.connect(database_url) as db_connection:
        rows = db_connection.execute(COUNT, [MAX_STATEMENTS]).fetchall()
    return [
        {
            "statement": _name(query),
            "plan_ms_per_lead": round(plan_ms / leads, 3),
            "exec_ms_per_lead": round(exec_ms / leads, 3),
            "calls_per_lead": round(calls / leads, 2),
            "blocks_per_call": round(blocks / calls, 1),
        }
        for query, calls, plan_ms, exec_ms, blocks in rows
    ]


def longest_statement(database_url: str) -> tuple[str, float]:
    """Return the statement of which one execution took longest since `begin_counting`, and its seconds."""
    with psycopg.connect(database_url) as db_connection:
        ((query, seconds),) = db_connection.execute(LONGEST).fetchall()
    return _name(query), seconds


@cache
def _names() -> dict[str, str]:
    """Return the names of the product's statements by their shape."""
    return {_shape(text.decode().replace("%%", "%")): name for name, text in PRODUCT.items()}


def _name(query: str) -> str:
    return _names().get(_shape(query)) or " ".join(query.split())[:60]


def _shape(text: str) -> str:
    """Return a statement without comments, layout and constants."""
    return " ".join(CONSTANT.sub("?", re.sub(r"--.*", "", text)).split())
