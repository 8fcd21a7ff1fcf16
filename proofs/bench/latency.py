"""`scripts/bench latency`: time from when a webhook is due to the commit of its ticket, over the whole way.

Sender → edge → Hasura's RESTified endpoint → handlers → event trigger → handlers → ticket. The engine is the
stand-in. Like Hasura it fetches new events once per second, which adds half a second on average. Its waiting
loops are in its CPU time, so that bar is for 25 leads per second or more, over 20 s or more.
"""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console

from proofs.bench.bars import print_result
from proofs.bench.environment import analyze, describe_machine
from proofs.chaos.stream import versions
from proofs.loadtest.database import SETTINGS
from proofs.loadtest.histograms import milliseconds
from proofs.loadtest.run import of_tickets, run_leg
from proofs.loadtest.sender import Leg
from sandbox.edge.packages import require_edge_packages
from sandbox.postgres.server import Cluster
from sandbox.stack.stack import Sandbox

CONNECTIONS = 64
WARM_UP_SECONDS = 3.0


def latency(
    rate: Annotated[float, typer.Option(help="New leads per second.", min=1)] = 50,
    seconds: Annotated[float, typer.Option(help="How long leads are posted.", min=2)] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the time from when a webhook is due to the commit of its ticket, at a constant rate.

    PostgreSQL states the commit. `missed`: deliveries that were posted more than 10 ms after they were due;
    `round_the_engine`: those that the edge gave to the handlers directly, since the engine did not answer in
    time. Exit code 1: a figure is above its bar, a lead got no ticket, or an answer was not 2xx.
    """
    require_edge_packages()
    with (
        Cluster(durable=True, settings=SETTINGS) as cluster,
        Sandbox(cluster, edge_environment={}) as sandbox,
    ):
        result = asyncio.run(_run(sandbox, rate, seconds))
    print_result(result, as_json)
    if result["unfinished"] or result["non_2xx"]:
        raise typer.Exit(1)


async def _run(sandbox: Sandbox, rate: float, seconds: float) -> dict[str, Any]:
    console = Console(stderr=True)
    generated = versions(1, new_share=1.0)
    await run_leg(sandbox, Leg(rate, WARM_UP_SECONDS), generated, CONNECTIONS, console)
    analyze(sandbox.database_url)
    leg = Leg(rate, seconds)
    step = await run_leg(sandbox, leg, generated, CONNECTIONS, console)
    tickets = milliseconds(of_tickets(sandbox, leg))
    return {
        "leads": step["leads"],
        "per_second": rate,
        "achieved_per_second": step["achieved_per_second"],
        "edge_ms": milliseconds(leg.latencies),
        "ticket_ms": tickets,
        "unfinished": step["leads"] - tickets["n"],
        "non_2xx": step["non_2xx"],
        "missed": step["unpunctual"],
        "dropped": step["dropped"],
        "round_the_engine": step["round_the_engine"],
        "cpu_ms_per_lead": step["cpu_ms_per_lead"],
        "engine_cpu_ms_per_lead": step["cpu_ms_per_lead"]["engine"],
        "bars": {"engine_cpu_ms_per_lead": 4},
        "machine": describe_machine(),
    }
