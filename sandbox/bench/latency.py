"""`scripts/bench latency`: from the webhook's departure to the assigned ticket, through every part there is.

Sender → edge → Hasura's RESTified endpoint → handlers → event trigger → handlers → ticket. The engine is the
stand-in; like the genuine one it asks for new events once a second, which is half a second of each figure.
"""

import asyncio
import json
import time
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from sandbox.bench.environment import machine
from sandbox.bench.load import Figures
from sandbox.chaos.stream import Stream
from sandbox.edge.nginx import missing_packages
from sandbox.postgres.server import Cluster
from sandbox.stack.stack import Sandbox

LOOK_SECONDS = 0.02
"""How often finished tickets are looked for: a latency is at most this much too long."""
LOOK_BACK_SECONDS = 10
PATIENCE_SECONDS = 60.0
_TICKETS = """
    SELECT data -> 'pancake' ->> 'record_id' FROM ticket
    WHERE source_id = 'ticket_source_pancake' AND assignee_id IS NOT NULL
        AND created_at > now() - make_interval(secs => %s)
"""


def latency(
    rate: Annotated[float, typer.Option(help="New leads per second.", min=1)] = 50,
    seconds: Annotated[float, typer.Option(help="How long they come.", min=2)] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Seconds from the departure of a webhook to the committed ticket with its owner, at a constant rate."""
    if missing := missing_packages():
        typer.echo(f"The real edge is needed: apt-get install {' '.join(missing)}", err=True)
        raise typer.Exit(2)
    with Cluster(durable=True) as cluster, Sandbox(cluster, edge_environment={}) as sandbox:
        result = asyncio.run(_run(sandbox, rate, seconds))
    result["machine"] = machine()
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)
    if result["unfinished"] or result["non_2xx"]:
        raise typer.Exit(1)


async def _run(sandbox: Sandbox, rate: float, seconds: float) -> dict[str, Any]:
    stream = Stream(sandbox.webhook_url, rate, seed=1, new_share=1.0)
    posting = asyncio.create_task(stream.run())
    watching = asyncio.create_task(asyncio.to_thread(_watch, sandbox.database_url, stream, seconds))
    await asyncio.sleep(seconds)
    stream.stop()
    await posting
    seen = await watching
    sent = stream.sent
    figures = Figures([seen[id_] - at for id_, at in sent.departures.items() if id_ in seen])
    return {
        "leads": len(sent.departures), "per_second": rate, **figures.percentiles(),
        "max_ms": round(figures.percentile(1.0), 2), "answer_slowest_ms": round(sent.slowest_ms),
        "unfinished": sorted(sent.departures.keys() - seen.keys()), "non_2xx": sent.non_2xx,
    }  # fmt: skip


def _watch(database_url: str, stream: Stream, seconds: float) -> dict[str, float]:
    """When each record's ticket was first seen, by time.monotonic(); ends when all are, or patience does."""
    seen: dict[str, float] = {}
    deadline = time.monotonic() + seconds + PATIENCE_SECONDS
    with psycopg.connect(database_url, autocommit=True) as connection:
        while time.monotonic() < deadline:
            for (record_id,) in connection.execute(_TICKETS, [LOOK_BACK_SECONDS]).fetchall():
                seen.setdefault(record_id, time.monotonic())
            if stream.stopped and stream.sent.departures.keys() <= seen.keys():
                break
            time.sleep(LOOK_SECONDS)
    return seen
