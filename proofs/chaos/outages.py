"""`scripts/chaos edge_outage`, `engine_kill`, `edge_flood`: parts stop, die or are flooded."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import psycopg
import typer
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ops.golive.commit import commit_of_run
from ops.waiting import poll
from proofs.bench.environment import SECRET, TOKEN, serve_in_process
from proofs.chaos.effects import Verdicts, check, check_stream, count_unfinished
from proofs.chaos.flood import Flood, flood
from proofs.chaos.stream import Sent, Stream
from sandbox.edge import EdgeSettings, NginxEdge, require_edge_packages
from sandbox.postgres.server import Cluster
from sandbox.processes import Processes
from sandbox.serving import scrape
from sandbox.stack.signals import exit_on_sigterm
from sandbox.stack.stack import Sandbox


def proof(scenario: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result with the scenario as its kind, the present time, and the commit of the clone."""
    return {"kind": scenario, "at": datetime.now(UTC).isoformat(), "commit": commit_of_run(), **result}


ProcessCount = Annotated[
    int, typer.Option(help="How many processes of the handlers run behind the one engine.", min=1, max=8)
]


def events_by_process(sandbox: Sandbox) -> list[int]:
    """Return how many deliveries of events each process of the handlers answered since its start."""
    return [
        int(sum(each.value for each in scrape(process.url) if each.name == "pancake_events_total"))
        for process in sandbox.replicas
    ]


NORMAL_OPERATION_SECONDS = 3.0
MAX_PROCESSING_SECONDS = 1800.0
"""Enough to drain the spool and process every event on a slow machine."""


def edge_outage(
    seconds: Annotated[float, typer.Option(help="How long each of the three outages lasts.", min=1)] = 60,
    rate: Annotated[float, typer.Option(help="Deliveries per second.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the generated leads.")] = 1,
    processes: ProcessCount = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Stop Hasura, then the handlers, then PostgreSQL, and start all again while leads continue to arrive.

    No lead may be lost or duplicated, no answer may be an error, every ticket must show the newest version.
    """
    require_edge_packages()
    exit_on_sigterm()
    console = Console(stderr=True)
    with (
        Cluster(durable=True) as cluster,
        Sandbox(cluster, edge_environment={}, processes=processes) as sandbox,
    ):
        result = asyncio.run(_stop_and_restart(sandbox, cluster, console, (seconds, rate, seed)))
    if as_json:
        typer.echo(json.dumps(proof("edge_outage", result)))
    else:
        Console().print(result)
    if not result["ok"]:
        raise typer.Exit(1)


async def _stop_and_restart(
    sandbox: Sandbox, cluster: Cluster, console: Console, plan: tuple[float, float, int]
) -> dict[str, Any]:
    seconds, rate, seed = plan
    assert isinstance(sandbox.edge, NginxEdge)
    started = time.monotonic()
    stream = Stream(sandbox.webhook_url, rate, seed)
    posting = asyncio.create_task(stream.run())
    await asyncio.sleep(NORMAL_OPERATION_SECONDS)
    stops = {
        "Hasura": sandbox.hasura.stop,
        "the handlers": lambda: _stop_handlers(sandbox),
        "PostgreSQL": cluster.stop,
    }
    for name, stop in stops.items():
        console.print(f"stopping {name} ...")
        await asyncio.to_thread(stop)
        await asyncio.sleep(seconds)
    console.print("starting everything again ...")
    await asyncio.to_thread(_restart, sandbox, cluster)
    await asyncio.sleep(NORMAL_OPERATION_SECONDS)
    stream.stop()
    await posting
    left = await _wait_until_drained(sandbox, console)
    verdicts = check_stream(sandbox.database_url, sandbox.notifications_url, stream.sent)
    by_path = {path: sandbox.edge.taken(path) for path in ("hasura", "handlers")}
    by_process = events_by_process(sandbox)
    return _result_of_outage(stream.sent, verdicts, left, (by_path, by_process), time.monotonic() - started)


def _stop_handlers(sandbox: Sandbox) -> None:
    for process in sandbox.replicas:
        process.stop()


def _restart(sandbox: Sandbox, cluster: Cluster) -> None:
    cluster.start()
    services = (sandbox.hasura, *sandbox.replicas)
    for service in services:
        service.start()
    for service in services:
        service.wait_ready()


async def _wait_until_drained(sandbox: Sandbox, console: Console) -> int:
    """Wait until the spool is empty and every event final; return the number of files left in the spool."""
    assert isinstance(sandbox.edge, NginxEdge)
    deadline = time.monotonic() + MAX_PROCESSING_SECONDS
    with console.status("draining and processing ...") as status:
        while time.monotonic() < deadline:
            spooled = len(sandbox.edge.held()) + len(sandbox.edge.held("unknown"))
            waiting = await asyncio.to_thread(count_unfinished, sandbox.database_url)
            status.update(f"{spooled} files in the spool, {waiting} events unfinished ...")
            if spooled == 0 and waiting == 0:
                break
            await asyncio.sleep(0.5)
    return sum(len(sandbox.edge.held(folder)) for folder in ("spool", "unknown", "quarantine"))


def _result_of_outage(
    sent: Sent, verdicts: Verdicts, left: int, shares: tuple[dict[str, int], list[int]], seconds: float
) -> dict[str, Any]:
    """Return the result. It is valid only if deliveries took every path, Hasura, handlers and spool, and
    every process had a share of the events.
    """
    by_path, by_process = shares
    spooled = sent.answers.get("spooled", 0)
    is_complete = not sent.non_2xx and left == 0 and all((spooled, *by_path.values(), *by_process))
    return {
        "sent": len(sent.versions),
        **verdicts.as_json(),
        "non_2xx": sent.non_2xx,
        "spooled": spooled,
        "by_path": by_path,
        "by_process": by_process,
        "spool_left": left,
        "answers": sent.answers,
        "slowest_answer_ms": round(sent.slowest_ms),
        "seconds": round(seconds, 1),
        "ok": verdicts.is_valid and is_complete,
    }


MAX_LEAD_SECONDS = 100.0
"""For the slowest lead, from its arrival to its ticket."""
MAX_WAIT_SECONDS = 300.0
_LOCKED = "SELECT count(*) FROM hdb_catalog.event_log WHERE locked IS NOT NULL"
_SLOWEST = (
    "SELECT extract(epoch FROM max(processed_at - created_at))::float8,"
    " count(*) FILTER (WHERE processed_at > created_at + interval '15 seconds')"
    " FROM pancake_webhook_event WHERE status = 'processed'"
)


def engine_kill(
    kills: Annotated[int, typer.Option(help="How often Hasura is killed.", min=1)] = 4,
    pause: Annotated[float, typer.Option(help="Seconds between two kills.", min=1)] = 47,
    rate: Annotated[float, typer.Option(help="Deliveries per second.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the generated leads.")] = 1,
    processes: ProcessCount = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Kill Hasura with SIGKILL while it delivers events, and start it again, several times.

    No lead may be lost or duplicated, and the slowest may take 100 s. The crons run in real time.
    """
    require_edge_packages()
    exit_on_sigterm()
    console = Console(stderr=True)
    with Sandbox(edge_environment={}, processes=processes) as sandbox:
        result = asyncio.run(
            _kill_again_and_again(sandbox, console, (kills, pause), Stream(sandbox.webhook_url, rate, seed))
        )
    if as_json:
        typer.echo(json.dumps(proof("engine_kill", result)))
    else:
        Console().print(result)
    if not result["ok"]:
        raise typer.Exit(1)


async def _kill_again_and_again(
    sandbox: Sandbox, console: Console, plan: tuple[int, float], stream: Stream
) -> dict[str, Any]:
    kills, pause_seconds = plan
    posting = asyncio.create_task(stream.run())
    locked: list[int] = []
    for number in range(1, kills + 1):
        await asyncio.sleep(pause_seconds if number > 1 else 5)
        console.print(f"killing Hasura, {number} of {kills} ...")
        locked.append(await asyncio.to_thread(_kill_while_delivering, sandbox))
    stream.stop()
    await posting
    await _wait_until_final(sandbox, console)
    slowest_seconds, late = await asyncio.to_thread(_read_slowest, sandbox.database_url)
    verdicts = check_stream(sandbox.database_url, sandbox.notifications_url, stream.sent)
    by_process = await asyncio.to_thread(events_by_process, sandbox)
    return {
        **_result_of_kills(stream.sent, verdicts, (locked, by_process), slowest_seconds),
        "slower_than_15_seconds": late,
    }


def _kill_while_delivering(sandbox: Sandbox) -> int:
    """Kill Hasura as soon as it has locked events, start it again, and return how many it left locked."""
    with psycopg.connect(sandbox.database_url, autocommit=True) as db_connection:
        for _ in poll(MAX_WAIT_SECONDS, 0.002):
            if _count_locked(db_connection):
                break
        sandbox.hasura.kill()
        locked = _count_locked(db_connection)
    sandbox.hasura.start()
    sandbox.hasura.wait_ready()
    return locked


def _count_locked(db_connection: psycopg.Connection[Any]) -> int:
    row = db_connection.execute(_LOCKED).fetchone()
    assert row is not None
    return int(row[0])


async def _wait_until_final(sandbox: Sandbox, console: Console) -> None:
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    with console.status("processing ...") as status:
        while time.monotonic() < deadline:
            waiting = await asyncio.to_thread(count_unfinished, sandbox.database_url)
            status.update(f"{waiting} events unfinished ...")
            if waiting == 0:
                return
            await asyncio.sleep(0.5)


def _read_slowest(database_url: str) -> tuple[float, int]:
    """Return the seconds of the slowest lead, and how many took more than 15 s."""
    with psycopg.connect(database_url) as db_connection:
        row = db_connection.execute(_SLOWEST).fetchone()
    assert row is not None
    return float(row[0] or 0), int(row[1])


def _result_of_kills(
    sent: Sent, verdicts: Verdicts, counts: tuple[list[int], list[int]], slowest_seconds: float
) -> dict[str, Any]:
    """Return the result. It is valid only if a kill left events locked, and every process had a share."""
    locked, by_process = counts
    is_in_time = any(locked) and slowest_seconds <= MAX_LEAD_SECONDS
    return {
        "sent": len(sent.versions),
        **verdicts.as_json(),
        "non_2xx": sent.non_2xx,
        "slowest_lead_seconds": round(slowest_seconds, 1),
        "left_locked": locked,
        "by_process": by_process,
        "ok": verdicts.is_valid and not sent.non_2xx and is_in_time and all(by_process),
    }


MAX_REFUSALS = 150
"""Half of the suspension budget of the edge."""
NEIGHBOUR_PER_SECOND = 50.0
MAX_LOG_LINES_PER_SECOND = 200
"""Of each outcome."""
LOGGED_OUTCOMES = 4
"""Three outcomes of the flood with a valid token, and one for all requests without."""
MAX_DRAIN_SECONDS = 120.0
MIN_RATE_SHARE = 0.98
"""Share of the requested rate that the load generator must reach for a valid result."""


def edge_flood(
    rate: Annotated[
        float, typer.Option(help="Deliveries per second of the flood; the limit is 1,000.")
    ] = 1500,
    seconds: Annotated[float, typer.Option(help="How long each flood lasts.", min=2)] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Flood the edge from one address with a valid token, then without one, beside a sender within its limit.

    With a valid token the edge answers 429 until half of the suspension budget is spent, then it spools;
    nothing is lost. Without one it answers 429 and spends no budget. The other sender is not affected, and
    the log stays small.
    """
    require_edge_packages()
    exit_on_sigterm()
    with serve_in_process(create_upstream) as url, Processes() as processes:
        edge = NginxEdge(processes, EdgeSettings(url, url, "jwt", SECRET))
        edge.bring_up()
        result = asyncio.run(_flood(edge, url, rate, seconds))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)
    if not result["ok"]:
        raise typer.Exit(1)


async def _flood(edge: NginxEdge, url: str, rate_per_second: float, seconds: float) -> dict[str, Any]:
    started = time.monotonic()
    sent_valid, sent_neighbour = await asyncio.gather(
        _post(edge, rate_per_second, seconds, "127.0.0.1", valid=True),
        _post(edge, NEIGHBOUR_PER_SECOND, seconds, "127.0.0.2", valid=True),
    )
    used = _budget_used(edge)
    sent_strangers = await _post(edge, rate_per_second, seconds, "127.0.0.3", valid=False)
    elapsed_seconds = time.monotonic() - started
    await asyncio.to_thread(_wait_drained, edge)
    taken = await asyncio.to_thread(lambda: httpx.get(f"{url}/taken").json())
    floods = (sent_valid, sent_neighbour, sent_strangers)
    verdict = check(
        (body for flood in floods for body in flood.sent),
        (body for flood in floods for body in flood.kept),
        taken,
    )
    valid, neighbour, strangers = sent_valid.answers, sent_neighbour.answers, sent_strangers.answers
    lines = edge.access_log().count("\n")
    slowest = min(sent_valid.per_second, sent_strangers.per_second)
    checks = {
        "sent_as_fast_as_asked": slowest >= MIN_RATE_SHARE * rate_per_second,
        "excess_is_429_within_budget": valid["429 rate_limited"] == MAX_REFUSALS == used,
        "then_spooled_and_nothing_else": set(valid) == {"429 rate_limited", "200 received", "200 spooled"},
        "nothing_lost_or_doubled": verdict.is_valid and not verdict.recovered,
        "neighbour_unaffected": set(neighbour) == {"200 received"},
        "strangers_429": set(strangers) == {"200 unknown_token", "429 rate_limited"},
        "strangers_spend_nothing": _budget_used(edge) == used,
        "log_bounded": lines <= MAX_LOG_LINES_PER_SECOND * LOGGED_OUTCOMES * (elapsed_seconds + 2),
    }
    return {
        "sent": sum((valid + neighbour + strangers).values()), **Verdicts({"delivery": verdict}).as_json(),
        "valid": dict(valid), "neighbour": dict(neighbour), "strangers": dict(strangers),
        "valid_per_second": round(sent_valid.per_second),
        "strangers_per_second": round(sent_strangers.per_second), "budget_used": used,
        "log_lines": lines, "log_bytes": len(edge.access_log()) + len(edge.errors()),
        "checks": checks, "ok": all(checks.values()),
    }  # fmt: skip


async def _post(
    edge: NginxEdge, rate_per_second: float, seconds: float, address: str, *, valid: bool
) -> Flood:
    return await flood(
        edge.url,
        (lambda _: TOKEN) if valid else (lambda number: f"stranger-{number}"),
        lambda number: f"{address} {number}".encode(),
        rate_per_second=rate_per_second, seconds=seconds, address=address, connections=40 if valid else 400,
    )  # fmt: skip


def _budget_used(edge: NginxEdge) -> int:
    return int(edge.metric(f'pancake_edge_budget_used{{connection="{CONNECTION}"}}'))


def _wait_drained(edge: NginxEdge) -> None:
    for _ in poll(MAX_DRAIN_SECONDS, 0.1):
        if not edge.held():
            return


CONNECTION = "bench"
POLICY = {
    "version": "1",
    "connections": [
        {
            "id": CONNECTION,
            "token_sha256": [{"sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "expires_at": None}],
            "signature_mode": "off",
            "allowlist_mode": "off",
        }
    ],
}


def create_upstream() -> Starlette:
    """Create Hasura's endpoint, the handlers' policy, and `/taken`: the bodies as they arrived."""
    taken: list[str] = []

    async def record(request: Request) -> Response:
        taken.append(base64.b64decode((await request.json())["raw"]).decode())
        answer = {"status": "received", "event_id": len(taken), "error_code": None}
        return JSONResponse({"pancake_ingest_record": answer})

    async def policy(request: Request) -> Response:
        return JSONResponse(POLICY)

    async def bodies(request: Request) -> Response:
        return JSONResponse(taken)

    return Starlette(
        routes=[
            Route("/api/rest/pancake/record", record, methods=["POST"]),
            Route("/edge/policy", policy),
            Route("/taken", bodies),
        ]
    )
