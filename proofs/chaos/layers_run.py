"""Execute a plan of leads, edits and faults on an accelerated sandbox, and check every record in the end."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx
import psycopg
from rich.console import Console
from rich.progress import Progress

from ops.daily.replay import Drain, open_action
from proofs.chaos.accelerated_sandbox import AcceleratedSandbox
from proofs.chaos.checker import Verdict, Verdicts
from proofs.chaos.effects import count_unfinished
from proofs.chaos.layers_effects import Evidence, check_layers
from proofs.chaos.layers_plan import BACKGROUND, PHASES, Step
from proofs.chaos.processes import events_by_process
from sandbox.pancake.leads import SOURCES
from sandbox.stack.observer import Unfinished

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
        while True:
            answer = await self.http.post(
                f"{self.sandbox.handlers_url}/cron/{name}",
                json={"id": "t", "name": f"pancake_{name}", "scheduled_time": due.isoformat(), "payload": {}},
                headers={"X-Handler-Secret": self.sandbox.keys.handler_secret},
            )
            if answer.status_code == 503 and "Retry-After" in answer.headers:
                await asyncio.sleep(0.2)
                continue
            return str(answer.json().get("result", answer.status_code))

    async def finish(self) -> None:
        """Replay what the kill switch held, and wait until every event is final. Raises Unfinished."""
        await self._wait_until_final()
        await asyncio.to_thread(self._replay)
        await self._wait_until_final()

    async def check(self, ticks: Verdict) -> dict[str, Any]:
        """Check every record; return the result as it is printed. It is valid only if each process worked."""
        deep_lag = self._phases["deep_lag"]
        records = await self._records()
        sent = (await self.http.get(f"{self.sandbox.notifications_url}/sent")).json()["sent"]
        await self.http.aclose()
        evidence = Evidence(records, (deep_lag[0], deep_lag[1]), sent)
        layers = await asyncio.to_thread(check_layers, self.sandbox.database_url, evidence)
        verdicts = Verdicts({**layers.verdicts.effects, "cron tick": ticks})
        by_process = await asyncio.to_thread(events_by_process, self.sandbox)
        return {
            "sent": len(records),
            "processed": sum(layers.by_layer.values()),
            **verdicts.as_json(),
            "by_layer": dict(layers.by_layer),
            "by_process": by_process,
            "ticks": ticks.attempted,
            "seconds": round(time.monotonic() - self._started, 1),
            "ok": verdicts.is_valid and all(by_process),
        }

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
        with open_action(self.sandbox.hasura_url, self.sandbox.keys.admin_secret) as action:
            Drain().run(action, {"filter": {"status": "skipped_kill_switch"}}, Progress(disable=True))

    def _set(self, name: str, value: str) -> None:
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as db_connection:
            db_connection.execute(
                "UPDATE app_setting SET app_settings ="
                " jsonb_set(app_settings, ARRAY['pancake_integration', %s], %s::jsonb) WHERE id = 1",
                (name, value),
            )


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task that runs until then. Raises what ended it before."""
    if task.done():
        task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
