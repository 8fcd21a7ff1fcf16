"""`scripts/chaos edge_flood`: one address exceeds its rate limit, with and without a valid token."""

import asyncio
import json
import time
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from ops.waiting import poll
from proofs.bench.environment import SECRET, TOKEN
from proofs.bench.sink import serve_in_process
from proofs.chaos.checker import Verdicts, check
from proofs.chaos.flood import Flood, flood
from proofs.chaos.upstream import CONNECTION, create_upstream
from sandbox.edge.nginx import EdgeSettings, NginxEdge
from sandbox.edge.packages import require_edge_packages
from sandbox.processes import Processes
from sandbox.stack.signals import exit_on_sigterm

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
        result = asyncio.run(_run(edge, url, rate, seconds))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)
    if not result["ok"]:
        raise typer.Exit(1)


async def _run(edge: NginxEdge, url: str, rate_per_second: float, seconds: float) -> dict[str, Any]:
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
