"""`scripts/bench scale`: what one piece of work costs, with few, many and very many stored events.

And which tables and indexes its statements read, at each size: `scale_plans.json` is what it wrote last;
docs/performance.md says how to write it again.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

import httpx
import psycopg
import typer
import uvloop
from psycopg.rows import dict_row
from rich.console import Console
from rich.table import Table

from cron.check_sla import MAX_TICKETS_PER_TICK
from cron.retry_failed import MAX_ROWS_PER_TICK
from leads.adapters.database import SESSION_OPTIONS
from leads.domain.event_states import CLAIM_LIMITS, MAX_ATTEMPTS
from leads.domain.trace import Search
from leads.domain.versions import MAX_FUTURE
from leads.services.cron_runs import CRONS
from leads.services.ingest_record import MAX_NEW_SOURCES_PER_HOUR
from leads.services.metrics import EVENT_LOGS, FIGURES, MAX_AGE_SECONDS
from leads.services.outbox import SEND_LEASE
from ops.checks.database import load_state
from ops.clients.db_session import QUERIES, open_session
from proofs.bench.environment import (
    OWN_STATEMENTS,
    AsJson,
    BenchEnvironment,
    Costs,
    Piece,
    Simulator,
    analyze,
    bench_environment,
    describe_machine,
    measure,
    notification_sink,
    print_result,
    run_script,
    serve_in_process,
    simulator,
)
from proofs.bench.throughput import ingest_requests, process_requests, store_events
from proofs.sender import closed_loop
from sandbox.postgres.plans import LARGE_TABLES, Plan, chosen_plan, custom_plan

EVENTS_PER_DAY = 30_000
SOURCES = 40
TELESALES = 60
HISTORY_AGE = timedelta(days=3)
"""The newest event is as old: what the handlers do meanwhile finds the same last days at each size."""


def add_rosters(database_url: str) -> None:
    """Add SOURCES sources to the one connection, with TELESALES members in the roster of each."""
    run_script(database_url, "rosters", sources=SOURCES, telesales=TELESALES)


def add_history(database_url: str, stored: int, events: int, until: datetime) -> None:
    """Add events up to a number, the newest at `until`; `stored` were added before. Both divide by four."""
    params = {"stored": stored, "events": events, "until": until}
    run_script(database_url, "history", per_day=EVENTS_PER_DAY, sources=SOURCES, **params)
    analyze(database_url)


_OTHER_DIGITS = "999000001"
"""Of a phone that no customer of the history has."""


def claim_event(db: psycopg.Connection[Any], until: datetime) -> dict[str, Any]:
    """Store and claim one more event of the newest customer of a history that ends at `until`.

    Returns its parameters for whichever statement.
    """
    cursor = db.cursor(row_factory=dict_row)
    event = cursor.execute(
        OWN_STATEMENTS["scale/store_event"], {"at": until + timedelta(seconds=1)}
    ).fetchone()
    assert event is not None
    cursor.execute(QUERIES["process_record/claim_event"], {**event, **CLAIM_LIMITS})
    lead = cursor.execute(OWN_STATEMENTS["scale/load_lead"], event).fetchone()
    assert lead is not None
    return _of_processing(lead) | _of_polling(lead, until) | {"from": until - timedelta(days=1), "to": until}


def new_rows(name: str) -> dict[str, str]:
    """Return the parameters with which a statement inserts rows that the history does not have."""
    return {
        "process_record/insert_account": {"account_id": str(uuid4()), "phone": f"+84{_OTHER_DIGITS}"},
        "process_record/insert_ticket": {"ticket_id": str(uuid4())},
    }.get(name, {})


def _of_processing(lead: Mapping[str, Any]) -> dict[str, Any]:
    digits = lead["phone"].removeprefix("+84")
    return {
        **lead,
        "changes": True, "is_applied": True, "outcome": "ticket_updated", "moves": False,
        "evidence": "{}", "notifications": "[]", "metadata": "{}", "data": "{}",
        "title": "Lead", "description": None, "display_name": "Khách", "name": "Khách",
        "email": None, "address": None, "phone_code": "84", "phone_number": f"0{digits}",
        "read_phone_code": "84", "read_phone_number": f"0{digits}", "account_phone": lead["phone"],
        "status": "skipped_kill_switch", "error_code": "internal", "error_detail": "x",
        "connection_ids": [lead["connection_id"]], "table_names": [lead["table_name"]],
        "record_account_id": lead["account_id"], "record_ticket_id": lead["ticket_id"],
        "phones": [lead["phone"]], "stored_digits": [digits, f"0{digits}"], "phone_digests": "{}",
        "own_phones": [f"+84{_OTHER_DIGITS}"], "own_digits": [_OTHER_DIGITS, f"0{_OTHER_DIGITS}"],
        "erasure_digests": ["bench:0123456789abcdef"],
        "assignee_ids": [lead["chosen"]], "assigned_counts": [1], "last_assigned_seqs": [1],
        "was_available": [True], "is_waiting": False,
        "hasura_event_id": str(uuid4()), "tries": 1,
        "ids": [lead["id"]], "claimed_ats": [lead["claimed_at"]],
        "results": json.dumps([{"id": lead["id"], "claimed_at": lead["claimed_at"].isoformat()}]),
    }  # fmt: skip


def _of_polling(lead: Mapping[str, Any], until: datetime) -> dict[str, Any]:
    """And of the other crons, of ingest and of the metrics."""
    delivery = {
        "ordinal": 0, "connection_id": str(lead["connection_id"]), "arrived_at": until.isoformat(),
        "record_id": lead["record_id"], "table_id": lead["table_name"], "modified_at": until.isoformat(),
        "payload_hash": sha256(b"new").hexdigest(), "payload": "{}", "phone": lead["phone"],
        "source_ids": lead["source_ids"], "erasure_digests": [], "undated": "-infinity",
    }  # fmt: skip
    return {
        "origin": "poll", "deliveries": json.dumps([delivery]), "max_new_sources": MAX_NEW_SOURCES_PER_HOUR,
        "record_ids": [lead["record_id"]], "whole": [], "tables": [lead["table_name"]],
        "window_from": until - timedelta(days=1), "window_to": until, "watermark": until,
        "since": until - timedelta(hours=1),
        "max_future": MAX_FUTURE, "now": until + timedelta(seconds=2), "next_attempt_at": until,
        "limit": MAX_ROWS_PER_TICK, "lease": SEND_LEASE, "max_attempts": MAX_ATTEMPTS,
        "names": list(CRONS), "logs": list(EVENT_LOGS),
    }  # fmt: skip


FOLDERS = (
    "ingest_record", "process_record", "outbox", "poll_records", "pancake_lists", "retry_failed",
    "check_sla", "kpi", "metrics",
)  # fmt: skip
STATEMENTS = sorted(name for name in QUERIES if name.split("/")[0] in FOLDERS)
FENCE = "process_record/fence_claim"
BEFORE_THE_FENCE = {
    "process_record/claim_event", "process_record/fail_event", "process_record/list_without_table",
    "process_record/load_turn", "process_record/load_unclaimed", "process_record/lock_turns",
    "process_record/set_table", FENCE,
}  # fmt: skip
FENCED = {name for name in STATEMENTS if name.split("/")[0] == "process_record"} - BEFORE_THE_FENCE
"""The statements of the transaction that the fence begins: it chooses how they are planned."""
WHOLE = " whole"


class Reading(NamedTuple):
    """The kind of a plan, and what it reads: indexes, and tables with WHOLE that it reads whole."""

    kind: str
    reads: tuple[str, ...]


Readings = dict[str, dict[int, list[Reading]]]
"""By the name of the statement and the number of stored events."""
Snapshot = dict[str, list[dict[str, Any]]]
"""By the name of the statement its plans, each with the sizes at which it was chosen."""


def read_plans(database_url: str, until: datetime) -> dict[str, list[Reading]]:
    """Return what each statement reads for a customer who writes again after a history that ends at `until`.

    It is read from the plan that a handler's session keeps. The sessions of metrics prepare no statement; the
    key figures are read as both, since a scrape and check_sla ask for them.
    """
    return {name: _read(database_url, name, until) for name in STATEMENTS}


def summarize(readings: Readings) -> Snapshot:
    """Return each plan once, with the sizes at which it was chosen."""
    snapshot: Snapshot = {}
    for name, by_size in readings.items():
        sizes: dict[Reading, list[int]] = {}
        for size, found in by_size.items():
            for reading in found:
                sizes.setdefault(reading, []).append(size)
        snapshot[name] = [
            {"events": events, "plan": kind, "reads": list(reads)} for (kind, reads), events in sizes.items()
        ]
    return snapshot


def reads_at_the_end(snapshot: Snapshot) -> dict[str, set[str]]:
    """Return what each statement reads at the largest size of the snapshot."""
    last = max(max(plan["events"]) for plans in snapshot.values() for plan in plans)
    return {
        name: {each for plan in plans if last in plan["events"] for each in plan["reads"]}
        for name, plans in snapshot.items()
    }


def scanned_whole(snapshot: Snapshot) -> list[str]:
    """Return `statement: table` for each large table that a statement reads whole at the largest size."""
    return [
        f"{name}: {table}"
        for name, reads in reads_at_the_end(snapshot).items()
        for table in sorted(LARGE_TABLES)
        if table + WHOLE in reads
    ]


def _read(database_url: str, name: str, until: datetime) -> list[Reading]:
    """All that the statement changes is undone."""
    folder = name.partition("/")[0]
    with psycopg.connect(database_url, options=SESSION_OPTIONS) as db, db.transaction(force_rollback=True):
        params = claim_event(db, until) | new_rows(name)
        begin = partial(_fence, db, params) if name in FENCED else lambda: None
        found = []
        if folder in ("kpi", "metrics"):
            found.append(_reading("custom", custom_plan(db, name, params)))
        if folder != "metrics":
            found.append(_reading(*chosen_plan(db, name, params, begin)))
        return list(dict.fromkeys(found))


def find_late(database_url: str, until: datetime) -> dict[str, int]:
    """Return how many late tickets a history has that ends at `until`, and how many check_sla does not find.

    All that it changes is undone.
    """
    params = {"now": until, "limit": None, "lease": SEND_LEASE}
    with psycopg.connect(database_url) as db, db.transaction(force_rollback=True):
        ((late,),) = db.execute(OWN_STATEMENTS["late/count"], params).fetchall()
        found = db.execute(QUERIES["check_sla/flag_late_tickets"], params).fetchall()
    return {"late_tickets": late, "late_tickets_missed": late - len(found)}


def _fence(db: psycopg.Connection[Any], params: Mapping[str, Any]) -> None:
    """Begin the transaction of the work on an event."""
    if not db.execute(QUERIES[FENCE], params).fetchall():
        raise RuntimeError("the event is not claimed")


def _reading(kind: str, plan: Plan) -> Reading:
    found = {node["Index Name"] for node in plan if "Index Name" in node}
    found |= {node["Relation Name"] + WHOLE for node in plan if node["Node Type"] == "Seq Scan"}
    return Reading(kind, tuple(sorted(found)))


CLIENTS = 4
REQUESTS = 300
TICKS = 5
QUERIES_PER_ROUND = 5
SESSION_END_SECONDS = 1.0
SCRAPES = 3
SCRAPE_PAUSE_SECONDS = MAX_AGE_SECONDS["fast"] + 0.1
SOURCE_IDS = [str(number) for number in range(1, SOURCES + 1)]


LISTED_RECORDS = 2_000
"""Records that each poll lists: those of a busy day."""


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


@dataclass(frozen=True)
class Work:
    """The work on one environment; `until` is the time of the newest event of its history."""

    bench: BenchEnvironment
    pancake: Simulator
    until: datetime
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def pieces(self) -> Iterator[Piece]:
        # First: it would read the events that the others store, which lie elsewhere at each size.
        yield _unprepared("poll", TICKS, partial(poll_again, self.pancake, TICKS))
        yield Piece("ingest", REQUESTS, self._ingest)
        yield Piece("process", REQUESTS, self._process)
        yield _unprepared("retry", TICKS, self._retry)
        for figure in FIGURES:
            if figure.is_of_window:
                yield self._statement(figure.name, figure.statement, figure.params_at(self.until))
        late = "check_sla/flag_late_tickets"
        yield Piece(late, QUERIES_PER_ROUND, self._flag_late, settle_seconds=SESSION_END_SECONDS)
        newest = Search(text="scale-0", event_id=None, phones=("+84100000000",), typed=None)
        found = newest.params(None, self.until)
        yield self._statement("trace", "trace_lead/load_events", found)
        look = Piece("status", QUERIES_PER_ROUND, lambda: self._look, settle_seconds=SESSION_END_SECONDS)
        yield look
        yield Piece("scrape", SCRAPES, lambda: self._scrape, rounds=1, pause_seconds=SCRAPE_PAUSE_SECONDS)

    def _ingest(self) -> Callable[[], object]:
        records = (self._record(next(self.numbers)) for _ in range(REQUESTS))
        return partial(_post, self.bench, ingest_requests(self.bench, records))

    def _record(self, number: int) -> str:
        source = SOURCE_IDS[number % SOURCES]
        record = {"id": f"ingest-{number}", "phone_number": f"09{number:08d}", "source": [source]}
        return json.dumps({**record, "name": "Nguyen Van A"})

    def _process(self) -> Callable[[], object]:
        first = store_events(self.bench, REQUESTS, SOURCE_IDS)
        return partial(_post, self.bench, process_requests(self.bench, first, REQUESTS))

    def _retry(self) -> None:
        for _ in range(TICKS):
            self.pancake.tick("retry_failed")

    def _statement(self, name: str, query: str, params: Mapping[str, Any]) -> Piece:
        work = partial(self._ask, query, params)
        return Piece(name, QUERIES_PER_ROUND, lambda: work, settle_seconds=SESSION_END_SECONDS)

    def _flag_late(self) -> Callable[[], object]:
        """The row versions of the last round, which were undone, would be read too."""
        analyze(self.bench.database_url)
        params = {"now": self.until, "limit": MAX_TICKETS_PER_TICK, "lease": SEND_LEASE}
        return partial(self._ask, "check_sla/flag_late_tickets", params)

    def _ask(self, name: str, params: Mapping[str, Any]) -> None:
        """Run a statement again and again; what it changes is undone."""
        with psycopg.connect(self.bench.database_url) as db:
            for _ in range(QUERIES_PER_ROUND):
                db.execute(QUERIES[name], params).fetchall()
                db.rollback()

    def _look(self) -> None:
        """Read our tables as `leads status` does."""
        with open_session(self.bench.database_url, "bench") as db:
            for _ in range(QUERIES_PER_ROUND):
                load_state(db, self.until)

    def _scrape(self) -> None:
        """Each scrape reads the fast figures anew."""
        for _ in range(SCRAPES):
            time.sleep(SCRAPE_PAUSE_SECONDS)
            httpx.get(f"{self.bench.handler_url}/metrics", timeout=60).raise_for_status()


def _unprepared(name: str, repeats: int, work: Callable[[], object]) -> Piece:
    return Piece(name, repeats, lambda: work)


def _post(bench: BenchEnvironment, requests: list[bytes]) -> None:
    measurement = uvloop.run(closed_loop(bench.handler_url, iter(requests), CLIENTS, 600))
    if measurement.errors:
        raise RuntimeError(f"the handlers answered {measurement.errors}")


MAX_GROWTH = {"ingest": 1.5, "process": 1.5, "poll": 1.1, "retry": 1.5}
"""How much the blocks that a piece of work touches may grow from the first size to the last."""
MAX_DAY_MS = 100
MAX_LATE_MS = 100
MAX_SCRAPE_MS = 100
MAX_LOOK_MS = 300
"""Of `leads status` at our tables, and of `leads trace`."""


def scale(
    sizes: Annotated[
        str, typer.Option(help="Stored events, rising; a quarter of them are of new customers.")
    ] = "10000,1000000",
    plans: Annotated[Path | None, typer.Option(help="Write what each statement reads, at each size.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the handlers, the crons, key figures, a scrape, `leads trace` and `leads status` at each size.

    Traffic is 30,000 events a day from 40 sources, each with a roster of 60; a size is the length of the
    history. 10,000,000 events need about 20 GB of disk and half an hour. Exit code 1: the blocks of a piece
    grew above its bar, check_sla misses a late ticket of the history, a key figure of a day, late tickets, a
    scrape, a trace or a look took too long, or a statement reads a large table whole at the last size.
    """
    steps = _read_sizes(sizes)
    console = Console(stderr=True)
    costs: dict[str, dict[str, Costs]] = {}
    readings: Readings = {}
    late: dict[str, int] = {}
    with serve_in_process(notification_sink) as hasura_url, bench_environment(hasura_url) as bench:
        for size, work in _stored(bench, steps, console):
            for name, found in read_plans(bench.database_url, work.until).items():
                readings.setdefault(name, {})[size] = found
            late = find_late(bench.database_url, work.until)
            analyze(bench.database_url)  # the row versions that were undone would be measured too
            for piece in work.pieces():
                costs.setdefault(piece.name, {})[str(size)] = cost = measure(bench, piece)
                console.print(f"{piece.name}: {cost}")
    snapshot = summarize(readings)
    if plans is not None:
        plans.write_text(json.dumps(snapshot, indent=1) + "\n")
    result = _result(costs, snapshot, steps) | late
    if not as_json:
        Console().print(_table(result.pop("costs"), steps))
    print_result(result, as_json)


def _stored(bench: BenchEnvironment, steps: list[int], console: Console) -> Iterator[tuple[int, Work]]:
    """Store each size in turn, and yield it with its work."""
    add_rosters(bench.database_url)
    with simulator(bench) as pancake:
        work = Work(bench, pancake, list_records(pancake))
        stored = 0
        for size in steps:
            console.print(f"storing {size:,} events ...")
            add_history(bench.database_url, stored, size, work.until)
            stored = size
            yield size, work


def _result(costs: dict[str, dict[str, Costs]], snapshot: Snapshot, steps: list[int]) -> dict[str, Any]:
    last = str(steps[-1])
    growth = {f"{name}_blocks_growth": _growth(costs[name], steps, "blocks") for name in MAX_GROWTH}
    of_day = {name: cost[last]["ms"] for name, cost in costs.items() if name.endswith(" of 1d")}
    whole = scanned_whole(snapshot)
    return {
        "sizes": steps,
        "sources": SOURCES,
        "telesales": TELESALES,
        "costs": costs,
        **growth,
        "poll_cpu_growth": _growth(costs["poll"], steps, "postgres_cpu_ms", "handler_cpu_ms"),
        "slowest_day_ms": max(of_day.values()),
        "late_tickets_ms": costs["check_sla/flag_late_tickets"][last]["ms"],
        **{f"{name}_ms": costs[name][last]["ms"] for name in ("scrape", "trace", "status")},
        "scanned_whole": whole,
        "scans": len(whole),
        "bars": {f"{name}_blocks_growth": bar for name, bar in MAX_GROWTH.items()}
        | {"poll_cpu_growth": 1.1, "slowest_day_ms": MAX_DAY_MS, "late_tickets_ms": MAX_LATE_MS}
        | {
            "late_tickets_missed": 0,
            "scrape_ms": MAX_SCRAPE_MS,
            "trace_ms": MAX_LOOK_MS,
            "status_ms": MAX_LOOK_MS,
            "scans": 0,
        },
        "machine": describe_machine(),
    }


def _read_sizes(text: str) -> list[int]:
    """Raises typer.BadParameter."""
    try:
        steps = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--sizes is not a list of numbers: {text!r}") from None
    if steps != sorted(set(steps)) or steps[0] < 1000 or steps[-1] > 20_000_000:
        raise typer.BadParameter("--sizes takes rising numbers from 1000 to 20000000")
    if any(step % 4 for step in steps):
        raise typer.BadParameter("--sizes takes multiples of 4")
    return steps


def _growth(costs: dict[str, Costs], steps: list[int], *figures: str) -> float:
    first, last = (sum(costs[str(size)][figure] for figure in figures) for size in (steps[0], steps[-1]))
    return round(last / first, 2) if first else 0.0


def _table(costs: dict[str, dict[str, Costs]], steps: list[int]) -> Table:
    table = Table("work", "events", "ms", "median", "PostgreSQL ms", "handler ms", "blocks", box=None)
    for name, by_size in costs.items():
        for size in steps:
            cost = by_size[str(size)]
            table.add_row(name, f"{size:,}", *(f"{value:g}" for value in cost.values()))
    return table
