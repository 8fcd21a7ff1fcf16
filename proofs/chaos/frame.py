"""What scenarios have in common: their options, the wait until all is at rest, and how they end."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from ops.settings import commit_origin, installed_commit
from ops.waiting import poll
from proofs.chaos.effects import check_stream, count_unfinished
from proofs.sender import Stream
from sandbox.edge import NginxEdge, require_edge_packages
from sandbox.processes import ROOT, exit_on_sigterm
from sandbox.serving import scrape
from sandbox.stack.stack import Sandbox

T = TypeVar("T")
MAX_PROCESSING_SECONDS = 1800.0
"""Enough to drain the spool and process every event on a slow machine."""
Seed = Annotated[int, typer.Option(help="Seed of the generated leads.")]
Rate = Annotated[float, typer.Option(help="Deliveries per second.", min=1)]
ProcessCount = Annotated[
    int, typer.Option(help="How many processes of the handlers run behind the one engine.", min=1, max=8)
]
EngineCount = Annotated[int, typer.Option(help="How many processes of Hasura deliver.", min=1, max=4)]


def begin() -> Console:
    """Check that the real edge can run, and clean up on SIGTERM; return where progress is shown."""
    require_edge_packages()
    exit_on_sigterm()
    return Console(stderr=True)


def proof(scenario: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result as `leads golive attest` accepts it: with kind, time and commit."""
    made = {"at": datetime.now(UTC).isoformat(), "commit": installed_commit(), "commit_of": commit_origin()}
    return {"kind": scenario, **made, **result}


def finish(scenario: str, result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result. Raises typer.Exit (code 1) unless it is `ok`."""
    if as_json:
        typer.echo(json.dumps(proof(scenario, result), ensure_ascii=False))
    else:
        Console().print(result)
    if not result["ok"]:
        raise typer.Exit(1)


def run_leads(sandbox: Sandbox, *words: str) -> None:
    """Run a command of `leads` as an operator does. Raises CalledProcessError."""
    environment = {**os.environ, **sandbox.environment()}
    command = [sys.executable, "-m", "ops", *words]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)


def events_by_process(sandbox: Sandbox) -> list[int]:
    """Return how many deliveries of events each process of the handlers answered since its start."""
    return [
        int(sum(each.value for each in scrape(process.url) if each.name == "pancake_events_total"))
        for process in sandbox.replicas
    ]


async def wait_until_final(sandbox: Sandbox, console: Console, seconds: float) -> bool:
    """Wait until the spool is empty and every event is final; return whether that was reached in time."""
    edges = [each for each in sandbox.edges if isinstance(each, NginxEdge)]
    assert edges, "the stand-in for the edge has no spool that could be waited for"
    with console.status("draining and processing ...") as status:

        def wait() -> bool:
            for _ in poll(seconds, 0.25):
                spooled = sum(len(each.held()) + len(each.held("unknown")) for each in edges)
                unfinished = count_unfinished(sandbox.database_url)
                if not spooled and not unfinished:
                    return True
                status.update(f"{spooled} files in the spool, {unfinished} events unfinished ...")
            return False

        return await asyncio.to_thread(wait)


async def under_load(
    sandbox: Sandbox, stream: Stream, console: Console, act: Callable[[], Awaitable[T]]
) -> tuple[T, dict[str, Any]]:
    """Post leads while `act` runs, and wait until all are final; return its result, and what was found.

    That is `ok` if nothing was lost, doubled or refused, and each process of the handlers had a share.
    """
    posting = asyncio.create_task(stream.run())
    done = await act()
    stream.stop()
    await posting
    await wait_until_final(sandbox, console, MAX_PROCESSING_SECONDS)
    sent, by_process = stream.sent, await asyncio.to_thread(events_by_process, sandbox)
    verdicts = await asyncio.to_thread(check_stream, sandbox.database_url, sandbox.notifications_url, sent)
    return done, {
        "sent": len(sent.versions), **verdicts.as_json(), "non_2xx": sent.non_2xx, "by_process": by_process,
        "ok": verdicts.is_valid and not sent.non_2xx and all(by_process),
    }  # fmt: skip
