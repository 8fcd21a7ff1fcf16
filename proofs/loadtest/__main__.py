"""`scripts/loadtest`: leads at a constant rate through the real edge, every one counted at the end.

The result is a table for a terminal, one JSON object, or one HTML file with nothing from elsewhere.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import psycopg
import typer
from hdrh.histogram import HdrHistogram
from markupsafe import Markup
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from ops.clients.hasura_admin import STATEMENTS
from ops.output import render_page
from ops.waiting import poll
from proofs.bench.environment import AsJson, describe_machine
from proofs.chaos.effects import QUERIES, check_stream
from proofs.chaos.frame import (
    EngineCount,
    ProcessCount,
    events_by_process,
    proof,
    run_leads,
    wait_until_final,
)
from proofs.loadtest.costs import COUNTING, begin_counting, count_costs, sampled
from proofs.pictures import Box, Limit, Line, Panel, draw_lines, new_figure, svg
from proofs.sender import HIGHEST_LATENCY_US, LeadVersion, Leg, Sent, new_histogram, send, versions
from sandbox.edge import NginxEdge, require_edge_packages
from sandbox.postgres.server import Cluster
from sandbox.processes import exit_on_sigterm
from sandbox.stack.stack import Sandbox

MAX_P95_MS = 1000.0
MAX_TICKET_P95_MS = 2000.0
"""From a webhook to its ticket while held leads are drained."""
HELD_PER_SECOND, DRAINED_PER_SECOND = 400.0, 100
MIN_SHARE = 0.99
"""Of the deliveries per second, for a rate that counts as kept."""
MAX_SETTLING_SECONDS = 600.0
OURS = ("edge", "handlers", "postgres")
"""The services whose CPU is ours, but for the sessions of the engine."""
ENGINE_SESSIONS = "engine_sessions"
"""What PostgreSQL does for the stand-in engine: it reads events, writes its log and marks what was delivered.
They are part of `postgres` too."""
MAX_LISTED = 20
CONNECTIONS = 64
"""To the edge."""
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is posted. `is_search`: rates are raised until one is not kept, which is no failure.

    `held`: leads that the kill switch holds before, and `leads replay --drain` sets to received meanwhile.
    `kills_edge`: in the middle of each rate the first edge is killed, and a standby takes over.
    """

    rates: Sequence[float]
    seconds: float
    seed: int
    is_search: bool
    held: int = 0
    counts_statements: bool = False
    kills_edge: bool = False


async def run(sandbox: Sandbox, plan: Plan, console: Console) -> dict[str, Any]:
    started = datetime.now(UTC)
    generated = versions(plan.seed)
    steps: list[dict[str, Any]] = []
    sent = Sent()
    if plan.held:
        sent = await hold_leads(sandbox, plan, generated, console)
    drain = asyncio.create_task(asyncio.to_thread(drain_held, sandbox)) if plan.held else None
    for rate in plan.rates:
        leg = Leg(rate, plan.seconds)
        if plan.counts_statements:
            begin_counting(sandbox.database_url)
        step = await run_leg(sandbox, leg, generated, plan, console)
        if plan.counts_statements:
            step["statements"] = count_costs(sandbox.database_url, step["leads"])
        latencies = {"edge": leg.latencies, "ticket": await asyncio.to_thread(of_tickets, sandbox, leg)}
        sent.versions += leg.sent.versions
        sent.acknowledged += leg.sent.acknowledged
        sent.non_2xx += leg.sent.non_2xx
        steps.append({**step, **{f"{name}_ms": milliseconds(each) for name, each in latencies.items()}})
    if drain:
        await drain
        await wait_until_final(sandbox, console, MAX_SETTLING_SECONDS)
    console.print(f"looking for {len(sent.versions)} versions ...")
    verdicts = await asyncio.to_thread(check_stream, sandbox.database_url, sandbox.notifications_url, sent)
    kept = [step for step in steps if _is_kept(step)]
    ((version,),) = _rows(sandbox.database_url, b"SHOW server_version")
    result = {
        "started_at": started.isoformat(timespec="seconds"),
        "machine": describe_machine() | {"postgres": version},
        "seed": plan.seed,
        "steps": steps,
        "knee_per_second": max((step["offered_per_second"] for step in kept), default=None),
        **verdicts.as_json(),
        "non_2xx": sent.non_2xx[:MAX_LISTED],
        "table_bytes": dict(_rows(sandbox.database_url, QUERIES["loadtest/load_table_sizes"])),
        "held": plan.held,
        "ok": verdicts.is_valid
        and all(map(_took_over, steps))
        and (plan.is_search or kept == steps)
        and (not plan.held or all(step["ticket_ms"]["p95"] <= MAX_TICKET_P95_MS for step in steps)),
    }
    if not plan.is_search:
        result |= _summary(plan, steps[0])
    return proof("loadtest", result)


async def hold_leads(
    sandbox: Sandbox, plan: Plan, generated: Iterator[LeadVersion], console: Console
) -> Sent:
    """Post leads while the kill switch is on, then turn it off; nothing replays them yet.

    The engine delivers an event of each of them first: what waits in its queue is not what is measured.
    """
    _set(sandbox, "kill_switch = true")
    leg = Leg(HELD_PER_SECOND, plan.held / HELD_PER_SECOND)
    sending = asyncio.create_task(send(leg, sandbox.webhook_url, generated, CONNECTIONS))
    await _show_progress(leg, sending, console)
    for _ in poll(MAX_SETTLING_SECONDS, 1):
        if _rows(sandbox.database_url, STATEMENTS["engine/count_pending"]) == [(0,)]:
            break
    _set(sandbox, f"kill_switch = false, replay_rate_per_second = {DRAINED_PER_SECOND}")
    return leg.sent


def drain_held(sandbox: Sandbox) -> None:
    """Do what an operator does after the kill switch. Raises CalledProcessError."""
    run_leads(sandbox, "replay", "--status", "skipped_kill_switch", "--drain", "--no-wait")


def _set(sandbox: Sandbox, changes: str) -> None:
    with psycopg.connect(sandbox.database_url) as db_connection:
        db_connection.execute(f"UPDATE view_pancake_setting SET {changes}".encode())


def _summary(plan: Plan, step: dict[str, Any]) -> dict[str, Any]:
    """Return what the gates of the go-live ask a load test (docs/runbook/go-live.md)."""
    edge, ticket = (step[name]["p95"] for name in ("edge_ms", "ticket_ms"))
    return {
        "rate": plan.rates[0],
        "minutes": plan.seconds / 60,
        "p95_seconds": None if edge is None else edge / 1000,
        "process_p95_seconds": None if ticket is None else ticket / 1000,
    }


async def run_leg(
    sandbox: Sandbox, leg: Leg, generated: Iterator[LeadVersion], plan: Plan, console: Console
) -> dict[str, Any]:
    """Post the deliveries of a leg, wait until all is at rest, and return what was seen and what it cost.

    `round_the_engine`: deliveries that the edges gave to the handlers directly. `standby`: when the first
    edge was killed, how many connections went over, how many of them before, and what the standby took.
    """
    wal, direct = _wal_bytes(sandbox.database_url), -_taken_directly(sandbox)
    standby = sandbox.edges[1] if plan.kills_edge else None
    assert standby is None or isinstance(standby, NginxEdge)
    taken, over = -_taken(standby) if standby else 0, None
    with sampled(partial(_pids, sandbox), {ENGINE_SESSIONS: _title_of_engine(sandbox)}) as used:
        other = standby.url if standby else ""
        sending = asyncio.create_task(send(leg, sandbox.webhook_url, generated, CONNECTIONS, other))
        killing = asyncio.create_task(kill_edge(sandbox, leg.seconds / 2)) if standby else None
        await _show_progress(leg, sending, console)
        if standby and killing:
            killed_at, of_killed = await killing
            direct += of_killed
            over = {
                "killed_at": killed_at,
                "connections": len(leg.left_at),
                "too_early": sum(at < killed_at for at in leg.left_at),
                "taken": taken + _taken(standby),
            }
            await asyncio.to_thread(sandbox.edge.bring_up)  # it hands over what is in its spool
        settled = await wait_until_final(sandbox, console, MAX_SETTLING_SECONDS)
    leads = max(1, len({version.record_id for version in leg.sent.versions}))
    cpu_ms = {name: 1000 * usage.cpu_seconds / leads for name, usage in used.items()}
    ours = [each for name, each in cpu_ms.items() if name.partition("-")[0] in OURS]
    until_end = {
        name: [sample for sample in usage.samples if sample[0] <= leg.ended_at + 1]
        for name, usage in used.items()
    }
    cores = {name: fmean(each[1] for each in found) if found else 0.0 for name, found in until_end.items()}
    return {
        "offered_per_second": leg.per_second,
        "seconds": leg.seconds,
        "achieved_per_second": round(leg.delivered_per_second, 2),
        "offered": leg.offered,
        "delivered": leg.delivered,
        "dropped": leg.dropped,
        "unpunctual": leg.unpunctual,
        "answers": dict(Counter(leg.sent.answers)),
        "non_2xx": len(leg.sent.non_2xx),
        "late": leg.late,
        "round_the_engine": _taken_directly(sandbox) + direct,
        "standby": over,
        "leads": leads,
        "versions": len({version.number for version in leg.sent.versions}),
        "settled": settled,
        "cpu_ms_per_lead": {name: round(each, 2) for name, each in cpu_ms.items()}
        | {"ours": round(sum(ours) - cpu_ms[ENGINE_SESSIONS], 2)},
        "events_by_process": events_by_process(sandbox),
        "cores": {name: round(each, 2) for name, each in cores.items()},
        "busiest": max(cores, key=lambda name: cores[name]),
        "peak_mb": {name: round(usage.peak_mb, 1) for name, usage in used.items()},
        "wal_bytes_per_lead": round((_wal_bytes(sandbox.database_url) - wal) / leads),
        "started_at": leg.started_at,
        "samples": {name: [list(each) for each in samples] for name, samples in until_end.items()},
        "interval_seconds": leg.interval_seconds,
        "intervals": [
            {"at": leg.started_at + number * leg.interval_seconds, **milliseconds(each)}
            for number, each in sorted(leg.intervals.items())
        ],
    }


def _taken_directly(sandbox: Sandbox) -> int:
    return sum(each.taken("handlers") for each in sandbox.edges if isinstance(each, NginxEdge))


def _taken(edge: NginxEdge) -> int:
    return edge.taken("hasura") + edge.taken("handlers")


async def kill_edge(sandbox: Sandbox, seconds: float) -> tuple[float, int]:
    """Kill the first edge after some seconds; return when, and how many deliveries the handlers had of it."""
    assert isinstance(sandbox.edge, NginxEdge)
    await asyncio.sleep(seconds)
    taken = await asyncio.to_thread(sandbox.edge.taken, "handlers")
    killed_at = time.time()
    await asyncio.to_thread(sandbox.edge.kill)
    return killed_at, taken


def _took_over(step: dict[str, Any]) -> bool:
    """Whether the standby, if the first edge was killed, took deliveries then, and none before."""
    standby = step["standby"]
    return standby is None or (standby["taken"] > 0 and standby["too_early"] == 0)


def _is_kept(step: dict[str, Any]) -> bool:
    """Whether every delivery was answered with 2xx, at the offered rate, with p95 at the edge in its bar."""
    is_complete = not step["non_2xx"] and not step["dropped"] and step["settled"]
    is_fast = step["edge_ms"]["p95"] is not None and step["edge_ms"]["p95"] < MAX_P95_MS
    return bool(
        is_complete and is_fast and step["achieved_per_second"] >= MIN_SHARE * step["offered_per_second"]
    )


def _pids(sandbox: Sandbox) -> dict[str, int]:
    edges = _named("edge", [each.pid for each in sandbox.edges if isinstance(each, NginxEdge)])
    running = {name: pid for name, pid in edges.items() if pid is not None}
    services = _named("engine", sandbox.engines) | _named("handlers", sandbox.replicas)
    pids = {name: service.process.pid for name, service in services.items() if service.process is not None}
    server = sandbox.cluster.pid
    return {**running, **pids, "postgres": server, ENGINE_SESSIONS: server}


def _named(name: str, parts: Sequence[T]) -> dict[str, T]:
    """Return parts by name: the first has the name alone, the next ones a number after it."""
    return {name if number == 1 else f"{name}-{number}": each for number, each in enumerate(parts, 1)}


def _title_of_engine(sandbox: Sandbox) -> str:
    """Return how the command lines of the engine's sessions begin; the handlers log in as another user."""
    return f"postgres: {urlsplit(sandbox.database_url).username} "


async def _show_progress(leg: Leg, sending: asyncio.Task[None], console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{leg.per_second:g}/s", total=round(leg.per_second * leg.seconds))
        while not sending.done():
            await asyncio.wait([sending], timeout=0.5)
            progress.update(task, completed=leg.offered)
    await sending


def of_tickets(sandbox: Sandbox, leg: Leg) -> HdrHistogram:
    """Return the times in µs from when a record was due to the commit of its ticket.

    Only those of the records of which the leg posted a single version.
    """
    posted = Counter(record for record, _ in {(each.record_id, each.number) for each in leg.sent.versions})
    once, histogram = [record for record in leg.due if posted[record] == 1], new_histogram()
    for record_id, committed_at in _rows(sandbox.database_url, QUERIES["loadtest/load_tickets"], once):
        microseconds = round((committed_at - leg.due[record_id]) * 1_000_000)
        histogram.record_value(min(HIGHEST_LATENCY_US, max(1, microseconds)))
    return histogram


SETTINGS = {"track_commit_timestamp": "on"}
"""So that PostgreSQL says when a ticket was committed, instead of a watcher that polls."""


def _wal_bytes(database_url: str) -> int:
    """Return how many bytes of write-ahead log the server has written since it exists."""
    return int(_rows(database_url, QUERIES["loadtest/load_wal_bytes"])[0][0])


def _rows(database_url: str, statement: bytes, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as db_connection:
        return db_connection.execute(statement, list(values) or None).fetchall()


def milliseconds(histogram: HdrHistogram) -> dict[str, Any]:
    """Return percentiles in milliseconds; None without a value. `n` is the number of values."""
    n = int(histogram.get_total_count())
    shares = {"p50": 50, "p95": 95, "p99": 99, "p99_9": 99.9, "max": 100}
    return {"n": n} | {
        name: round(histogram.get_value_at_percentile(share) / 1000, 2) if n else None
        for name, share in shares.items()
    }


TEMPLATE = Path(__file__).with_name("page.html.j2")


def html_page(result: Mapping[str, Any]) -> str:
    """Return the page. Every text in it is escaped."""
    return render_page(
        TEMPLATE, result=result, headings=HEADINGS, rows=[row(step) for step in result["steps"]],
        legend=LEGEND, effects=json.dumps(result["effects"], indent=1),
        pictures=[_pictures(step) for step in result["steps"]],
    )  # fmt: skip


def _pictures(step: Mapping[str, Any]) -> list[Markup]:
    """Return the answers of the edge, then CPU and memory of each service, over the time of the step."""
    services = step["samples"].items()
    latencies = [
        Line(name, [(_time(each["at"]), each[name] / 1000) for each in step["intervals"]])
        for name in ("p50", "p95", "p99")
    ]
    cores = [Line(name, [(_time(at), each) for at, each, _ in samples]) for name, samples in services]
    memory = [Line(name, [(_time(at), mb * 2**20) for at, _, mb in samples]) for name, samples in services]
    slowest = step["edge_ms"]["max"]
    limit = Limit(MAX_P95_MS / 1000, True, "bar of p95") if slowest and slowest > MAX_P95_MS / 2 else None
    return [
        _picture(
            Panel(title="Answers of the edge", unit="s", limit=limit),
            "Time from when a delivery was due to its answer.", latencies, step, step["interval_seconds"],
        ),
        _picture(
            Panel(title="CPU", unit="percentunit"),
            "CPU of each service, as a share of one core.", cores, step, 2,
        ),
        _picture(
            Panel(title="Memory", unit="bytes"),
            "Memory of each service; what its processes share counts once.", memory, step, 2,
        ),
    ]  # fmt: skip


def _picture(
    panel: Panel, description: str, lines: list[Line], step: Mapping[str, Any], step_seconds: float
) -> Markup:
    figure, since = new_figure(720, 290), _time(step["started_at"])
    until = since + timedelta(seconds=step["seconds"])
    draw_lines(Box(figure, 0, 0, 720, 290), panel, lines, since, until, step_seconds)
    return Markup(svg(figure, description))  # noqa: S704 - svg escapes


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


LEGEND = """Offered and achieved: deliveries per second. p50 to p99: answers of the edge, in ms from the time
at which each was due; late: 1 s or more. Ticket: p95 until its commit, in ms. CPU: of edge, handlers
and PostgreSQL for each lead, in ms."""
HEADINGS = ("offered", "achieved", "dropped", "non-2xx", "late", "p50", "p95", "p99", "ticket", "CPU")


PLAIN: dict[str, Any] = {"box": None, "header_style": "bold", "padding": (0, 1, 0, 0)}


def print_result(result: Mapping[str, Any], console: Console) -> None:
    """Print one row for each rate, then what was lost or duplicated."""
    table = Table(*(Column(each, justify="right") for each in HEADINGS), **PLAIN)
    for step in result["steps"]:
        table.add_row(*row(step))
    console.print(table)
    console.print(LEGEND)
    for step in result["steps"]:
        if "statements" in step:
            console.print(_table_of_statements(step["statements"]))
    problems = ", ".join(f"{len(result[name])} {name}" for name in ("lost", "duplicated", "unexpected"))
    leads = sum(step["leads"] for step in result["steps"])
    console.print(f"{leads} leads: {problems}.", style="green" if result["ok"] else "bold red")
    for name in ("lost", "duplicated", "unexpected", "non_2xx"):
        for id_ in result[name][:5]:
            console.print(f"  {name}: {id_}")
    knee = result["knee_per_second"]
    console.print(f"Highest rate that was kept: {knee:g}/s." if knee else "No rate was kept.")


def _table_of_statements(statements: Sequence[Mapping[str, Any]]) -> Table:
    headings = ("plan ms", "exec ms", "calls", "blocks", "statement")
    table = Table(*headings, **PLAIN)
    for each in statements:
        name, *figures = each.values()
        table.add_row(*map(str, figures), str(name))
    return table


def row(step: Mapping[str, Any]) -> list[str]:
    """Return the figures of one rate under HEADINGS."""
    edge, ticket = step["edge_ms"], step["ticket_ms"]
    return [
        f"{step['offered_per_second']:g}",
        f"{step['achieved_per_second']:g}",
        str(step["dropped"]),
        str(step["non_2xx"]),
        str(step["late"]),
        *(_number(edge[name]) for name in ("p50", "p95", "p99")),
        _number(ticket["p95"]),
        _number(step["cpu_ms_per_lead"]["ours"]),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


app = typer.Typer(add_completion=False)
MAX_PER_SECOND = 900.0
"""The edge refuses an address above 1,000 requests per second."""
MAX_SECONDS = 24 * 3600.0


@app.command()
def loadtest(
    rate: Annotated[float, typer.Option(help="Deliveries per second.", min=1, max=MAX_PER_SECOND)] = 100,
    minutes: Annotated[float, typer.Option(help="How long they are posted.", min=0.05)] = 10,
    steps: Annotated[
        str, typer.Option(help="Rates to try one after another instead, for example 50,100,200,400,800.")
    ] = "",
    step_seconds: Annotated[float, typer.Option(help="How long each of the steps lasts.", min=3)] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the generated leads.")] = 1,
    accounts: Annotated[int, typer.Option(help="How many accounts Diva has before.", min=0)] = 100_000,
    processes: ProcessCount = 1,
    engines: EngineCount = 1,
    held: Annotated[
        int, typer.Option(help="Leads that were held and are drained at 100/s meanwhile.", min=0)
    ] = 0,
    standby: Annotated[
        bool, typer.Option("--standby", help="Kill the edge in the middle; a standby takes over.")
    ] = False,
    statements: Annotated[
        bool, typer.Option(help="Count what each statement costs, with pg_stat_statements.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Post leads at a constant rate through edge, engine, handlers and a durable PostgreSQL.

    Each delivery has a due time, from which its latency counts. The time to the ticket ends with its commit,
    as PostgreSQL states it. At the end every lead is looked for in four effects: event, customer, ticket and
    notification. Exit codes: 0 all is well; 1 a lead was lost or duplicated, an answer was not 2xx, a
    delivery was dropped, or p95 at the edge was 1 s or more (with --steps: a lead was lost or duplicated;
    with --held also: p95 to the ticket was above 2 s; with --standby also: the standby took no
    delivery, or a connection went over to it before the kill); 2 it could not run.
    """
    seconds = step_seconds if steps else minutes * 60
    rates, is_search = _rates(steps) or [rate], bool(steps)
    plan = Plan(rates, seconds, seed, is_search, held, statements, standby)
    if len(plan.rates) * plan.seconds > MAX_SECONDS:
        raise typer.BadParameter("the whole test is limited to 24 hours")
    if html is not None and not html.parent.is_dir():
        raise typer.BadParameter(f"the folder {html.parent} does not exist")
    require_edge_packages()
    exit_on_sigterm()
    settings = SETTINGS | (COUNTING if statements else {})
    with (
        Cluster(durable=True, settings=settings) as cluster,
        Sandbox(cluster, None, {}, processes, accounts, engines) as sandbox,
    ):
        if standby:
            sandbox.add_standby()
        result = asyncio.run(run(sandbox, plan, Console(stderr=True)))
    if html is not None:
        html.write_text(html_page(result), "utf-8")
    if as_json:
        typer.echo(json.dumps(result))
    else:
        print_result(result, Console())
    if not result["ok"]:
        raise typer.Exit(1)


def _rates(steps: str) -> list[float]:
    """Read the rates of --steps. Raises typer.BadParameter."""
    try:
        rates = [float(part) for part in steps.split(",") if steps]
    except ValueError:
        raise typer.BadParameter(f"--steps is not a list of numbers: {steps!r}") from None
    if len(rates) > 20 or not all(1 <= each <= MAX_PER_SECOND for each in rates):
        raise typer.BadParameter(f"--steps takes at most 20 rates from 1 to {MAX_PER_SECOND:g}")
    return rates


if __name__ == "__main__":
    app(prog_name="scripts/loadtest")
