"""`scripts/bench ingest` and `process` beside pgbench; `requests`: the cost of a customer who asks again.

Each event of `process` is the lead of a new customer: account, contact, ticket, owner from one roster,
notification. pgbench runs the handler's SQL files in the same two transactions (claim, work) and marks the
notification as sent; it spends no time on parsing, deciding and sending.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any
from uuid import uuid4

import psycopg
import typer
import uvloop
import yaml
from rich.console import Console

from leads.adapters.database import QUERIES
from leads.domain.ticket_text import MAX_DESCRIPTION_CHARACTERS
from proofs.bench.environment import (
    OWN_STATEMENTS,
    SECRET,
    TOKEN_SHA256,
    AsJson,
    BenchEnvironment,
    Done,
    Slice,
    action_call,
    analyze,
    bench_environment,
    describe_machine,
    figures,
    notification_sink,
    print_result,
    ratio,
    run_script,
    run_slices,
    serve_in_process,
)
from proofs.sender import Measurement, closed_loop, constant_arrival, request_for
from sandbox.postgres import binaries
from sandbox.postgres.database import psql_environment

CONCURRENT_CLIENTS = 32
BODY_BYTES = 1500
ARRIVALS_PER_SECOND = 1000
STEADY_CONNECTIONS = 64
MAX_REQUESTS_PER_SECOND = 10_000
"""Requests are built before the measurement, so that the load generator uses little CPU during it."""


def ingest(
    slices: Annotated[int, typer.Option(help="Slices of each, in turn.", min=1)] = 12,
    seconds: Annotated[float, typer.Option(help="Seconds per slice.", min=1)] = 2,
    steady_seconds: Annotated[float, typer.Option(help="Seconds at a constant rate.", min=1)] = 8,
    as_json: AsJson = False,
) -> None:
    """Measure ingest with 32 clients in a closed loop, as a ratio to pgbench inserting the same row.

    Slices of both take turns. Then measure its latency at a constant 1,000 deliveries per second: it counts
    from the time at which each was due; `missed` were sent more than 10 ms after that.
    """
    console = Console(stderr=True)
    total = Measurement()
    records, number = map(_record, count()), int(MAX_REQUESTS_PER_SECOND * seconds)
    script = OWN_STATEMENTS["ingest/baseline"].decode().format(payload=_record(0))
    with bench_environment() as bench:
        _closed_loop(bench, ingest_requests(bench, islice(records, number)), seconds, Measurement())()
        analyze(bench.database_url)
        found = run_slices(
            bench,
            {
                "ours": lambda: _closed_loop(
                    bench, ingest_requests(bench, islice(records, number)), seconds, total
                ),
                "pgbench": lambda: pgbench(
                    bench.database_url, script, clients=CONCURRENT_CLIENTS, seconds=seconds
                ),
            },
            slices,
            console,
        )
        rss_mb = bench.rss_mb()
        due = ingest_requests(bench, islice(records, int(ARRIVALS_PER_SECOND * steady_seconds)))
        arriving = constant_arrival(bench.handler_url, due, ARRIVALS_PER_SECOND, STEADY_CONNECTIONS)
        steady = uvloop.run(arriving)
    result = _result(found, total, seconds, rss_mb)
    print_result(result | {"steady": steady.summary() | {"rate": ARRIVALS_PER_SECOND}}, as_json)


def _result(
    found: Mapping[str, Sequence[Slice]], total: Measurement, seconds: float, rss_mb: float
) -> dict[str, Any]:
    """Return what both benchmarks have: rates, the ratio to pgbench, latencies, errors and memory."""
    return {
        "slice_seconds": seconds,
        "ratio": ratio(found["ours"], found["pgbench"]),
        **{name: figures(each) for name, each in found.items()},
        "latency": total.percentiles(),
        "errors": total.errors,
        "rss_mb": round(rss_mb, 1),
        "machine": describe_machine(),
    }


def _closed_loop(
    bench: BenchEnvironment, requests: list[bytes], seconds: float, total: Measurement
) -> Callable[[], Done]:
    """Return the work of a slice, which adds what it measures to `total`."""

    def send() -> Done:
        found = uvloop.run(closed_loop(bench.handler_url, iter(requests), CONCURRENT_CLIENTS, seconds))
        total.add(found)
        return Done(len(found.latencies_seconds), found.seconds)

    return send


def ingest_requests(bench: BenchEnvironment, records: Iterable[str]) -> list[bytes]:
    """Return the calls of the action as Hasura makes them; each record is JSON."""
    url, of_all = f"{bench.handler_url}/actions/ingest_record", {"token_sha256": TOKEN_SHA256}
    raws = (base64.b64encode(record.encode()).decode() for record in records)
    given = ({**of_all, "raw": raw, "source_ip": "203.0.113.7"} for raw in raws)
    bodies = (action_call("pancake_ingest_record", dict(each)) for each in given)
    return [request_for(url, {"X-Handler-Secret": SECRET}, body) for body in bodies]


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


MAX_EVENTS_PER_SECOND = 3000
START_PIPELINE, END_PIPELINE = "\\startpipeline", "\\endpipeline"
_OF_PROCESS = yaml.safe_load(Path(__file__).with_name("process.yaml").read_text("utf-8"))


def process(
    slices: Annotated[int, typer.Option(help="Slices of each, in turn.", min=1)] = 12,
    seconds: Annotated[float, typer.Option(help="Seconds per slice.", min=1)] = 2,
    as_json: AsJson = False,
) -> None:
    """Measure processing with 32 clients in a closed loop, as a ratio to pgbench.

    Slices take turns: ours, pgbench that waits for the answer to each statement (`ratio`), and pgbench that
    sends in pipelines all statements between two whose result it needs (`pipelined_ratio`).
    """
    console = Console(stderr=True)
    total = Measurement()
    with serve_in_process(notification_sink) as hasura_url, bench_environment(hasura_url) as bench:
        _process_events(bench, seconds, Measurement())()
        analyze(bench.database_url)
        found = run_slices(
            bench,
            {
                "ours": lambda: _process_events(bench, seconds, total),
                "pgbench": lambda: _baseline_of_events(bench, seconds, _alone()),
                "pipelined": lambda: _baseline_of_events(bench, seconds, _in_pipelines()),
            },
            slices,
            console,
        )
        rss_mb = bench.rss_mb()
    pipelined = {"pipelined_ratio": ratio(found["ours"], found["pipelined"])}
    print_result(_result(found, total, seconds, rss_mb) | pipelined, as_json)


MAX_ADDED_CPU_MS = 1.0
"""How much more CPU an update may take that is the last request of a customer than one that is the second."""
COMPARED = 3
"""How many of the first and of the last updates of each ticket are compared."""
MAX_ROUND_SECONDS = 120


def requests(
    customers: Annotated[int, typer.Option(help="Customers, each with one ticket.", min=32)] = 1000,
    number: Annotated[int, typer.Option(help="Requests of each customer.", min=8)] = 50,
    as_json: AsJson = False,
) -> None:
    """Measure the update of a ticket by how many requests of its customer it has already.

    All customers ask once, then all once more, and so on; each such round is measured.
    """
    console, numbers = Console(stderr=True), count(1)
    with serve_in_process(notification_sink) as hasura_url, bench_environment(hasura_url) as bench:
        rounds = run_slices(
            bench, {"requests": lambda: _ask(bench, next(numbers), customers)}, number, console
        )["requests"]
        with psycopg.connect(bench.database_url) as db_connection:
            found = db_connection.execute(OWN_STATEMENTS["requests/count"]).fetchone()
    assert found is not None
    tickets, requests_of_each, characters = found
    costs = [(each.cpu_us["handler"] + each.cpu_us["postgres"]) / 1000 for each in rounds]
    first, last = median(costs[1 : 1 + COMPARED]), median(costs[-COMPARED:])
    print_result(
        {
            "tickets": tickets,
            "requests_of_each": requests_of_each,
            "description_characters": characters,
            "first_update_cpu_ms": round(first, 2),
            "last_update_cpu_ms": round(last, 2),
            "added_cpu_ms": round(last - first, 2),
            "bars": {"added_cpu_ms": MAX_ADDED_CPU_MS, "description_characters": MAX_DESCRIPTION_CHARACTERS},
            "machine": describe_machine(),
        },
        as_json,
    )


def _ask(bench: BenchEnvironment, number: int, customers: int) -> Callable[[], Done]:
    """Store one more request of each customer; the work of the slice processes them."""
    first = _first_id(bench)
    run_script(bench.database_url, "received_requests", number=number, customers=customers)
    sent = process_requests(bench, first, customers)
    return _closed_loop(bench, sent, MAX_ROUND_SECONDS, Measurement())


def _baseline_of_events(bench: BenchEnvironment, seconds: float, steps: Sequence[str]) -> Callable[[], Done]:
    first = store_events(bench, int(MAX_EVENTS_PER_SECOND * (WARM_UP_SECONDS + seconds)))
    ids = ["\\set n :n + 1", f"\\set id {first} + :client_id + :n * {CONCURRENT_CLIENTS}"]
    return pgbench(
        bench.database_url,
        "\n".join([*ids, *steps]),
        clients=CONCURRENT_CLIENTS,
        seconds=seconds,
        variables={"n": "-1"},
    )


def _alone() -> list[str]:
    """Return the steps of one event: each statement waits for the answer to the one before."""
    return [
        f"{_statement('process_record/claim_event')};",
        "BEGIN;",
        *(
            f"{_statement(name)}{_OF_PROCESS['captures'].get(name, ';')}"
            for name in _OF_PROCESS["statements"]
        ),
        "COMMIT;",
        f"{_statement('outbox/mark_notified')};",
    ]


def _in_pipelines() -> list[str]:
    """Return the same steps in pipelines; pgbench cannot keep the row of a statement within one."""
    claim, *work = _alone()
    steps = [claim, START_PIPELINE]
    for step in work:
        captures = "\\gset" in step
        steps += [END_PIPELINE, step, START_PIPELINE] if captures else [step]
    return [*steps, END_PIPELINE]


def _process_events(bench: BenchEnvironment, seconds: float, total: Measurement) -> Callable[[], Done]:
    """Store the events of a slice; its work adds what it measures to `total`."""
    number = int(MAX_EVENTS_PER_SECOND * seconds)
    requests = process_requests(bench, store_events(bench, number), number)
    return _closed_loop(bench, requests, seconds, total)


def _statement(name: str) -> str:
    """Return a statement of the handler, with its parameters replaced by SQL."""
    text = QUERIES[name].decode()
    return re.sub(r"%\((\w+)\)s", lambda match: str(_OF_PROCESS["expressions"][match[1]]), text)


def store_events(bench: BenchEnvironment, count: int, sources: Sequence[str] = ("-1",)) -> int:
    """Store `count` received leads of new customers; return the first of their ids, which follow each other.

    They are of the sources in turn.
    """
    first = _first_id(bench)
    params = {"first": first, "last": first + count - 1, "sources": list(sources)}
    run_script(bench.database_url, "received_leads", **params)
    with psycopg.connect(bench.database_url, autocommit=True) as db_connection:
        db_connection.execute("VACUUM ANALYZE pancake_webhook_event, account, ticket, contact_book")
    return first


def _first_id(bench: BenchEnvironment) -> int:
    """Empty the engine's queue; return the id that the next stored event has."""
    with psycopg.connect(bench.database_url, autocommit=True) as db_connection:
        db_connection.execute("DELETE FROM hdb_catalog.event_log")
        found = db_connection.execute("SELECT COALESCE(max(id), 0) + 1 FROM pancake_webhook_event").fetchone()
    return int(found[0]) if found else 1


def process_requests(bench: BenchEnvironment, first: int, number: int) -> list[bytes]:
    """Return the deliveries of so many events as Hasura makes them; their ids follow each other."""
    url = f"{bench.handler_url}/events/process_record"
    call = {
        "created_at": "2026-03-04T05:06:07.123456",
        "table": {"schema": "public", "name": "pancake_webhook_event"},
        "trigger": {"name": "pancake_webhook_event_status_update"},
        "delivery_info": {"current_retry": 0, "max_retries": 3},
    }
    requests = []
    for id_ in range(first, first + number):
        data = {"old": None, "new": {"id": id_, "status": "received"}}
        event = {"op": "INSERT", "data": data, "session_variables": None, "trace_context": None}
        body = json.dumps({**call, "id": f"event-{id_}", "event": event}).encode()
        requests.append(request_for(url, {"X-Handler-Secret": SECRET}, body))
    return requests


WARM_UP_SECONDS = 2
"""A new session plans a statement anew at each of its first five executions."""


def pgbench(
    database_url: str,
    script: str,
    *,
    clients: int,
    seconds: float,
    variables: Mapping[str, str] | None = None,
) -> Callable[[], Done]:
    """Run a script with prepared statements; return when its sessions are warm.

    The returned call waits for the end, and returns the transactions since then. Raises typer.Exit if pgbench
    is not installed; both raise RuntimeError if it fails.
    """
    seconds = max(1, round(seconds))
    options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=2", "--progress=1"]
    options += [f"--define={name}={value}" for name, value in (variables or {}).items()]
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        process = subprocess.Popen(
            [find(), *options, f"--time={WARM_UP_SECONDS + seconds}", f"--file={file.name}"],
            env=os.environ | psql_environment(database_url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        before = _warm_up(process)
    return lambda: _finish(process, before, seconds)


def find() -> str:
    """Return the path of pgbench. Raises typer.Exit."""
    program = shutil.which("pgbench", path=f"{os.environ['PATH']}{os.pathsep}{binaries.find()}")
    if program is None:
        typer.echo("pgbench was not found. Install it with: apt-get install postgresql-contrib", err=True)
        raise typer.Exit(2)
    return program


def _warm_up(process: subprocess.Popen[str]) -> float:
    """Return how many transactions were made in the seconds of the warm-up. Raises RuntimeError."""
    assert process.stderr is not None
    lines, number = [], 0.0
    for _ in range(WARM_UP_SECONDS):
        while not (found := re.match(r"progress: [\d.]+ s, ([\d.]+) tps", line := process.stderr.readline())):
            lines.append(line)
            if not line:
                process.communicate()
                raise RuntimeError(f"pgbench failed:\n{''.join(lines)[-2000:]}")
        number += float(found[1])
    return number


def _finish(process: subprocess.Popen[str], before: float, seconds: float) -> Done:
    stdout, stderr = process.communicate()
    number = re.search(r"transactions actually processed: (\d+)", stdout)
    if process.returncode != 0 or not number:
        raise RuntimeError(f"pgbench failed:\n{stderr[-2000:]}")
    return Done(round(int(number[1]) - before), seconds)
