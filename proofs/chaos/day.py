"""`scripts/chaos day`: the leads of a whole day, under all faults of Pancake and with all crons, in minutes.

The day begins at midnight in Vietnam. Leads come as in a beauty clinic's day: few at night, most in the late
morning and in the evening. Hasura delivers the ticks of all seven crons in accelerated time, until the day is
reconciled in the night after it. The database's clock is real.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from leads.domain.body import ICT
from leads.services.cron_runs import CRONS
from proofs.chaos.accelerated_sandbox import AcceleratedSandbox
from proofs.chaos.layers_plan import DAY, plan_day
from proofs.chaos.layers_run import LayersRun, end_task
from proofs.chaos.processes import ProcessCount
from proofs.chaos.proof import proof
from proofs.chaos.ticks import check_engine_ticks, count_succeeded, load_engine_ticks, load_runs
from sandbox.stack.signals import exit_on_sigterm

NIGHT = timedelta(hours=2, minutes=15)
"""After the day: reconciliation ticks at 02:00."""
MIN_DELIVERED_SHARE = 0.95
"""Of the ticks; the last ones may still be late on a slow machine."""
CLOCK_STEP_SECONDS = 0.1
"""Real seconds between two settings of Hasura's clock, which runs in real time between them."""


def day(
    leads: Annotated[int, typer.Option(help="Number of leads, each with a unique phone.", min=20)] = 5000,
    minutes: Annotated[float, typer.Option(help="Real minutes that the day takes.", min=1)] = 4.25,
    seed: Annotated[int, typer.Option(help="Seed of leads, edits and faults.")] = 1,
    processes: ProcessCount = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send the leads of a day with all crons ticking. No record may be lost, doubled or unexpected."""
    exit_on_sigterm()
    tomorrow = datetime.now(UTC).astimezone(ICT).date() + timedelta(days=1)
    midnight = datetime.combine(tomorrow, clock_time(0), ICT).astimezone(UTC)
    speed = DAY / timedelta(minutes=minutes)
    with AcceleratedSandbox(midnight, speed, seed, processes) as sandbox:
        run = LayersRun(sandbox, Console(stderr=True))
        result = asyncio.run(WholeDay(run).run(leads, seed))
    if as_json:
        typer.echo(json.dumps(proof("day", {**result, "speed": round(speed)}), ensure_ascii=False))
    else:
        Console().print(result)
    if not result["ok"]:
        raise typer.Exit(1)


class WholeDay:
    """Its ticks are delivered by the engine, whose clock follows the accelerated one."""

    def __init__(self, run: LayersRun) -> None:
        self._run, self._clock = run, run.clock

    async def run(self, leads: int, seed: int) -> dict[str, Any]:
        """Execute the day and the night; return the result as it is printed."""
        start = self._clock.now()
        self._run.prepare(start)
        self._forget_ticks()
        crons = asyncio.create_task(self._move_engine_clock())
        await self._run.execute(plan_day(start, leads, seed))
        self._run.console.print("the night, until the day is reconciled ...")
        end = start + DAY + NIGHT
        await asyncio.sleep(self._clock.seconds_until(end))
        await end_task(crons)
        await self._run.finish()
        url = self._run.sandbox.database_url
        engine_ticks = await asyncio.to_thread(load_engine_ticks, url, start, end)
        runs = await asyncio.to_thread(load_runs, url)  # after it: late ticks may still be delivered
        ticks = check_engine_ticks(engine_ticks, runs)
        result = await self._run.check(ticks)
        by_cron = {name: count_succeeded(runs, name) for name in CRONS}
        is_ticking = all(by_cron.values()) and ticks.acknowledged >= MIN_DELIVERED_SHARE * ticks.attempted
        return {**result, "succeeded_ticks": by_cron, "ok": result["ok"] and is_ticking}

    def _forget_ticks(self) -> None:
        """Delete the ticks that the engine generated at its start, for the real time."""
        with psycopg.connect(self._run.sandbox.database_url, autocommit=True) as db_connection:
            db_connection.execute("DELETE FROM hdb_catalog.hdb_cron_events")

    async def _move_engine_clock(self) -> None:
        """Let Hasura's clock for crons show the accelerated time, until cancelled."""
        url = f"{self._run.sandbox.hasura_url}/sandbox/clock"
        headers = {"X-Hasura-Admin-Secret": self._run.sandbox.keys.admin_secret}
        while True:
            order = {"set": self._clock.now().isoformat()}
            (await self._run.http.post(url, json=order, headers=headers)).raise_for_status()
            await asyncio.sleep(CLOCK_STEP_SECONDS)
