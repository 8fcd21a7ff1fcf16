"""`scripts/chaos engine_kill`: Hasura is killed and started again while leads arrive."""

import asyncio
import json
import time
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from ops.waiting import poll
from proofs.chaos.checker import Verdicts
from proofs.chaos.effects import count_unfinished
from proofs.chaos.processes import ProcessCount, events_by_process
from proofs.chaos.proof import proof
from proofs.chaos.stream import Sent, Stream
from proofs.chaos.stream_effects import check_stream
from sandbox.edge.packages import require_edge_packages
from sandbox.stack.signals import exit_on_sigterm
from sandbox.stack.stack import Sandbox

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
        result = asyncio.run(_run(sandbox, console, (kills, pause), Stream(sandbox.webhook_url, rate, seed)))
    if as_json:
        typer.echo(json.dumps(proof("engine_kill", result)))
    else:
        Console().print(result)
    if not result["ok"]:
        raise typer.Exit(1)


async def _run(sandbox: Sandbox, console: Console, plan: tuple[int, float], stream: Stream) -> dict[str, Any]:
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
        **_result(stream.sent, verdicts, (locked, by_process), slowest_seconds),
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


def _result(
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
