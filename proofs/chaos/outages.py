"""`scripts/chaos edge_outage`, `engine_kill`, `handlers_kill`, `edge_flood`: parts stop, die, are flooded."""

import asyncio
import base64
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import httpx
import psycopg
import typer
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ops.waiting import poll
from proofs.bench.environment import SECRET, TOKEN, TOKEN_SHA256, AsJson, serve_in_process
from proofs.chaos.effects import QUERIES, Verdicts, check, check_stream
from proofs.chaos.frame import (
    ProcessCount,
    Rate,
    Seed,
    begin,
    counted,
    events_by_process,
    finish,
    wait_until_final,
)
from proofs.sender import Stream, flood
from sandbox.edge import FOLDERS, EdgeSettings, NginxEdge
from sandbox.postgres.server import Cluster
from sandbox.processes import Processes, Service, bring_up
from sandbox.stack.stack import Sandbox

NORMAL_OPERATION_SECONDS = 3.0
MAX_PROCESSING_SECONDS = 1800.0
"""Enough to drain the spool and process every event on a slow machine."""
MAX_LEAD_SECONDS = 90.0
"""For the slowest lead after a kill, from its arrival to its ticket."""
MAX_WAIT_SECONDS = 300.0
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
CONNECTION = "bench"


def edge_outage(
    seconds: Annotated[float, typer.Option(help="How long each of the three outages lasts.", min=1)] = 60,
    rate: Rate = 100,
    seed: Seed = 1,
    processes: ProcessCount = 1,
    as_json: AsJson = False,
) -> None:
    """Stop Hasura, then the handlers, then PostgreSQL, and start all again while leads continue to arrive.

    No lead may be lost or duplicated, no answer may be an error, every ticket must show the newest version.
    """
    console = begin()
    with (
        Cluster(durable=True) as cluster,
        Sandbox(cluster, edge_environment={}, processes=processes) as sandbox,
    ):
        stream = Stream(sandbox.webhook_url, rate, seed)
        result = asyncio.run(_stop_and_restart(sandbox, cluster, console, seconds, stream))
    finish("edge_outage", result, as_json)


async def _stop_and_restart(
    sandbox: Sandbox, cluster: Cluster, console: Console, seconds: float, stream: Stream
) -> dict[str, Any]:
    """Return the result: valid only if deliveries took every path, Hasura, handlers and spool."""
    assert isinstance(sandbox.edge, NginxEdge)
    edge, started = sandbox.edge, time.monotonic()
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
    await wait_until_final(sandbox, console, MAX_PROCESSING_SECONDS)
    left = sum(len(edge.held(folder)) for folder in FOLDERS)
    verdicts = check_stream(sandbox.database_url, sandbox.notifications_url, stream.sent)
    by_path = {path: edge.taken(path) for path in ("hasura", "handlers")}
    spooled = stream.sent.answers.get("spooled", 0)
    result = counted(stream.sent, verdicts, events_by_process(sandbox))
    return {
        **result, "spooled": spooled, "by_path": by_path, "spool_left": left,
        "answers": stream.sent.answers, "slowest_answer_ms": round(stream.sent.slowest_ms),
        "seconds": round(time.monotonic() - started, 1),
        "ok": result["ok"] and left == 0 and all((spooled, *by_path.values())),
    }  # fmt: skip


def _stop_handlers(sandbox: Sandbox) -> None:
    for process in sandbox.replicas:
        process.stop()


def _restart(sandbox: Sandbox, cluster: Cluster) -> None:
    cluster.start()
    bring_up(sandbox.hasura, *sandbox.replicas)


def engine_kill(
    kills: Annotated[int, typer.Option(help="How often Hasura is killed.", min=1)] = 4,
    pause: Annotated[float, typer.Option(help="Seconds between two kills.", min=1)] = 47,
    rate: Rate = 20,
    seed: Seed = 1,
    processes: ProcessCount = 1,
    as_json: AsJson = False,
) -> None:
    """Kill Hasura with SIGKILL while it delivers events, and start it again, several times.

    No lead may be lost or duplicated, and the slowest may take 90 s. The crons run in real time.
    """
    result = _kill_often(
        lambda sandbox: [sandbox.hasura], QUERIES["outages/count_locked"], kills, pause, rate, seed, processes
    )
    finish("engine_kill", result, as_json)


def handlers_kill(
    kills: Annotated[int, typer.Option(help="How often the handlers are killed.", min=1)] = 4,
    pause: Annotated[float, typer.Option(help="Seconds between two kills.", min=1)] = 47,
    rate: Rate = 20,
    seed: Seed = 1,
    processes: ProcessCount = 1,
    as_json: AsJson = False,
) -> None:
    """Kill the handlers with SIGKILL while they process events, and start them again, several times.

    No lead may be lost or duplicated, and the slowest may take 90 s. The crons run in real time.
    """
    result = _kill_often(
        lambda sandbox: sandbox.replicas,
        QUERIES["outages/count_claimed"],
        kills,
        pause,
        rate,
        seed,
        processes,
    )
    finish("handlers_kill", result, as_json)


def _kill_often(
    services: Callable[[Sandbox], Sequence[Service]],
    count_events: bytes,
    kills: int,
    pause_seconds: float,
    rate: float,
    seed: int,
    processes: int,
) -> dict[str, Any]:
    """Send leads to a sandbox whose services are killed; `count_events` counts what they work on."""
    console = begin()
    with Sandbox(edge_environment={}, processes=processes) as sandbox:
        stream = Stream(sandbox.webhook_url, rate, seed)
        kill = partial(_kill_during, sandbox, services(sandbox), count_events)
        return asyncio.run(_kill_again_and_again(sandbox, console, kills, pause_seconds, stream, kill))


async def _kill_again_and_again(
    sandbox: Sandbox,
    console: Console,
    kills: int,
    pause_seconds: float,
    stream: Stream,
    kill: Callable[[], int],
) -> dict[str, Any]:
    """Return the result: valid only if a kill interrupted the work on events."""
    posting = asyncio.create_task(stream.run())
    left: list[int] = []
    for number in range(1, kills + 1):
        await asyncio.sleep(pause_seconds if number > 1 else 5)
        console.print(f"killing, {number} of {kills} ...")
        left.append(await asyncio.to_thread(kill))
    stream.stop()
    await posting
    await wait_until_final(sandbox, console, MAX_WAIT_SECONDS)
    with psycopg.connect(sandbox.database_url) as db_connection:
        slowest_seconds, late = _read_row(db_connection, QUERIES["outages/load_slowest"])
    verdicts = check_stream(sandbox.database_url, sandbox.notifications_url, stream.sent)
    result = counted(stream.sent, verdicts, await asyncio.to_thread(events_by_process, sandbox))
    return {
        **result, "slowest_lead_seconds": round(slowest_seconds or 0, 1), "left": left,
        "ok": result["ok"] and any(left) and (slowest_seconds or 0) <= MAX_LEAD_SECONDS,
        "slower_than_15_seconds": late,
    }  # fmt: skip


def _kill_during(sandbox: Sandbox, services: Sequence[Service], count_events: bytes) -> int:
    """Kill the services while they work on events, start them again; return how many events they left."""
    with psycopg.connect(sandbox.database_url, autocommit=True) as db_connection:
        for _ in poll(MAX_WAIT_SECONDS, 0.002):
            if _read_row(db_connection, count_events)[0]:
                break
        for service in services:
            service.kill()
        (left,) = _read_row(db_connection, count_events)
    bring_up(*services)
    return int(left)


def _read_row(db_connection: psycopg.Connection, statement: bytes) -> tuple[Any, ...]:
    (row,) = db_connection.execute(statement).fetchall()
    return row


def edge_flood(
    rate: Annotated[
        float, typer.Option(help="Deliveries per second of the flood; the limit is 1,000.")
    ] = 1500,
    seconds: Annotated[float, typer.Option(help="How long each flood lasts.", min=2)] = 4,
    as_json: AsJson = False,
) -> None:
    """Flood the edge from one address with a valid token, then without one, beside a sender within its limit.

    With a valid token the edge answers 429 until half of the suspension budget is spent, then it spools;
    nothing is lost. Without one it answers 429 and spends no budget. The other sender is not affected, and
    the log stays small.
    """
    begin()
    with serve_in_process(create_upstream) as url, Processes() as processes:
        edge = NginxEdge(processes, EdgeSettings(url, url, "jwt", SECRET))
        edge.bring_up()
        result = asyncio.run(_flood(edge, url, rate, seconds))
    finish("edge_flood", result, as_json)


async def _flood(edge: NginxEdge, url: str, rate_per_second: float, seconds: float) -> dict[str, Any]:
    started = time.monotonic()
    sent_valid, sent_neighbour = await asyncio.gather(
        flood(edge.url, lambda _: TOKEN, rate_per_second, seconds, "127.0.0.1", 40),
        flood(edge.url, lambda _: TOKEN, NEIGHBOUR_PER_SECOND, seconds, "127.0.0.2", 40),
    )
    used = _budget_used(edge)
    sent_strangers = await flood(
        edge.url, lambda number: f"stranger-{number}", rate_per_second, seconds, "127.0.0.3", 400
    )
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


def _budget_used(edge: NginxEdge) -> int:
    return int(edge.metric(f'pancake_edge_budget_used{{connection="{CONNECTION}"}}'))


def _wait_drained(edge: NginxEdge) -> None:
    for _ in poll(MAX_DRAIN_SECONDS, 0.1):
        if not edge.held():
            return


def create_upstream() -> Starlette:
    """Create Hasura's endpoint, the handlers' policy, and `/taken`: the bodies as they arrived."""
    taken: list[str] = []
    token = {"sha256": TOKEN_SHA256, "expires_at": None}
    connection = {"id": CONNECTION, "token_sha256": [token], "signature_mode": "off", "allowlist_mode": "off"}

    async def record(request: Request) -> Response:
        taken.append(base64.b64decode((await request.json())["raw"]).decode())
        answer = {"status": "received", "event_id": len(taken), "error_code": None}
        return JSONResponse({"pancake_ingest_record": answer})

    async def policy(request: Request) -> Response:
        return JSONResponse({"version": "1", "connections": [connection]})

    async def bodies(request: Request) -> Response:
        return JSONResponse(taken)

    return Starlette(
        routes=[
            Route("/api/rest/pancake/record", record, methods=["POST"]),
            Route("/edge/policy", policy),
            Route("/taken", bodies),
        ]
    )
