"""Pancake's simulator beside a benchmark's stage, and the cron ticks sent to the handler."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import psycopg

from leads.adapters.secrets import KeyRing
from sandbox.bench.environment import ENCRYPTION_KEYS, ROOT, SECRET, Stage
from sandbox.processes import Processes

KEY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Simulator:
    """A running simulator that the stage's connection points to."""

    url: str
    stage: Stage

    def bulk(self, count: int, start: datetime, end: datetime) -> None:
        """Leads of the past, without webhooks."""
        body = {"count": count, "start": start.isoformat(), "end": end.isoformat()}
        httpx.post(f"{self.url}/control/bulk", json=body, timeout=300).raise_for_status()

    def tick(self, name: str, seconds: float = 1800) -> float:
        """Deliver one tick of a cron until it is finished; returns how long that took, in seconds."""
        body = {"id": "bench", "name": f"pancake_{name}", "payload": {}}
        due = {"scheduled_time": datetime.now(UTC).isoformat()}
        started = time.monotonic()
        while True:
            answer = httpx.post(
                f"{self.stage.handler_url}/cron/{name}",
                json=body | due,
                headers={"X-Handler-Secret": SECRET},
                timeout=600,
            )
            if answer.status_code == 200:
                return time.monotonic() - started
            if answer.headers.get("Retry-After") != "1" or time.monotonic() - started > seconds:
                raise RuntimeError(f"{name}: {answer.status_code} {answer.text}")


@contextmanager
def simulator(standing: Stage) -> Iterator[Simulator]:
    """Start it and point the stage's only connection to it; the connection has existed for a month."""
    with Processes() as processes:
        command = [sys.executable, "-m", "sandbox.pancake", "--workspace-id", "1", "--api-key", KEY]
        process = processes.start(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with psycopg.connect(standing.database_url, autocommit=True) as connection:
            connection.execute(
                "UPDATE pancake_connection SET api_base_url = %s, api_key_encrypted = %s,"
                " created_at = now() - interval '30 days'",
                (f"{url}/api", KeyRing.parse(ENCRYPTION_KEYS).encrypt(KEY, "api_key")),
            )
        yield Simulator(url, standing)
