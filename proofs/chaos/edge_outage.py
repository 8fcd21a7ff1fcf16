"""`scripts/chaos edge_outage`: Hasura, the handlers and PostgreSQL stop while leads continue to arrive."""

import asyncio
import json
import time
from typing import Annotated, Any

import typer
from rich.console import Console

from proofs.chaos.checker import Verdicts
from proofs.chaos.effects import count_unfinished
from proofs.chaos.processes import ProcessCount, events_by_process
from proofs.chaos.proof import proof
from proofs.chaos.stream import Sent, Stream
from proofs.chaos.stream_effects import check_stream
from sandbox.edge.nginx import NginxEdge
from sandbox.edge.packages import require_edge_packages
from sandbox.postgres.server import Cluster
from sandbox.stack.signals import exit_on_sigterm
from sandbox.stack.stack import Sandbox

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
        result = asyncio.run(_run(sandbox, cluster, console, (seconds, rate, seed)))
    if as_json:
        typer.echo(json.dumps(proof("edge_outage", result)))
    else:
        Console().print(result)
    if not result["ok"]:
        raise typer.Exit(1)


async def _run(
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
    left = await _wait_until_final(sandbox, console)
    verdicts = check_stream(sandbox.database_url, sandbox.notifications_url, stream.sent)
    by_path = {path: sandbox.edge.taken(path) for path in ("hasura", "handlers")}
    by_process = events_by_process(sandbox)
    return _result(stream.sent, verdicts, left, (by_path, by_process), time.monotonic() - started)


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


async def _wait_until_final(sandbox: Sandbox, console: Console) -> int:
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


def _result(
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
