"""`scripts/chaos four_layers`: webhook, polling, reconciliation and replay under all faults of Pancake.

One afternoon of accelerated time: leads with different phones are created, some are edited twice. Meanwhile
webhooks are dropped, duplicated and delayed, the index lags, the webhook is suspended, REST is down, and the
kill switch is on for a while. Then the clock is advanced past midnight in Vietnam, the day is reconciled, the
skipped events are replayed, and every record is counted.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from typing import Annotated, Any

import typer
from rich.console import Console

from leads.domain.body import ICT
from proofs.chaos.accelerated_sandbox import AcceleratedSandbox
from proofs.chaos.layers_plan import POLL_INTERVAL, plan_afternoon
from proofs.chaos.layers_run import LayersRun, end_task
from proofs.chaos.processes import ProcessCount
from proofs.chaos.proof import proof
from proofs.chaos.ticks import check_delivered, load_runs, tick_id
from sandbox.stack.signals import exit_on_sigterm

NOON = clock_time(12)
FINAL_POLLS = 5
"""Polls after the last lead, until the index shows every record."""


def four_layers(
    leads: Annotated[int, typer.Option(help="Number of leads, each with a unique phone.", min=20)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of leads, edits and faults.")] = 1,
    speed: Annotated[float, typer.Option(help="Accelerated seconds per real second.", min=1, max=300)] = 30,
    processes: ProcessCount = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Inject every fault of Pancake. No record may be lost, no customer may have two open tickets."""
    exit_on_sigterm()
    tomorrow = datetime.now(UTC).astimezone(ICT).date() + timedelta(days=1)
    noon = datetime.combine(tomorrow, NOON, ICT).astimezone(UTC)
    with AcceleratedSandbox(noon, speed, seed, processes) as sandbox:
        run = LayersRun(sandbox, Console(stderr=True))
        result = asyncio.run(Afternoon(run).run(leads, seed))
    if as_json:
        typer.echo(json.dumps(proof("four_layers", result), ensure_ascii=False))
    else:
        Console().print(result)
    if not result["ok"]:
        raise typer.Exit(1)


class Afternoon:
    """Its ticks are delivered here instead of by the engine: those of polling twice at the same time."""

    def __init__(self, run: LayersRun) -> None:
        self._run, self._clock = run, run.clock
        self._ticks: dict[str, list[str]] = {}

    async def run(self, leads: int, seed: int) -> dict[str, Any]:
        """Execute the afternoon and the night; return the result as it is printed."""
        start = self._clock.now()
        self._run.prepare(start)
        crons = asyncio.create_task(self._crons(start))
        await self._run.execute(plan_afternoon(start, leads, seed))
        await end_task(crons)
        for _ in range(FINAL_POLLS):
            self._clock.advance(POLL_INTERVAL)
            await self._poll(self._clock.now())
        self._run.console.print("after midnight: reconciling, then replaying ...")
        self._clock.advance(timedelta(hours=13))
        await self._run.tick("reconcile_daily", self._clock.now())
        await self._run.finish()
        runs = await asyncio.to_thread(load_runs, self._run.sandbox.database_url)
        return await self._run.check(check_delivered(self._ticks, runs))

    async def _crons(self, start: datetime) -> None:
        """Poll every five minutes and retry every minute, until cancelled."""
        due, polled = start, start
        while True:
            await asyncio.sleep(self._clock.seconds_until(due))
            await self._run.tick("retry_failed", due)
            if due - polled >= POLL_INTERVAL:
                polled = due
                await self._poll(due)
            due = max(due + timedelta(minutes=1), self._clock.now() - timedelta(minutes=1))

    async def _poll(self, due: datetime) -> None:
        twice = (self._run.tick("poll_records", due), self._run.tick("poll_records", due))
        self._ticks[tick_id("poll_records", due)] = list(await asyncio.gather(*twice))
