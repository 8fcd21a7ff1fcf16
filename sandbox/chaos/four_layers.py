"""`scripts/chaos four_layers`: webhook, polling, reconciliation and replay under all faults of Pancake.

One afternoon of accelerated time: leads with different phones are created, some are edited twice. Meanwhile
webhooks are dropped, duplicated and delayed, the index lags, the webhook is suspended, REST is down, and the
kill switch is on for a while. Then the clock is advanced past midnight in Vietnam, the day is reconciled, the
skipped events are replayed, and every record is counted.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from typing import Annotated, Any

import httpx
import psycopg
import typer
from rich.console import Console
from rich.progress import Progress

from leads.cli.replay.action import ReplayAction
from leads.cli.replay.draining import Drain
from leads.domain.window import ICT
from sandbox.accelerated_clock import AcceleratedClock
from sandbox.chaos.accelerated_handlers import CLOCK_FILE, MUTATION, MUTATIONS
from sandbox.chaos.layers_effects import Evidence, LayersResult, check_layers
from sandbox.chaos.layers_plan import BACKGROUND, PHASES, POLL_INTERVAL, Step, plan
from sandbox.chaos.proof import proof
from sandbox.pancake.leads import SOURCES
from sandbox.stack.observer import Observer
from sandbox.stack.signals import exit_on_sigterm
from sandbox.stack.stack import Sandbox

NOON = clock_time(12)
FINAL_POLLS = 5
"""Polls after the last lead, until the index shows every record."""
MAX_PROCESSING_SECONDS = 600.0
"""Real seconds, enough to process the remaining events on a slow machine."""


class AcceleratedSandbox(Sandbox):
    """A sandbox whose Pancake and handlers use an accelerated clock; engine and database do not."""

    application = "sandbox.chaos.accelerated_handlers:create_app"

    def __init__(self, start: datetime, speed: float, mutation: str, seed: int) -> None:
        super().__init__()
        path = self.home / "clock.json"
        self.clock = AcceleratedClock.begin(path, start, speed)
        self._extra = {CLOCK_FILE: str(path), MUTATION: mutation}
        self._seed = seed

    def _pancake_arguments(self) -> list[str]:
        return [*super()._pancake_arguments(), f"--seed={self._seed}", f"--clock={self._extra[CLOCK_FILE]}"]

    def _service_environment(self) -> Mapping[str, str]:
        return {**super()._service_environment(), **self._extra}


def four_layers(
    leads: Annotated[int, typer.Option(help="Number of leads, each with a unique phone.", min=20)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of leads, edits and faults.")] = 1,
    speed: Annotated[float, typer.Option(help="Accelerated seconds per real second.", min=1, max=300)] = 30,
    mutate: Annotated[str, typer.Option(help=f"Remove a guard: {', '.join(MUTATIONS)}.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Inject every fault of Pancake. No record may be lost, no customer may have two open tickets."""
    if mutate and mutate not in MUTATIONS:
        raise typer.BadParameter(
            f"unknown guard {mutate}; use one of {', '.join(MUTATIONS)}", param_hint="--mutate"
        )
    exit_on_sigterm()
    console = Console(stderr=True)
    tomorrow = datetime.now(UTC).astimezone(ICT).date() + timedelta(days=1)
    noon = datetime.combine(tomorrow, NOON, ICT).astimezone(UTC)
    with AcceleratedSandbox(noon, speed, mutate, seed) as sandbox:
        result = asyncio.run(Afternoon(sandbox, console).run(leads, seed))
    if as_json:
        typer.echo(json.dumps(proof("four_layers", result), ensure_ascii=False))
    else:
        Console().print(result)
    if not result["ok"]:
        raise typer.Exit(1)


class Afternoon:
    """Executes the plan."""

    def __init__(self, sandbox: AcceleratedSandbox, console: Console) -> None:
        self._sandbox, self._clock, self._console = sandbox, sandbox.clock, console
        self._ids: dict[int, str] = {}
        self._phases: dict[str, list[datetime]] = {}
        self._ticks: dict[datetime, list[str]] = {}
        self._http = httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=50))

    async def run(self, leads: int, seed: int) -> dict[str, Any]:
        """Execute the afternoon and the night; return the result as it is printed."""
        started = time.monotonic()
        start = self._clock.now()
        self._prepare(start)
        await self._control("faults", BACKGROUND)
        crons = asyncio.create_task(self._crons(start))
        for step in plan(start, leads, seed):
            await asyncio.sleep(self._clock.seconds_until(step.at))
            await self._do(step)
        self._console.print(f"{len(self._ids)} leads are created; polling the remaining ones ...")
        await self._control("faults", {"drop": 0, "duplicate": 0, "delay": 0})
        await self._http.post(f"{self._sandbox.pancake_url}/control/webhook/idle")
        crons.cancel()
        await asyncio.gather(crons, return_exceptions=True)
        for _ in range(FINAL_POLLS):
            self._clock.advance(POLL_INTERVAL)
            await self._poll(self._clock.now())
        self._console.print("after midnight: reconciling, then replaying ...")
        self._clock.advance(timedelta(hours=13))
        await self._tick("reconcile_daily", self._clock.now())
        await self._wait_until_final()
        await asyncio.to_thread(self._replay)
        await self._wait_until_final()
        deep_lag = self._phases["deep_lag"]
        evidence = Evidence(await self._records(), (deep_lag[0], deep_lag[1]), self._ticks)
        layers = await asyncio.to_thread(check_layers, self._sandbox.database_url, evidence)
        await self._http.aclose()
        return self._result(evidence, layers, time.monotonic() - started)

    def _prepare(self, start: datetime) -> None:
        """Activate every source, raise the replay rate, and start polling at `start`."""
        with psycopg.connect(self._sandbox.database_url, autocommit=True) as db_connection:
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

    async def _do(self, step: Step) -> None:
        if step.kind == "begin":
            self._phases[step.name] = [self._clock.now()]
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
            self._phases[step.name].append(self._clock.now())

    async def _crons(self, start: datetime) -> None:
        """Poll every five minutes and retry every minute, until cancelled."""
        due, polled = start, start
        while True:
            await asyncio.sleep(self._clock.seconds_until(due))
            await self._tick("retry_failed", due)
            if due - polled >= POLL_INTERVAL:
                polled = due
                await self._poll(due)
            due = max(due + timedelta(minutes=1), self._clock.now() - timedelta(minutes=1))

    async def _poll(self, due: datetime) -> None:
        """Deliver a tick of polling twice at the same time."""
        twice = (self._tick("poll_records", due), self._tick("poll_records", due))
        self._ticks[due] = list(await asyncio.gather(*twice))

    async def _tick(self, name: str, due: datetime) -> str:
        """Deliver a tick until the handler finishes it; return its result."""
        while True:
            answer = await self._http.post(
                f"{self._sandbox.handlers_url}/cron/{name}",
                json={"id": "t", "name": f"pancake_{name}", "scheduled_time": due.isoformat(), "payload": {}},
                headers={"X-Handler-Secret": self._sandbox.keys.handler_secret},
            )
            if answer.status_code == 503 and "Retry-After" in answer.headers:
                await asyncio.sleep(0.2)
                continue
            return str(answer.json().get("result", answer.status_code))

    async def _control(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self._http.post(f"{self._sandbox.pancake_url}/control/{path}", json=dict(body))
        return dict(answer.raise_for_status().json())

    async def _records(self) -> list[dict[str, Any]]:
        answer = await self._http.get(f"{self._sandbox.pancake_url}/control/records")
        return [json.loads(line)["record"] for line in answer.text.splitlines()]

    async def _wait_until_final(self) -> None:
        """Wait until every event is final; meanwhile deliver ticks of retry_failed."""
        observer = Observer(self._sandbox.database_url, self._sandbox.notifications_url)
        waiting = asyncio.create_task(asyncio.to_thread(observer.wait_final, MAX_PROCESSING_SECONDS))
        while not waiting.done():
            await self._tick("retry_failed", self._clock.now())
            await asyncio.wait([waiting], timeout=1)
        await waiting

    def _replay(self) -> None:
        with ReplayAction.at(self._sandbox.hasura_url, self._sandbox.keys.admin_secret) as action:
            Drain().run(action, {"filter": {"status": "skipped_kill_switch"}}, Progress(disable=True))

    def _set(self, name: str, value: str) -> None:
        with psycopg.connect(self._sandbox.database_url, autocommit=True) as db_connection:
            db_connection.execute(
                "UPDATE app_setting SET app_settings ="
                " jsonb_set(app_settings, ARRAY['pancake_integration', %s], %s::jsonb) WHERE id = 1",
                (name, value),
            )

    def _result(self, evidence: Evidence, layers: LayersResult, seconds: float) -> dict[str, Any]:
        return {
            "sent": len(evidence.records),
            "processed": sum(layers.by_layer.values()),
            **layers.verdicts.as_json(),
            "by_layer": dict(layers.by_layer),
            "ticks": len(evidence.ticks),
            "seconds": round(seconds, 1),
            "ok": layers.verdicts.is_valid,
        }
