"""`scripts/bench latency`: time from the post of a webhook to the assigned ticket, through every service.

Sender → edge → Hasura's RESTified endpoint → handlers → event trigger → handlers → ticket. The engine is the
stand-in. Like Hasura it fetches new events once per second, which adds half a second on average.
`engine_cpu_ms_per_lead` is the CPU time of the stand-in until the last ticket, divided by the leads.
Its waiting loops are in it, so its bar is for 25 leads per second or more, over 20 s or more.
"""

import asyncio
import time
from typing import Annotated, Any

import psycopg
import typer

from sandbox.bench.bars import print_result
from sandbox.bench.environment import cpu_seconds, describe_machine
from sandbox.bench.load import Measurement
from sandbox.chaos.stream import Stream
from sandbox.edge.packages import require_edge_packages
from sandbox.postgres.server import Cluster
from sandbox.stack.stack import Sandbox

POLL_INTERVAL_SECONDS = 0.02
"""Interval between queries for new tickets, and so the maximum error of a latency."""
QUERY_WINDOW_SECONDS = 10
MAX_WAIT_SECONDS = 60.0
_TICKETS = """
    SELECT data -> 'pancake' ->> 'record_id' FROM ticket
    WHERE source_id = 'ticket_source_pancake' AND assignee_id IS NOT NULL
        AND created_at > now() - make_interval(secs => %s)
"""


def latency(
    rate: Annotated[float, typer.Option(help="New leads per second.", min=1)] = 50,
    seconds: Annotated[float, typer.Option(help="How long leads are posted.", min=2)] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the time from the post of a webhook to the committed ticket, at a constant rate.

    Exit code 1: a figure is above its bar, a lead got no ticket, or an answer was not 2xx.
    """
    require_edge_packages()
    with Cluster(durable=True) as cluster, Sandbox(cluster, edge_environment={}) as sandbox:
        assert sandbox.hasura.process is not None
        engine = sandbox.hasura.process.pid
        before = cpu_seconds(engine)
        result = asyncio.run(_run(sandbox, rate, seconds))
        used = cpu_seconds(engine) - before
    result["engine_cpu_ms_per_lead"] = round(1000 * used / result["leads"], 2)
    result["bars"] = {"engine_cpu_ms_per_lead": 4}
    result["machine"] = describe_machine()
    print_result(result, as_json)
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
    measurement = Measurement([seen[id_] - at for id_, at in sent.departures.items() if id_ in seen])
    return {
        "leads": len(sent.departures), "per_second": rate, **measurement.percentiles(),
        "max_ms": round(measurement.percentile(1.0), 2), "answer_slowest_ms": round(sent.slowest_ms),
        "unfinished": sorted(sent.departures.keys() - seen.keys()), "non_2xx": sent.non_2xx,
    }  # fmt: skip


def _watch(database_url: str, stream: Stream, seconds: float) -> dict[str, float]:
    """Return when each record's ticket was first seen, by time.monotonic().

    Ends when every posted lead has its ticket, or MAX_WAIT_SECONDS after the last post.
    """
    seen: dict[str, float] = {}
    deadline = time.monotonic() + seconds + MAX_WAIT_SECONDS
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        while time.monotonic() < deadline:
            for (record_id,) in db_connection.execute(_TICKETS, [QUERY_WINDOW_SECONDS]).fetchall():
                seen.setdefault(record_id, time.monotonic())
            if stream.is_stopped and stream.sent.departures.keys() <= seen.keys():
                break
            time.sleep(POLL_INTERVAL_SECONDS)
    return seen
