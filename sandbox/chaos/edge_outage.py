"""`scripts/chaos edge_outage`: Hasura stops, then the handlers too, then PostgreSQL; leads keep coming."""

import asyncio
import json
import time
from typing import Annotated, Any

import typer
from rich.console import Console

from sandbox.chaos.ledger import Ledger, reckon, unfinished
from sandbox.chaos.stream import Sent, Stream
from sandbox.edge.nginx import NginxEdge, missing_packages
from sandbox.postgres.server import Cluster
from sandbox.stack.signals import exit_on_sigterm
from sandbox.stack.stack import Sandbox

CALM_SECONDS = 3.0
SETTLE_SECONDS = 1800.0
"""For draining the spool and processing every row on a slow machine."""


def edge_outage(
    seconds: Annotated[float, typer.Option(help="How long each of the three outages lasts.", min=1)] = 60,
    rate: Annotated[float, typer.Option(help="Deliveries per second.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Another seed, another stream of leads.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Stop Hasura, then the handlers too, then PostgreSQL, and start all again, while leads keep coming.

    Nothing may be lost or doubled, no answer may be an error, every record must end as its newest version.
    """
    missing = missing_packages()
    if missing:
        typer.echo(f"The real edge is needed: apt-get install {' '.join(missing)}", err=True)
        raise typer.Exit(2)
    exit_on_sigterm()
    console = Console(stderr=True)
    with Cluster(durable=True) as cluster, Sandbox(cluster, edge_environment={}) as sandbox:
        result = asyncio.run(_run(sandbox, cluster, console, (seconds, rate, seed)))
    if as_json:
        typer.echo(json.dumps(result))
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
    await asyncio.sleep(CALM_SECONDS)
    stops = {
        "Hasura": sandbox.hasura.stop,
        "the handlers too": sandbox.handlers.stop,
        "PostgreSQL too": cluster.stop,
    }
    for what, stop in stops.items():
        console.print(f"stopping {what} ...")
        await asyncio.to_thread(stop)
        await asyncio.sleep(seconds)
    console.print("starting everything again ...")
    await asyncio.to_thread(_start_again, sandbox, cluster)
    await asyncio.sleep(CALM_SECONDS)
    stream.stop()
    await posting
    left = await _settle(sandbox, console)
    ledger = reckon(sandbox.database_url, stream.sent.versions)
    by_path = {path: sandbox.edge.taken(path) for path in ("hasura", "handlers")}
    return _result(stream.sent, ledger, left, by_path, time.monotonic() - started)


def _start_again(sandbox: Sandbox, cluster: Cluster) -> None:
    cluster.start()
    for service in (sandbox.hasura, sandbox.handlers):
        service.start()
    for service in (sandbox.hasura, sandbox.handlers):
        service.wait_ready()


async def _settle(sandbox: Sandbox, console: Console) -> int:
    """Wait until the spool is empty and every row final; the files that are left in the spool."""
    assert isinstance(sandbox.edge, NginxEdge)
    deadline = time.monotonic() + SETTLE_SECONDS
    with console.status("draining and processing ...") as status:
        while time.monotonic() < deadline:
            spooled = len(sandbox.edge.held()) + len(sandbox.edge.held("unknown"))
            waiting = await asyncio.to_thread(unfinished, sandbox.database_url)
            status.update(f"{spooled} in the spool, {waiting} rows on their way ...")
            if spooled == 0 and waiting == 0:
                break
            await asyncio.sleep(0.5)
    return sum(len(sandbox.edge.held(folder)) for folder in ("spool", "unknown", "quarantine"))


def _result(sent: Sent, ledger: Ledger, left: int, by_path: dict[str, int], seconds: float) -> dict[str, Any]:
    """What happened; it proves something only if every way was taken: Hasura, the handlers, the spool."""
    problems = (ledger.lost, ledger.duplicated, ledger.unfinished, ledger.not_newest, sent.non_2xx)
    spooled = sent.words.get("spooled", 0)
    return {
        "sent": len(sent.versions),
        "lost": ledger.lost,
        "duplicated": ledger.duplicated,
        "non_2xx": sent.non_2xx,
        "spooled": spooled,
        "by_path": by_path,
        "not_newest": ledger.not_newest,
        "unfinished": ledger.unfinished,
        "spool_left": left,
        "answers": sent.words,
        "slowest_answer_ms": round(sent.slowest_ms),
        "seconds": round(seconds, 1),
        "ok": not any(problems) and left == 0 and all((spooled, *by_path.values())),
    }
