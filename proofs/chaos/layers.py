"""`scripts/chaos four_layers` and `day`: all layers that bring leads, under all faults of Pancake.

`four_layers` is an afternoon: leads with different phones are created, some are edited twice. Meanwhile
webhooks are dropped, duplicated and delayed, the index lags, the webhook is suspended, REST is down, and the
kill switch is on for a while. Then the clock is advanced past midnight in Vietnam, the day is reconciled, the
skipped events are replayed, and every record is counted.

`day` begins at midnight in Vietnam. Leads come as in a beauty clinic's day: few at night, most in the late
morning and in the evening. Hasura delivers the ticks of all seven crons in accelerated time, until the day is
reconciled in the night after it. The database's clock is real.
"""

import asyncio
import json
import random
import time
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Annotated, Any

import httpx
import psycopg
import typer
from rich.console import Console

from leads.domain.body import ICT
from leads.services.cron_runs import CRONS
from ops.daily.replay import drain, open_engine
from proofs.bench.environment import AsJson
from proofs.chaos.accelerated_handlers import CLOCK_FILE
from proofs.chaos.effects import (
    Verdict,
    Verdicts,
    check_delivered,
    check_engine_ticks,
    count_succeeded,
    count_unfinished,
    judge,
    load_engine_ticks,
    load_evidence,
    load_runs,
    tick_id,
)
from proofs.chaos.frame import EngineCount, ProcessCount, events_by_process, finish
from proofs.incidents.faults import change_setting
from proofs.sender import tick
from sandbox.accelerated_clock import AcceleratedClock
from sandbox.pancake.leads import SOURCES, relative_rate
from sandbox.processes import exit_on_sigterm
from sandbox.stack.observer import Unfinished
from sandbox.stack.stack import Sandbox

AFTERNOON = timedelta(minutes=40)
"""All leads of four_layers are created within this time."""
DAY = timedelta(days=1)
POLL_INTERVAL = timedelta(minutes=5)
EDITED_SHARE = 0.1
"""Share of leads that are edited twice."""


@dataclass(frozen=True)
class Phase:
    """A time range with a fault; start and end are fractions of the time in which leads are created."""

    name: str
    start: float
    end: float
    faults: Mapping[str, Any] = field(default_factory=dict)


BACKGROUND = {"drop": 0.3, "duplicate": 0.1, "delay": 0.1, "delay_seconds": 2}
PHASES = (
    Phase("slow_index", 0.10, 0.30, {"drop": 1, "lag_seconds": 640}),
    Phase("suspended", 0.35, 0.48),
    Phase("rest_down", 0.52, 0.62, {"down": True}),
    Phase("held", 0.66, 0.74),
    Phase("deep_lag", 0.80, 0.86, {"drop": 1, "lag_seconds": 3000}),
)
"""Polling finds records within overlap + settle (660 s), as in slow_index; deep_lag needs reconciliation."""


@dataclass(frozen=True)
class Step:
    """One step at a moment: create a lead, edit an earlier one, begin or end a phase."""

    at: datetime
    kind: str
    name: str = ""
    number: int = 0


def plan_afternoon(start: datetime, leads: int, seed: int) -> list[Step]:
    """Return every step in order of time; the leads come at equal intervals."""
    return _plan(start, AFTERNOON, [AFTERNOON * number / leads for number in range(leads)], seed)


def plan_day(start: datetime, leads: int, seed: int) -> list[Step]:
    """Return every step in order of time; the leads follow the hours of a day that begins at `start`."""
    rates = [relative_rate((start + timedelta(hours=hour)).astimezone(ICT)) for hour in range(24)]
    return _plan(start, DAY, [_moment(rates, (number + 0.5) / leads) for number in range(leads)], seed)


def _moment(rates: Sequence[float], share: float) -> timedelta:
    """Return the time of a day when this share of its leads has come; `rates` are those of its hours."""
    ends = list(accumulate(rates))
    reached = share * ends[-1]
    hour = bisect(ends, reached)
    return timedelta(hours=hour + 1 - (ends[hour] - reached) / rates[hour])


def _plan(start: datetime, length: timedelta, moments: Sequence[timedelta], seed: int) -> list[Step]:
    chance = random.Random(seed)
    steps = [Step(start + moment, "lead", number=number) for number, moment in enumerate(moments)]
    for number in chance.sample(range(len(moments)), round(len(moments) * EDITED_SHARE)):
        created_at = start + moments[number]
        for _ in range(2):
            later = created_at + (start + length - created_at) * chance.uniform(0.05, 1)
            steps.append(Step(max(later, created_at + timedelta(seconds=1)), "edit", number=number))
    for phase in PHASES:
        steps.append(Step(start + length * phase.start, "begin", phase.name))
        steps.append(Step(start + length * phase.end, "end", phase.name))
    return sorted(steps, key=lambda step: step.at)


class AcceleratedSandbox(Sandbox):
    """`speed`: seconds that pass in each real second, from `start` on. `seed` is that of Pancake's leads."""

    application = "proofs.chaos.accelerated_handlers:create_app"

    def __init__(
        self, start: datetime, speed: float, seed: int, processes: int = 1, engines: int = 1
    ) -> None:
        super().__init__(processes=processes, engines=engines)
        self._clock_file = self.home / "clock.json"
        self.clock = AcceleratedClock.begin(self._clock_file, start, speed)
        self._seed = seed

    def _pancake_arguments(self) -> list[str]:
        return [*super()._pancake_arguments(), f"--seed={self._seed}", f"--clock={self._clock_file}"]

    def _service_environment(self) -> Mapping[str, str]:
        return {**super()._service_environment(), CLOCK_FILE: str(self._clock_file)}


MAX_PROCESSING_SECONDS = 600.0
"""Real seconds, enough to process the remaining events on a slow machine."""


class LayersRun:
    """One run. `http` is for Pancake's control API and the handlers."""

    def __init__(self, sandbox: AcceleratedSandbox, console: Console) -> None:
        self.sandbox, self.clock, self.console = sandbox, sandbox.clock, console
        self.http = httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=50))
        self._ids: dict[int, str] = {}
        self._phases: dict[str, list[datetime]] = {}
        self._started = time.monotonic()

    def prepare(self, start: datetime) -> None:
        """Activate every source, raise the replay rate, and let polling begin at `start`."""
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as db_connection:
            db_connection.execute(
                "INSERT INTO pancake_source (connection_id, pancake_source_id, name)"
                " SELECT c.id, s, s FROM pancake_connection AS c, unnest(%s::text[]) AS s"
                " ON CONFLICT DO NOTHING",
                ([source_id for source_id, _, _ in SOURCES],),
            )
            db_connection.execute("UPDATE pancake_source SET is_active = true")
            db_connection.execute(
                "UPDATE pancake_connection SET created_at = %s, poll_watermark = %s", (start, start)
            )
        self._set("replay_rate_per_second", "1000")

    async def execute(self, steps: Iterable[Step]) -> None:
        """Take each step when it is due; then switch Pancake's faults off, and wait for its webhooks."""
        await self._control("faults", BACKGROUND)
        for step in steps:
            await asyncio.sleep(self.clock.seconds_until(step.at))
            await self._do(step)
        self.console.print(f"{len(self._ids)} leads are created ...")
        await self._control("faults", {"drop": 0, "duplicate": 0, "delay": 0})
        await self.http.post(f"{self.sandbox.pancake_url}/control/webhook/idle")

    async def tick(self, name: str, due: datetime) -> str:
        """Deliver a tick until the handlers finish it; return its result."""
        url, secret = self.sandbox.handlers_url, self.sandbox.keys.handler_secret
        return await asyncio.to_thread(tick, url, secret, name, due)

    async def finish(self) -> None:
        """Replay what the kill switch held, and wait until every event is final. Raises Unfinished."""
        await self._wait_until_final()
        await asyncio.to_thread(self._replay)
        await self._wait_until_final()

    async def check(self, ticks: Verdict) -> dict[str, Any]:
        """Check every record; return the result as it is printed. It is valid only if each process worked."""
        begun, ended = self._phases["deep_lag"]
        records = await self._records()
        sent = (await self.http.get(f"{self.sandbox.notifications_url}/sent")).json()["sent"]
        await self.http.aclose()
        url = self.sandbox.database_url
        effects, by_layer = judge(await asyncio.to_thread(load_evidence, url, records, (begun, ended), sent))
        verdicts = Verdicts({**effects.effects, "cron tick": ticks})
        by_process = await asyncio.to_thread(events_by_process, self.sandbox)
        return {
            "sent": len(records), "processed": sum(by_layer.values()), **verdicts.as_json(),
            "by_layer": by_layer, "by_process": by_process, "ticks": ticks.attempted,
            "seconds": round(time.monotonic() - self._started, 1),
            "ok": verdicts.is_valid and all(by_process),
        }  # fmt: skip

    async def _do(self, step: Step) -> None:
        if step.kind == "begin":
            self._phases[step.name] = [self.clock.now()]
        if step.kind == "lead":
            answer = await self._control("leads", {"count": 1})
            self._ids[step.number] = answer["record_ids"][0]
        elif step.kind == "edit":
            await self._control("edits", {"record_ids": [self._ids[step.number]]})
        elif step.name == "suspended":
            await self._control(f"webhook/{'suspend' if step.kind == 'begin' else 'enable'}", {})
        elif step.name == "held":
            self._set("kill_switch", "true" if step.kind == "begin" else "false")
        else:
            faults = next(phase.faults for phase in PHASES if phase.name == step.name)
            defaults = {
                name: BACKGROUND.get(name, False if value is True else 0) for name, value in faults.items()
            }
            await self._control("faults", dict(faults) if step.kind == "begin" else defaults)
        if step.kind == "end":
            self._phases[step.name].append(self.clock.now())

    async def _control(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self.http.post(f"{self.sandbox.pancake_url}/control/{path}", json=dict(body))
        return dict(answer.raise_for_status().json())

    async def _records(self) -> Sequence[dict[str, Any]]:
        answer = await self.http.get(f"{self.sandbox.pancake_url}/control/records")
        return [json.loads(line)["record"] for line in answer.text.splitlines()]

    async def _wait_until_final(self) -> None:
        """Wait until every event is final; meanwhile deliver ticks of retry_failed. Raises Unfinished."""
        deadline = time.monotonic() + MAX_PROCESSING_SECONDS
        while left := await asyncio.to_thread(count_unfinished, self.sandbox.database_url):
            if time.monotonic() > deadline:
                raise Unfinished(f"{left} events are not finished after {MAX_PROCESSING_SECONDS:.0f} s")
            await self.tick("retry_failed", self.clock.now())
            await asyncio.sleep(1)

    def _replay(self) -> None:
        with open_engine(self.sandbox.hasura_url, self.sandbox.keys.admin_secret) as engine:
            list(drain(engine, {"filter": {"status": "skipped_kill_switch"}}))

    def _set(self, name: str, value: str) -> None:
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as db_connection:
            db_connection.execute(change_setting(name, f"'{value}'").encode())


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task that runs until then. Raises what ended it before."""
    if task.done():
        task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


FINAL_POLLS = 5
"""Polls after the last lead, until the index shows every record."""
Leads = Annotated[int, typer.Option(help="Number of leads, each with a unique phone.", min=20)]
Seed = Annotated[int, typer.Option(help="Seed of leads, edits and faults.")]


def _tomorrow_at(hour: int) -> datetime:
    """Return that hour of tomorrow in Vietnam."""
    today = datetime.now(ICT).replace(hour=hour, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1)).astimezone(UTC)


def four_layers(
    leads: Leads = 2000,
    seed: Seed = 1,
    speed: Annotated[float, typer.Option(help="Accelerated seconds per real second.", min=1, max=300)] = 30,
    processes: ProcessCount = 1,
    engines: EngineCount = 1,
    as_json: AsJson = False,
) -> None:
    """Inject every fault of Pancake. No record may be lost, no customer may have two open tickets."""
    exit_on_sigterm()
    with AcceleratedSandbox(_tomorrow_at(12), speed, seed, processes, engines) as sandbox:
        result = asyncio.run(Afternoon(sandbox, Console(stderr=True)).run(leads, seed))
    finish("four_layers", result, as_json)


class Afternoon(LayersRun):
    """Its ticks are delivered here instead of by the engine: those of polling twice at the same time."""

    async def run(self, leads: int, seed: int) -> dict[str, Any]:
        start, self._ticks = self.clock.now(), dict[str, list[str]]()
        self.prepare(start)
        crons = asyncio.create_task(self._crons(start))
        await self.execute(plan_afternoon(start, leads, seed))
        await end_task(crons)
        for _ in range(FINAL_POLLS):
            self.clock.advance(POLL_INTERVAL)
            await self._poll(self.clock.now())
        self.console.print("after midnight: reconciling, then replaying ...")
        self.clock.advance(timedelta(hours=13))
        await self.tick("reconcile_daily", self.clock.now())
        await self.finish()
        runs = await asyncio.to_thread(load_runs, self.sandbox.database_url)
        return await self.check(check_delivered(self._ticks, runs))

    async def _crons(self, start: datetime) -> None:
        """Poll every five minutes and retry every minute, until cancelled."""
        due, polled = start, start
        while True:
            await asyncio.sleep(self.clock.seconds_until(due))
            await self.tick("retry_failed", due)
            if due - polled >= POLL_INTERVAL:
                polled = due
                await self._poll(due)
            due = max(due + timedelta(minutes=1), self.clock.now() - timedelta(minutes=1))

    async def _poll(self, due: datetime) -> None:
        twice = (self.tick("poll_records", due), self.tick("poll_records", due))
        self._ticks[tick_id("poll_records", due)] = list(await asyncio.gather(*twice))


NIGHT = timedelta(hours=2, minutes=15)
"""After the day: reconciliation ticks at 02:00."""
MIN_DELIVERED_SHARE = 0.95
"""Of the ticks; the last ones may still be late on a slow machine."""
CLOCK_STEP_SECONDS = 0.1
"""Real seconds between two settings of Hasura's clock, which runs in real time between them."""


def day(
    leads: Leads = 5000,
    minutes: Annotated[float, typer.Option(help="Real minutes that the day takes.", min=1)] = 4.25,
    seed: Seed = 1,
    processes: ProcessCount = 1,
    as_json: AsJson = False,
) -> None:
    """Send the leads of a day with all crons ticking. No record may be lost, doubled or unexpected."""
    exit_on_sigterm()
    speed = DAY / timedelta(minutes=minutes)
    with AcceleratedSandbox(_tomorrow_at(0), speed, seed, processes) as sandbox:
        result = asyncio.run(WholeDay(sandbox, Console(stderr=True)).run(leads, seed))
    finish("day", {**result, "speed": round(speed)}, as_json)


class WholeDay(LayersRun):
    """Its ticks are delivered by the engine, whose clock follows the accelerated one."""

    async def run(self, leads: int, seed: int) -> dict[str, Any]:
        start = self.clock.now()
        self.prepare(start)
        self._forget_ticks()
        crons = asyncio.create_task(self._move_engine_clock())
        await self.execute(plan_day(start, leads, seed))
        self.console.print("the night, until the day is reconciled ...")
        end = start + DAY + NIGHT
        await asyncio.sleep(self.clock.seconds_until(end))
        await end_task(crons)
        await self.finish()
        url = self.sandbox.database_url
        engine_ticks = await asyncio.to_thread(load_engine_ticks, url, start, end)
        runs = await asyncio.to_thread(load_runs, url)  # after it: late ticks may still be delivered
        ticks = check_engine_ticks(engine_ticks, runs)
        result = await self.check(ticks)
        by_cron = {name: count_succeeded(runs, name) for name in CRONS}
        is_ticking = all(by_cron.values()) and ticks.acknowledged >= MIN_DELIVERED_SHARE * ticks.attempted
        return {**result, "succeeded_ticks": by_cron, "ok": result["ok"] and is_ticking}

    def _forget_ticks(self) -> None:
        """Delete the ticks that the engine generated at its start, for the real time."""
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as db_connection:
            db_connection.execute("DELETE FROM hdb_catalog.hdb_cron_events")

    async def _move_engine_clock(self) -> None:
        """Let Hasura's clock for crons show the accelerated time, until cancelled."""
        url = f"{self.sandbox.hasura_url}/sandbox/clock"
        headers = {"X-Hasura-Admin-Secret": self.sandbox.keys.admin_secret}
        while True:
            order = {"set": self.clock.now().isoformat()}
            (await self.http.post(url, json=order, headers=headers)).raise_for_status()
            await asyncio.sleep(CLOCK_STEP_SECONDS)
