"""Pancake's simulator for benchmarks of crons, and the delivery of cron ticks to the handler."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import psycopg

from leads.adapters.secrets import KeyRing, SecretScope
from ops.daily.connection_secrets import seal
from proofs.bench.environment import ENCRYPTION_KEYS, ROOT, SECRET, BenchEnvironment
from sandbox.processes import Processes

API_KEY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Simulator:
    """A running simulator to which the connection of the benchmark points."""

    url: str
    bench: BenchEnvironment
    call_seconds: list[float] = field(default_factory=list)
    """How long each call of a cron took so far."""

    def bulk(self, count: int, start: datetime, end: datetime) -> None:
        """Create past leads, without webhooks."""
        body = {"count": count, "start": start.isoformat(), "end": end.isoformat()}
        httpx.post(f"{self.url}/control/bulk", json=body, timeout=300).raise_for_status()

    def tick(self, name: str, timeout_seconds: float = 1800) -> float:
        """Deliver one tick of a cron until it is finished; return the seconds that took."""
        body = {"id": "bench", "name": f"pancake_{name}", "payload": {}}
        due = {"scheduled_time": datetime.now(UTC).isoformat()}
        started = time.monotonic()
        while True:
            called = time.monotonic()
            answer = httpx.post(
                f"{self.bench.handler_url}/cron/{name}",
                json=body | due,
                headers={"X-Handler-Secret": SECRET},
                timeout=600,
            )
            self.call_seconds.append(time.monotonic() - called)
            if answer.status_code == 200:
                return time.monotonic() - started
            if answer.headers.get("Retry-After") != "1" or time.monotonic() - started > timeout_seconds:
                raise RuntimeError(f"{name}: {answer.status_code} {answer.text}")


@contextmanager
def simulator(bench: BenchEnvironment) -> Iterator[Simulator]:
    """Start the simulator and point the connection of the benchmark to it, created a month ago."""
    with Processes() as processes:
        port = bench.pancake_url.rpartition(":")[2]
        command = [sys.executable, "-m", "sandbox.pancake", "--port", port, "--workspace-id", "1"]
        command += ["--api-key", API_KEY]
        process = processes.start(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        with process.stdout:
            url = process.stdout.readline().strip()
        with psycopg.connect(bench.database_url, autocommit=True) as db_connection:
            (connection_id,) = db_connection.execute(
                "SELECT id::text FROM pancake_connection"
            ).fetchone() or ("",)
            use = SecretScope("api_key", connection_id, f"{url}/api")
            db_connection.execute(
                "UPDATE pancake_connection SET api_base_url = %s, api_key_encrypted = %s,"
                " created_at = now() - interval '30 days'",
                (use.base_url, seal(KeyRing.parse(ENCRYPTION_KEYS), API_KEY, use)),
            )
        yield Simulator(url, bench)
