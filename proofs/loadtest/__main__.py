"""`scripts/loadtest`: leads at a constant rate through the real edge, every one counted at the end.

The result is a table for a terminal, one JSON object, or one HTML file with nothing from elsewhere.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import psycopg
import typer
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter
from markupsafe import Markup
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ops.html import render_page
from proofs.bench.environment import AsJson, describe_machine
from proofs.chaos.effects import QUERIES, check_stream
from proofs.chaos.frame import EngineCount, ProcessCount, events_by_process, proof, wait_until_final
from proofs.loadtest.resources import sampled
from proofs.loadtest.statements import SETTINGS as COUNTING
from proofs.loadtest.statements import begin_counting, count_costs
from proofs.pictures import Box, Limit, Line, Panel, draw_lines, new_figure, svg
from proofs.sender import HIGHEST_LATENCY_US, LeadVersion, Leg, Sent, new_histogram, send, versions
from sandbox.edge import NginxEdge, require_edge_packages
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT, Service
from sandbox.stack.signals import exit_on_sigterm
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

Latencies = dict[str, HdrHistogram]


@dataclass(frozen=True)
class Plan:
    """What is posted. `is_search`: rates are raised until one is not kept, which is no failure.

    `held`: leads that the kill switch holds before, and `leads replay --drain` sets to received meanwhile.
    """

    rates: Sequence[float]
    seconds: float
    connections: int
    seed: int
    is_search: bool
    held: int = 0
    counts_statements: bool = False


async def run(
    sandbox: Sandbox, plan: Plan, console: Console
) -> tuple[dict[str, Any], list[tuple[Leg, Latencies]]]:
    started = datetime.now(UTC)
    generated = versions(plan.seed)
    steps: list[dict[str, Any]] = []
    legs: list[tuple[Leg, Latencies]] = []
    sent = Sent()
    if plan.held:
        sent = await hold_leads(sandbox, plan, generated, console)
    drain = asyncio.create_task(asyncio.to_thread(drain_held, sandbox)) if plan.held else None
    for rate in plan.rates:
        leg = Leg(rate, plan.seconds)
        if plan.counts_statements:
            begin_counting(sandbox.database_url)
        step = await run_leg(sandbox, leg, generated, plan.connections, console)
        if plan.counts_statements:
            step["statements"] = count_costs(sandbox.database_url, step["leads"])
        latencies = {"edge": leg.latencies, "ticket": await asyncio.to_thread(of_tickets, sandbox, leg)}
        legs.append((leg, latencies))
        steps.append({**step, **{f"{name}_ms": milliseconds(each) for name, each in latencies.items()}})
    if drain:
        await drain
        await wait_until_final(sandbox, console, MAX_SETTLING_SECONDS)
    _add(sent, [leg for leg, _ in legs])
    console.print(f"looking for {len(sent.versions)} versions ...")
    verdicts = await asyncio.to_thread(check_stream, sandbox.database_url, sandbox.notifications_url, sent)
    kept = [step for step in steps if _is_kept(step)]
    result = {
        "started_at": started.isoformat(timespec="seconds"),
        "machine": describe_machine() | {"postgres": server_version(sandbox.database_url)},
        "seed": plan.seed,
        "steps": steps,
        "knee_per_second": max((step["offered_per_second"] for step in kept), default=None),
        **verdicts.as_json(),
        "non_2xx": sent.non_2xx[:MAX_LISTED],
        "table_bytes": table_bytes(sandbox.database_url),
        "held": plan.held,
        "ok": verdicts.is_valid
        and (plan.is_search or kept == steps)
        and (not plan.held or all(step["ticket_ms"]["p95"] <= MAX_TICKET_P95_MS for step in steps)),
    }
    if not plan.is_search:
        result |= _summary(plan, steps[0])
    return proof("loadtest", result), legs


async def hold_leads(
    sandbox: Sandbox, plan: Plan, generated: Iterator[LeadVersion], console: Console
) -> Sent:
    """Post leads while the kill switch is on, then turn it off; nothing replays them yet."""
    _set(sandbox, "kill_switch = true")
    leg = Leg(HELD_PER_SECOND, plan.held / HELD_PER_SECOND)
    sending = asyncio.create_task(send(leg, sandbox.webhook_url, generated, plan.connections))
    await _show_progress(leg, sending, console)
    _set(sandbox, f"kill_switch = false, replay_rate_per_second = {DRAINED_PER_SECOND}")
    return leg.sent


def drain_held(sandbox: Sandbox) -> None:
    """Do what an operator does after the kill switch. Raises CalledProcessError."""
    words = ("replay", "--status", "skipped_kill_switch", "--drain", "--no-wait")
    environment = {**os.environ, **sandbox.environment()}
    subprocess.run(
        [sys.executable, "-m", "ops", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )


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
    sandbox: Sandbox, leg: Leg, generated: Iterator[LeadVersion], connections: int, console: Console
) -> dict[str, Any]:
    """Post the deliveries of a leg, wait until all is at rest, and return what was seen and what it cost.

    `round_the_engine`: deliveries that the edge gave to the handlers directly.
    """
    assert isinstance(sandbox.edge, NginxEdge)
    wal, direct = wal_bytes(sandbox.database_url), sandbox.edge.taken("handlers")
    with sampled(_pids(sandbox), {ENGINE_SESSIONS: _title_of_engine(sandbox)}) as used:
        sending = asyncio.create_task(send(leg, sandbox.webhook_url, generated, connections))
        await _show_progress(leg, sending, console)
        settled = await wait_until_final(sandbox, console, MAX_SETTLING_SECONDS)
    leads = max(1, len({version.record_id for version in leg.sent.versions}))
    cpu_ms = {name: 1000 * usage.cpu_seconds / leads for name, usage in used.items()}
    until_end = {
        name: [sample for sample in usage.samples if sample[0] <= leg.ended_at + 1]
        for name, usage in used.items()
    }
    cores = {name: _mean([sample[1] for sample in samples]) for name, samples in until_end.items()}
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
        "round_the_engine": sandbox.edge.taken("handlers") - direct,
        "leads": leads,
        "versions": len({version.number for version in leg.sent.versions}),
        "settled": settled,
        "cpu_ms_per_lead": {name: round(each, 2) for name, each in cpu_ms.items()}
        | {"ours": round(_ours(cpu_ms) - cpu_ms[ENGINE_SESSIONS], 2)},
        "events_by_process": events_by_process(sandbox),
        "cores": {name: round(each, 2) for name, each in cores.items()},
        "busiest": max(cores, key=lambda name: cores[name]),
        "peak_mb": {name: round(usage.peak_mb, 1) for name, usage in used.items()},
        "wal_bytes_per_lead": round((wal_bytes(sandbox.database_url) - wal) / leads),
        "started_at": leg.started_at,
        "samples": {name: [list(each) for each in samples] for name, samples in until_end.items()},
        "interval_seconds": leg.interval_seconds,
        "intervals": [
            {"at": leg.started_at + number * leg.interval_seconds, **milliseconds(leg.intervals[number])}
            for number in sorted(leg.intervals)
        ],
    }


def _ours(cpu_ms: Mapping[str, float]) -> float:
    return sum(each for name, each in cpu_ms.items() if name.partition("-")[0] in OURS)


def _is_kept(step: dict[str, Any]) -> bool:
    """Whether every delivery was answered with 2xx, at the offered rate, with p95 at the edge in its bar."""
    is_complete = not step["non_2xx"] and not step["dropped"] and step["settled"]
    is_fast = step["edge_ms"]["p95"] is not None and step["edge_ms"]["p95"] < MAX_P95_MS
    return bool(
        is_complete and is_fast and step["achieved_per_second"] >= MIN_SHARE * step["offered_per_second"]
    )


def _pids(sandbox: Sandbox) -> dict[str, int]:
    assert isinstance(sandbox.edge, NginxEdge)
    services = _named("engine", sandbox.engines) | _named("handlers", sandbox.replicas)
    pids = {name: service.process.pid for name, service in services.items() if service.process is not None}
    server = sandbox.cluster.pid
    return {"edge": sandbox.edge.pid, **pids, "postgres": server, ENGINE_SESSIONS: server}


def _named(name: str, services: Sequence[Service]) -> dict[str, Service]:
    """Return the services by name: the first has the name alone, the next ones a number after it."""
    return {name if number == 1 else f"{name}-{number}": each for number, each in enumerate(services, 1)}


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
    """Return the times to the tickets of the records of which the leg posted a single version."""
    posted = Counter(record for record, _ in {(each.record_id, each.number) for each in leg.sent.versions})
    first = {record: at for record, at in leg.due.items() if posted[record] == 1}
    return ticket_latencies(sandbox.database_url, first)


def _add(sent: Sent, legs: Sequence[Leg]) -> None:
    for leg in legs:
        sent.versions += leg.sent.versions
        sent.acknowledged += leg.sent.acknowledged
        sent.non_2xx += leg.sent.non_2xx


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


SETTINGS = {"track_commit_timestamp": "on"}
"""So that PostgreSQL says when a ticket was committed, instead of a watcher that polls."""


def wal_bytes(database_url: str) -> int:
    """Return how many bytes of write-ahead log the server has written since it exists."""
    return int(_rows(database_url, QUERIES["loadtest/load_wal_bytes"])[0][0])


def ticket_latencies(database_url: str, due: Mapping[str, float]) -> HdrHistogram:
    """Return the times in µs from when each record was due, in seconds since 1970, to its ticket's commit."""
    histogram = new_histogram()
    for record_id, committed_at in _rows(database_url, QUERIES["loadtest/load_tickets"], list(due)):
        microseconds = round((committed_at - due[record_id]) * 1_000_000)
        histogram.record_value(min(HIGHEST_LATENCY_US, max(1, microseconds)))
    return histogram


def table_bytes(database_url: str) -> dict[str, int]:
    """Return the size of each table above 64 KiB with its indexes, the largest first."""
    return {name: int(size) for name, size in _rows(database_url, QUERIES["loadtest/load_table_sizes"])}


def server_version(database_url: str) -> str:
    return str(_rows(database_url, b"SHOW server_version")[0][0])


def _rows(database_url: str, statement: bytes, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as db_connection:
        return db_connection.execute(statement, list(values) or None).fetchall()


MICROSECONDS_PER_MILLISECOND = 1000.0


def milliseconds(histogram: HdrHistogram) -> dict[str, Any]:
    """Return percentiles in milliseconds; None without a value. `n` is the number of values."""
    n = int(histogram.get_total_count())
    shares = {"p50": 50, "p95": 95, "p99": 99, "p99_9": 99.9, "max": 100}
    return {"n": n} | {
        name: round(histogram.get_value_at_percentile(share) / MICROSECONDS_PER_MILLISECOND, 2) if n else None
        for name, share in shares.items()
    }


def write_histograms(path: Path, legs: Sequence[tuple[Leg, Mapping[str, HdrHistogram]]]) -> None:
    """Write one line for each leg and histogram, with its name as tag. Values are in microseconds."""
    with path.open("w") as file:
        writer = HistogramLogWriter(file)
        writer.output_log_format_version()
        writer.output_base_time(0)
        writer.output_legend()
        for leg, histograms in legs:
            for name, histogram in histograms.items():
                histogram.set_start_time_stamp(leg.started_at * 1000)
                histogram.set_end_time_stamp(leg.ended_at * 1000)
                file.write(f"Tag={name}-{leg.per_second:g},")  # the writer leaves tags out
                writer.output_interval_histogram(histogram, max_value_unit_ratio=MICROSECONDS_PER_MILLISECOND)


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


def print_result(result: Mapping[str, Any], console: Console) -> None:
    """Print one row for each rate, then what was lost or duplicated."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
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
    table = Table(*headings, box=None, header_style="bold", padding=(0, 1, 0, 0))
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
    connections: Annotated[int, typer.Option(help="Open connections to the edge.", min=1, max=500)] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the generated leads.")] = 1,
    accounts: Annotated[int, typer.Option(help="How many accounts Diva has before.", min=0)] = 100_000,
    processes: ProcessCount = 1,
    engines: EngineCount = 1,
    held: Annotated[
        int, typer.Option(help="Leads that were held and are drained at 100/s meanwhile.", min=0)
    ] = 0,
    statements: Annotated[
        bool, typer.Option(help="Count what each statement costs, with pg_stat_statements.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML file.")] = None,
    histograms: Annotated[
        Path | None, typer.Option(help="Write the latencies as an HdrHistogram log.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Post leads at a constant rate through edge, engine, handlers and a durable PostgreSQL.

    Each delivery has a due time, from which its latency counts. The time to the ticket ends with its commit,
    as PostgreSQL states it. At the end every lead is looked for in four effects: event, customer, ticket and
    notification. Exit codes: 0 all is well; 1 a lead was lost or duplicated, an answer was not 2xx, a
    delivery was dropped, or p95 at the edge was 1 s or more (with --steps: a lead was lost or duplicated;
    with --held also: p95 to the ticket was above 2 s); 2 it could not run.
    """
    plan = Plan(
        rates=_rates(steps) or [rate],
        seconds=step_seconds if steps else minutes * 60,
        connections=connections,
        seed=seed,
        is_search=bool(steps),
        held=held,
        counts_statements=statements,
    )
    if len(plan.rates) * plan.seconds > MAX_SECONDS:
        raise typer.BadParameter("the whole test is limited to 24 hours")
    for path in filter(None, (html, histograms)):
        if not path.parent.is_dir():
            raise typer.BadParameter(f"the folder {path.parent} does not exist")
    require_edge_packages()
    exit_on_sigterm()
    with (
        Cluster(durable=True, settings=SETTINGS | (COUNTING if statements else {})) as cluster,
        Sandbox(
            cluster, edge_environment={}, accounts=accounts, processes=processes, engines=engines
        ) as sandbox,
    ):
        result, legs = asyncio.run(run(sandbox, plan, Console(stderr=True)))
    if histograms is not None:
        write_histograms(histograms, legs)
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
