"""`scripts/chaos edge_outage`, `kill`, `edge_flood`: parts stop, die, are flooded."""

import asyncio
import base64
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import httpx
import psycopg
import typer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ops.waiting import poll
from proofs.bench.environment import SECRET, TOKEN, AsJson, serve_in_process, upstream_of_edge
from proofs.chaos.effects import QUERIES, Verdicts, check
from proofs.chaos.frame import ProcessCount, Rate, Seed, begin, finish, run_leads, under_load
from proofs.incidents.faults import Break, Installation, by, project_without_ours
from proofs.sender import Leg, Stream, send, versions
from sandbox.edge import FOLDERS, EdgeSettings, NginxEdge
from sandbox.postgres.server import Cluster
from sandbox.processes import Processes, Service, bring_up
from sandbox.stack.stack import Sandbox

NORMAL_OPERATION_SECONDS = 3.0
MAX_LEAD_SECONDS = 90.0
"""For the slowest lead after a kill, from its arrival to its ticket."""
MAX_WAIT_SECONDS = 300.0
WAITING_PER_SECOND = 300.0
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

    async def stop_and_restart() -> None:
        await asyncio.sleep(NORMAL_OPERATION_SECONDS)
        parts: dict[str, Sequence[Service | Cluster]] = {
            "Hasura": [sandbox.hasura], "the handlers": sandbox.replicas, "PostgreSQL": [cluster],
        }  # fmt: skip
        for name, stopped in parts.items():
            console.print(f"stopping {name} ...")
            for part in stopped:
                await asyncio.to_thread(part.stop)
            await asyncio.sleep(seconds)
        console.print("starting everything again ...")
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(bring_up, sandbox.hasura, *sandbox.replicas)
        await asyncio.sleep(NORMAL_OPERATION_SECONDS)

    with (
        Cluster(durable=True) as cluster,
        Sandbox(cluster, edge_environment={}, processes=processes) as sandbox,
    ):
        started, edge = time.monotonic(), sandbox.edge
        assert isinstance(edge, NginxEdge)
        stream = Stream(sandbox.webhook_url, rate, seed)
        _, result = asyncio.run(under_load(sandbox, stream, console, stop_and_restart))
        left = sum(len(edge.held(folder)) for folder in FOLDERS)
        by_path = {path: edge.taken(path) for path in ("hasura", "handlers")}
    spooled = stream.sent.answers.get("spooled", 0)
    result |= {
        "spooled": spooled, "by_path": by_path, "spool_left": left, "answers": stream.sent.answers,
        "slowest_answer_ms": round(stream.sent.slowest_ms), "seconds": round(time.monotonic() - started, 1),
        # Valid only if deliveries took every path: Hasura, handlers and spool.
        "ok": result["ok"] and left == 0 and all((spooled, *by_path.values())),
    }  # fmt: skip
    finish("edge_outage", result, as_json)


class Kill(StrEnum):
    """What ends, and how."""

    ENGINE = "engine"
    ENGINE_STOP = "engine-stop"
    HANDLERS = "handlers"
    POSTGRES = "postgres"
    WIPE = "wipe"


def _without(find: Callable[[Sandbox], Sequence[Service]], end: Callable[[Service], None]) -> Break:
    def end_all(system: Installation) -> None:
        for service in find(system.sandbox):
            end(service)

    return by(end_all, lambda system: bring_up(*find(system.sandbox)))


def _recover(system: Installation) -> None:
    with TemporaryDirectory() as backups:
        run_leads(system.sandbox, "metadata", "recover", "--backups", backups)


BREAKS: Mapping[Kill, Break] = {
    Kill.ENGINE: _without(lambda sandbox: sandbox.engines, Service.kill),
    Kill.ENGINE_STOP: _without(lambda sandbox: sandbox.engines, Service.stop),
    Kill.HANDLERS: _without(lambda sandbox: sandbox.replicas, Service.kill),
    Kill.POSTGRES: by(
        lambda system: system.sandbox.cluster.stop(crash=True), lambda system: system.sandbox.cluster.start()
    ),
    Kill.WIPE: by(lambda system: system.metadata("replace_metadata", project_without_ours()), _recover),
}
LEFT = {
    Kill.ENGINE: "locked", Kill.ENGINE_STOP: "received", Kill.HANDLERS: "claimed", Kill.POSTGRES: "locked",
    Kill.WIPE: "received",
}  # fmt: skip
"""In which state a kill leaves the rows that were worked on."""


def kill(
    kind: Annotated[Kill, typer.Argument(help="What ends, and how.")],
    kills: Annotated[int, typer.Option(help="How often.", min=1)] = 3,
    pause: Annotated[float, typer.Option(help="Seconds between two kills.", min=1)] = 40,
    away: Annotated[float, typer.Option(help="Seconds until it is back.", min=0)] = 5,
    waiting: Annotated[int, typer.Option(help="Leads that wait for Hasura before.", min=0)] = 0,
    rate: Rate = 20,
    seed: Seed = 1,
    processes: ProcessCount = 1,
    as_json: AsJson = False,
) -> None:
    """Kill Hasura, stop it by SIGTERM, kill the handlers, crash PostgreSQL or wipe our metadata, at work.

    No lead may be lost or duplicated, and the slowest may take 90 s; with --waiting those that a kill left
    may take 90 s from the kill. The crons run in real time.
    """
    console = begin()

    async def kill_often() -> list[tuple[datetime, list[int]]]:
        left = []
        for number in range(1, kills + 1):
            await asyncio.sleep(pause if number > 1 else NORMAL_OPERATION_SECONDS)
            console.print(f"{kind}, {number} of {kills} ...")
            left.append(await asyncio.to_thread(_kill_during, sandbox, kind, away))
        return left

    async def run() -> tuple[list[tuple[datetime, list[int]]], dict[str, Any]]:
        if waiting:
            await _let_wait(sandbox, stream, waiting)
        return await under_load(sandbox, stream, console, kill_often)

    with Sandbox(edge_environment={}, processes=processes) as sandbox:
        stream = Stream(sandbox.webhook_url, rate, seed)
        left, result = asyncio.run(run())
        with psycopg.connect(sandbox.database_url) as db_connection:
            ((slowest, late),) = db_connection.execute(QUERIES["outages/load_slowest"]).fetchall()
            slowest_left = max(
                db_connection.execute(QUERIES["outages/load_slowest_left"], [at, ids]).fetchall()[0][0]
                for at, ids in left
            )
    bounded = slowest_left if waiting else slowest
    result |= {
        "killed": kind, "left": [len(ids) for _, ids in left], "waiting": waiting,
        "slowest_lead_seconds": round(slowest, 1), "slowest_left_seconds": round(slowest_left, 1),
        "slower_than_15_seconds": late,
        # Valid only if a kill interrupted the work on events.
        "ok": result["ok"] and slowest_left > 0 and bounded <= MAX_LEAD_SECONDS,
    }  # fmt: skip
    finish("kill", result, as_json)


async def _let_wait(sandbox: Sandbox, stream: Stream, number: int) -> None:
    """Post about so many leads while Hasura is stopped: they wait for it."""
    with BREAKS[Kill.ENGINE_STOP](Installation(sandbox)):
        posting = asyncio.create_task(stream.run(WAITING_PER_SECOND))
        await asyncio.sleep(number / WAITING_PER_SECOND)
        stream.stop()
        await posting


def _kill_during(sandbox: Sandbox, kind: Kill, away_seconds: float) -> tuple[datetime, list[int]]:
    """End a part while it works on events, bring it back; return when, and the ids of the rows it left."""

    def list_left(db_connection: psycopg.Connection) -> list[int]:
        return [id_ for (id_,) in db_connection.execute(QUERIES[f"outages/list_{LEFT[kind]}"])]

    with psycopg.connect(sandbox.database_url, autocommit=True) as db_connection:
        for _ in poll(MAX_WAIT_SECONDS, 0.002):
            if list_left(db_connection):
                break
        with BREAKS[kind](Installation(sandbox)):
            at = datetime.now(UTC)
            time.sleep(away_seconds)
            if kind is not Kill.POSTGRES:
                return at, list_left(db_connection)
    with psycopg.connect(sandbox.database_url) as db_connection:
        return at, list_left(db_connection)


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
    started, generated, path = time.monotonic(), versions(1), f"{edge.url}/api/pancake/record"
    rates = (rate_per_second, NEIGHBOUR_PER_SECOND, rate_per_second)
    valid, neighbour, strangers = floods = [Leg(rate, seconds, is_doubled=False) for rate in rates]
    await asyncio.gather(
        send(valid, f"{path}/{TOKEN}", generated, 40, source="127.0.0.1"),
        send(neighbour, f"{path}/{TOKEN}", generated, 40, source="127.0.0.2"),
    )
    used = _budget_used(edge)
    await send(strangers, f"{path}/stranger-{{number}}", generated, 400, source="127.0.0.3")
    elapsed_seconds = time.monotonic() - started
    await asyncio.to_thread(_wait_drained, edge)
    taken = await asyncio.to_thread(lambda: httpx.get(f"{url}/taken").json())
    verdict = check(
        (version.body.decode() for flood in floods for version in flood.sent.versions),
        (version.body.decode() for flood in (valid, neighbour) for version in flood.sent.acknowledged),
        taken,
    )
    lines = edge.access_log().count("\n")
    slowest = min(valid.offered_per_second, strangers.offered_per_second)
    answers = {name: flood.sent.answers for name, flood in zip(
        ("valid", "neighbour", "strangers"), floods, strict=True
    )}  # fmt: skip
    checks = {
        "sent_as_fast_as_asked": slowest >= MIN_RATE_SHARE * rate_per_second,
        "excess_is_429_within_budget": answers["valid"].get("429") == MAX_REFUSALS == used,
        "then_spooled_and_nothing_else": set(answers["valid"]) == {"429", "received", "spooled"},
        "nothing_lost_or_doubled": verdict.is_valid and not verdict.recovered,
        "neighbour_unaffected": set(answers["neighbour"]) == {"received"},
        "strangers_429": set(answers["strangers"]) == {"unknown_token", "429"},
        "strangers_spend_nothing": _budget_used(edge) == used,
        "log_bounded": lines <= MAX_LOG_LINES_PER_SECOND * LOGGED_OUTCOMES * (elapsed_seconds + 2),
    }
    return {
        "sent": sum(flood.offered for flood in floods), **Verdicts({"delivery": verdict}).as_json(),
        **answers,
        "valid_per_second": round(valid.offered_per_second),
        "strangers_per_second": round(strangers.offered_per_second), "budget_used": used,
        "log_lines": lines, "log_bytes": len(edge.access_log()) + len(edge.errors()),
        "checks": checks, "ok": all(checks.values()),
    }  # fmt: skip


def _budget_used(edge: NginxEdge) -> int:
    return int(edge.metric('pancake_edge_budget_used{connection="bench"}'))


def _wait_drained(edge: NginxEdge) -> None:
    for _ in poll(MAX_DRAIN_SECONDS, 0.1):
        if not edge.held():
            return


def create_upstream() -> Starlette:
    """Create what the edge calls, and `/taken`: the bodies as they arrived."""
    taken: list[str] = []

    async def record(request: Request) -> Response:
        taken.append(base64.b64decode((await request.json())["raw"]).decode())
        answer = {"status": "received", "event_id": len(taken), "error_code": None}
        return JSONResponse({"pancake_ingest_record": answer})

    async def bodies(_: Request) -> Response:
        return JSONResponse(taken)

    return upstream_of_edge(record, Route("/taken", bodies), signature_mode="off", allowlist_mode="off")
