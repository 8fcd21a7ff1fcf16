"""The ticks of crons in a chaos run: each has a run, and worked once at most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from proofs.chaos.checker import Verdict, check

_RUNS = """
    SELECT
        r.name || ' ' || to_char(r.scheduled_time AT TIME ZONE 'UTC', 'DD HH24:MI:SS') AS tick,
        r.name, r.outcome
    FROM pancake_cron_run AS r
"""
_ENGINE_TICKS = """
    SELECT
        replace(e.trigger_name, 'pancake_', '') || ' '
        || to_char(e.scheduled_time AT TIME ZONE 'UTC', 'DD HH24:MI:SS') AS tick,
        e.status = 'delivered' AS is_delivered,
        (
            SELECT count(*) FROM hdb_catalog.hdb_cron_event_invocation_logs AS l
            WHERE l.event_id = e.id AND l.response::text LIKE '%%succeeded%%'
        ) AS succeeded
    FROM hdb_catalog.hdb_cron_events AS e
    WHERE e.scheduled_time >= %s AND e.scheduled_time < %s
"""


@dataclass(frozen=True)
class Run:
    """A row of pancake_cron_run; `tick` is the name of the cron and when the tick was due, in UTC."""

    tick: str
    name: str
    outcome: str


@dataclass(frozen=True)
class EngineTick:
    """A tick of the engine, and how many of its deliveries did the work."""

    tick: str
    is_delivered: bool
    succeeded: int


def tick_id(name: str, due: datetime) -> str:
    """Return the id of a tick; `due` is in UTC."""
    return f"{name} {due:%d %H:%M:%S}"


def load_runs(database_url: str) -> list[Run]:
    with psycopg.connect(database_url, row_factory=class_row(Run)) as db_connection:
        return db_connection.execute(_RUNS).fetchall()


def load_engine_ticks(database_url: str, start: datetime, end: datetime) -> list[EngineTick]:
    with psycopg.connect(database_url, row_factory=class_row(EngineTick)) as db_connection:
        return db_connection.execute(_ENGINE_TICKS, (start, end)).fetchall()


def check_delivered(answers: Mapping[str, Sequence[str]], runs: Sequence[Run]) -> Verdict:
    """Check ticks that the scenario delivered, several times each, by the results of their answers."""
    known = {run.tick for run in runs}
    worked = {tick: max(1, results.count("succeeded")) for tick, results in answers.items() if tick in known}
    return check(answers, answers, (tick for tick, times in worked.items() for _ in range(times)))


def check_engine_ticks(ticks: Sequence[EngineTick], runs: Sequence[Run]) -> Verdict:
    """Check the ticks of the engine; those that it delivered are acknowledged."""
    known = {run.tick for run in runs}
    return check(
        (each.tick for each in ticks),
        (each.tick for each in ticks if each.is_delivered),
        (each.tick for each in ticks if each.tick in known for _ in range(max(1, each.succeeded))),
    )


def count_succeeded(runs: Sequence[Run], name: str) -> int:
    """Return how many runs of a cron succeeded."""
    return sum(run.name == name and run.outcome == "succeeded" for run in runs)
