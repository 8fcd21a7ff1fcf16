"""Benchmarks and the load test say what they measured; how fast this machine is, is no test's business.

So a small run may be above a bar: its exit code has to say so.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
import typer
from typer.testing import CliRunner

from leads.services.cron_runs import CRONS
from proofs import sender
from proofs.bench import throughput
from proofs.bench.__main__ import app
from proofs.bench.environment import Slice, figures, print_result, ratio, spread
from proofs.bench.scale import (
    FENCED,
    HISTORY_AGE,
    STATEMENTS,
    WHOLE,
    add_history,
    add_rosters,
    read_plans,
    reads_at_the_end,
    scanned_whole,
)
from proofs.bench.throughput import pgbench
from proofs.loadtest.__main__ import app as loadtest
from proofs.loadtest.costs import sampled
from proofs.sender import Leg, constant_arrival, repeating, request_for, send, versions
from sandbox.postgres.database import run_file
from sandbox.processes import ROOT, Processes
from sandbox.stack.hasura import EVENT_LOG, start_engine
from tests.support.end_to_end import needs_edge
from tests.support.fake_services import Answer, RawServer, Request
from tests.support.handlers import seed_connection
from tests.support.programs import write_program
from tests.support.waiting import eventually


def run(*words: str) -> tuple[int, dict[str, Any]]:
    """Run a benchmark; return its exit code and its result."""
    printed = CliRunner().invoke(app, [*words, "--json"])
    result: dict[str, Any] = json.loads(printed.stdout)
    return printed.exit_code, result


def is_above_a_bar(result: dict[str, Any]) -> bool:
    return any(result[name] > bar for name, bar in result.get("bars", {}).items())


def test_a_figure_above_its_bar_is_named_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"seconds": 60.1, "rss_mb": 128, "bars": {"seconds": 60, "rss_mb": 128}}
    with pytest.raises(typer.Exit) as ended:
        print_result(result, as_json=True)
    assert ended.value.exit_code == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == result
    assert printed.err == "seconds is 60.1, above its bar of 60.\n"
    print_result({"seconds": 60, "bars": {"seconds": 60}}, as_json=True)
    assert capsys.readouterr().err == ""


@needs_edge
@pytest.mark.slow("it runs a benchmark")
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("edge --rounds 1 --seconds 0.5", "verify_rps"),
        ("crons --events 4000 --records 300 --stale", "longest_call_seconds"),
        ("requests --customers 32 --number 8", "requests_of_each tickets description_characters"),
    ],
)
def test_a_small_run_of_a_benchmark_measures_what_it_says(words: str, parts: str) -> None:
    """The parts of a figure are less than the whole."""
    code, result = run(*words.split())
    assert code == is_above_a_bar(result), result
    values = [cast(float, result[part]) for part in parts.split()]
    assert values[0] > 0
    assert values == sorted(set(values))
    check = CHECKS.get(words.split(maxsplit=1)[0])
    assert check is None or check(result), result


def has_measured_every_cron(result: dict[str, Any]) -> bool:
    longest = [each["longest_call_seconds"] for each in result["crons"].values()]
    without_statistics, *names = result["crons"]
    has_all = without_statistics.startswith("retry_failed,") and names == list(CRONS)
    has_all &= all(each["longest_statement"] for each in result["crons"].values())
    has_all &= result["late_tickets_missed"] == 0
    return has_all and bool(result["longest_call_seconds"] == max(longest))


CHECKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "edge": lambda result: result["refused"] == {},
    "crons": has_measured_every_cron,
}


@pytest.mark.slow("it runs a benchmark")
def test_the_costs_of_work_at_two_sizes_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pause for PostgreSQL's statistics a count of blocks may be of an earlier piece."""
    monkeypatch.setattr("proofs.bench.environment._wait_for_statistics", lambda seconds: None)
    monkeypatch.setattr("proofs.bench.scale.SCRAPE_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("proofs.bench.scale.REQUESTS", 5)
    monkeypatch.setattr("proofs.bench.scale.TICKS", 1)
    plans = tmp_path / "plans.json"
    code, result = run("scale", "--sizes", "1000,2000", "--plans", str(plans))
    assert {"ingest", "process", "poll", "retry", "scrape", "trace", "status"} <= result["costs"].keys()
    assert list(json.loads(plans.read_text())) == STATEMENTS
    assert all(found.keys() == {"1000", "2000"} for found in result["costs"].values())
    assert (result["late_tickets"] > 0, result["late_tickets_missed"]) == (True, 0)
    assert code == is_above_a_bar(result)


def test_no_argument_of_pgbench_is_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(
        tmp_path / "pgbench",
        'echo "$@" >"$0.arguments"\n'
        'echo "$PGUSER $PGPASSWORD $PGDATABASE" >"$0.environment"\n'
        "for second in 1 2; do echo progress: $second.0 s, 5.0 tps, lat 1 ms >&2; done\n"
        "echo number of transactions actually processed: 16\n",
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    url = "postgresql://owner:pass-word@127.0.0.1:5/bench"
    done = pgbench(url, "SELECT 1", clients=1, seconds=3)()
    assert (done.number, done.rate) == (6, 2.0), "those of the warm-up are left out"
    assert "pass-word" not in (tmp_path / "pgbench.arguments").read_text()
    assert (tmp_path / "pgbench.environment").read_text() == "owner pass-word bench\n"


def test_rates_are_compared_in_pairs() -> None:
    """The second round was twice as slow for both: that says nothing about their ratio."""
    ours = [Slice(50, {"handler": 20.0}), Slice(25, {"handler": 30.0})]
    theirs = [Slice(100, {}), Slice(50, {})]
    assert ratio(ours, theirs) == {"median": 0.5, "q1": 0.5, "q3": 0.5, "min": 0.5, "n": 2}
    cpu = {"handler": {"median": 25.0, "q1": 22.0, "q3": 28.0, "min": 20.0, "n": 2}}
    assert figures(ours)["cpu_us"] == cpu
    assert figures([Slice(50, {"handler": 20_000.0})])["cores"] == {"handler": 1.0}
    assert spread([5, 1, 2, 3, 4]) == {"median": 3, "q1": 2, "q3": 4, "min": 1, "n": 5}
    assert spread([7.0]) == {"median": 7.0, "q1": 7.0, "q3": 7.0, "min": 7.0, "n": 1}


def test_pipelines_hold_all_steps_but_those_whose_row_is_kept() -> None:
    steps = throughput._in_pipelines()
    assert [each for each in steps if not each.endswith("pipeline")] == throughput._alone()
    assert {"BEGIN;", "COMMIT;"} <= set(steps)
    is_open = False
    for each in steps:
        assert not (is_open and "\\gset" in each)
        is_open = each == throughput.START_PIPELINE or (is_open and each != throughput.END_PIPELINE)
    assert not is_open
    assert steps.count(throughput.START_PIPELINE) == steps.count(throughput.END_PIPELINE) == 3


SNAPSHOT = json.loads((ROOT / "proofs/bench/scale_plans.json").read_text())
MAKE_AGAIN = "make the snapshot again: docs/performance.md, Scale"
UNTIL = datetime.now(UTC) - HISTORY_AGE


@pytest.fixture(scope="module")
def history(module_database: str) -> str:
    """URL of a database with the engine's tables, and a history of 10,000 events."""
    with Processes() as processes:
        start_engine(processes, module_database, environment={}).stop()
    with psycopg.connect(module_database, autocommit=True) as session:
        run_file(session, EVENT_LOG)
    seed_connection(module_database)
    add_rosters(module_database)
    add_history(module_database, 0, 10_000, UNTIL)
    return module_database


def test_a_large_table_that_is_read_whole_at_the_largest_size_is_found() -> None:
    small = {"events": [1000], "plan": "custom", "reads": ["account whole"]}
    large = {"events": [2000], "plan": "generic", "reads": ["app_setting whole", "ticket whole"]}
    other = {"events": [1000, 2000], "plan": "custom", "reads": ["ticket_pkey"]}
    assert scanned_whole({"kpi/load_response": [small, large, other], "outbox/x": [other]}) == [
        "kpi/load_response: ticket"
    ]


def test_the_snapshot_has_a_plan_of_each_statement_and_none_reads_a_large_table_whole() -> None:
    assert list(SNAPSHOT) == STATEMENTS, MAKE_AGAIN
    (largest,) = {max(max(plan["events"]) for plan in plans) for plans in SNAPSHOT.values()}
    assert largest >= 1_000_000
    assert scanned_whole(SNAPSHOT) == []


@pytest.mark.slow("it makes a history")
def test_the_snapshot_names_indexes_and_tables_that_exist(history: str) -> None:
    with psycopg.connect(history) as db:
        existing = {name for (name,) in db.execute("SELECT relname FROM pg_class").fetchall()}
    named = {each.removesuffix(WHOLE) for reads in reads_at_the_end(SNAPSHOT).values() for each in reads}
    assert named - existing == set(), MAKE_AGAIN


@pytest.mark.slow("it makes a history")
def test_the_plans_of_a_small_history_are_read_as_the_handlers_execute_the_statements(history: str) -> None:
    """And reading them leaves nothing behind."""
    counted = "SELECT status, count(*) FROM pancake_webhook_event GROUP BY status"
    kinds = {name: [each.kind for each in found] for name, found in read_plans(history, UNTIL).items()}
    with psycopg.connect(history, autocommit=True) as db:
        assert db.execute(counted).fetchall() == [("processed", 10_000)]
    assert list(kinds) == STATEMENTS
    assert [kinds[name] for name in FENCED] == [["generic"]] * len(FENCED)
    assert kinds["process_record/list_without_table"] == ["custom"]
    assert kinds["metrics/count_recent"] == ["custom"]
    assert kinds["kpi/load_latency"] == ["custom", "generic"]


ANSWER = b'{"status": "received"}'


@contextmanager
def server(*, delay: float = 0, status: int = 200, stall: float = 0) -> Iterator[str]:
    """Answer each request, on kept connections, after `delay` seconds; the first blocks all for `stall`."""
    stalls = [stall]

    def answer(_: Request) -> Answer:
        if stalls:
            time.sleep(stalls.pop())
        return Answer(status, ANSWER, delay)

    with RawServer(answer) as running:
        yield f"{running.url}/api"


async def post(leg: Leg, url: str, connections: int = 4) -> Leg:
    await send(leg, url, versions(1), connections)
    return leg


@pytest.mark.serial
async def test_latency_counts_from_the_due_time_and_missed_ones_are_counted() -> None:
    """One connection, 50 ms for each answer, a request every 10 ms: all but the first are sent late."""
    with server(delay=0.05) as url:
        measurement = await constant_arrival(url, [request_for(url, {}, b"{}")] * 4, 100, 1)
    assert measurement.summary()["n"] == 4
    assert measurement.missed == 3
    assert measurement.latencies_seconds[-1] >= 4 * 0.05 - 0.03


async def test_what_gets_no_answer_goes_to_the_standby_and_so_does_all_after_it() -> None:
    with RawServer(lambda _: Answer(200, ANSWER)) as first, RawServer(lambda _: Answer(200, ANSWER)) as other:
        first.serves_once = True
        leg = Leg(100, 0.1)
        await send(leg, f"{first.url}/api", versions(1), 1, other.url)
    assert (leg.delivered, leg.sent.non_2xx) == (10, [])
    (left_at,) = leg.left_at
    assert leg.started_at < left_at < leg.ended_at
    assert (len(first.requests), len(other.requests)) == (1, 9)


@pytest.mark.serial
async def test_every_delivery_is_counted_and_duplicates_are_posted_twice() -> None:
    with server() as url:
        started = time.time()
        leg = await post(Leg(100, 0.42), url)
        seconds = time.time() - started
    numbers = [version.number for version in leg.sent.versions]
    assert numbers == [*range(1, 21), 20, *range(21, 41), 40]
    assert (leg.offered, leg.delivered, leg.dropped, leg.late) == (42, 42, 0, 0)
    assert leg.latencies.get_total_count() == 42
    assert leg.sent.answers == {"received": 42}
    assert 42 / seconds <= leg.delivered_per_second < 42 / 0.4


@pytest.mark.serial
async def test_a_stall_shows_in_all_deliveries_that_were_due_during_it() -> None:
    """No coordinated omission: one answer took 0.5 s, and about half of the others waited for it."""
    with server(stall=0.5) as url:
        leg = await post(Leg(100, 1), url)
    slow = [value for value in (25, 50, 75, 100) if leg.latencies.get_value_at_percentile(value) > 50_000]
    assert 75 in slow
    assert leg.latencies.get_value_at_percentile(100) > 400_000


@pytest.mark.serial
async def test_what_no_connection_is_free_for_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "MAX_DELAY_SECONDS", 0.2)
    with server(delay=0.3) as url:
        leg = await post(Leg(100, 0.5), url, connections=2)
    assert leg.dropped > 20
    assert leg.offered == 50 == leg.dropped + leg.delivered
    assert len(leg.sent.versions) == leg.delivered


@pytest.mark.serial
async def test_errors_are_counted_and_the_next_delivery_has_a_new_connection() -> None:
    with server(status=503) as url:
        refused = await post(Leg(50, 0.2), url)
    assert (refused.delivered, refused.sent.answers) == (0, {"503": 10})
    assert len(refused.sent.non_2xx) == 10
    unreachable = await post(Leg(50, 0.2), "http://127.0.0.1:9/api")
    assert unreachable.sent.answers == {"ConnectionRefusedError": 10}
    assert unreachable.sent.acknowledged == []


def test_what_ends_repeated_work_is_raised_after_the_block() -> None:
    calls: list[str] = []

    def work() -> None:
        calls.append("work")
        raise LookupError("no row")

    def block() -> None:
        with repeating(work, 0.001):
            eventually(lambda: calls)
            calls.append("end of the block")

    with pytest.raises(LookupError, match="no row"):
        block()
    assert calls == ["work", "end of the block"]


def test_the_cpu_of_children_that_ended_counts() -> None:
    child = "import time\nwhile time.process_time() < 0.3: pass"
    run_child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    command = [sys.executable, "-c", f"{run_child}\nprint(flush=True)\ninput()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        with sampled(lambda: {"parent": parent.pid}) as used:
            parent.stdout.readline()
        parent.communicate(b"\n")
    assert used["parent"].cpu_seconds >= 0.25
    assert used["parent"].peak_mb > 1


def test_what_a_service_uses_after_a_restart_counts_too() -> None:
    spend = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", spend], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for _ in range(2)
        )
        for each in (first, second):
            assert each.stdout is not None
            each.stdout.readline()
        pids = chain([first.pid], repeat(second.pid))
        with sampled(lambda: {"it": next(pids)}) as used:
            pass
        for each in (first, second):
            each.communicate(b"\n")
    assert 0.25 <= used["it"].cpu_seconds < 0.55


@needs_edge
@pytest.mark.slow("it runs the load test")
@pytest.mark.parametrize(
    "options", ["--held 40", "--standby --processes 3 --engines 2"], ids=["held", "several_machines"]
)
def test_a_short_load_test_counts_every_lead(options: str) -> None:
    """Those too that were held and are drained meanwhile, and those after the kill of the first edge."""
    words = ["--rate", "10", "--minutes", "0.05", "--accounts", "0", "--json", *options.split()]
    ended = CliRunner().invoke(loadtest, words)
    result = json.loads(ended.stdout)
    (step,) = result["steps"]
    assert (result["lost"], result["duplicated"], result["unexpected"]) == ([], [], [])
    assert result["held"] == (40 if "--held" in words else 0)
    assert (step["offered"], step["delivered"], step["dropped"]) == (30, 30, 0)
    if standby := step["standby"]:
        assert (standby["taken"] > 0, standby["connections"] > 0, standby["too_early"]) == (True, True, 0)
        assert 0 < standby["killed_at"] - step["started_at"] < step["seconds"]
    assert (standby is not None) is ("--standby" in words)
    assert ended.exit_code == (0 if result["ok"] else 1)
    assert step["ticket_ms"]["n"] > 10
    assert step["ticket_ms"]["p50"] > step["edge_ms"]["p50"]
    cpu_ms = step["cpu_ms_per_lead"]
    assert max(cpu_ms.values()) > 0, "a part may need less than the kernel's tick in so short a time"
    assert cpu_ms["engine_sessions"] < cpu_ms["postgres"]
