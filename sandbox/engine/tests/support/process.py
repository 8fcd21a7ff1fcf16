"""Engines as processes, as their users start them."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.support.receiver import Receiver

PROJECT = Path(__file__).parents[2]
SECRET = "an-admin-secret"
STOP_SECONDS = 20.0
CANARIES = {
    "the admin secret": SECRET,
    "the JWT key": "contract-jwt-key-of-at-least-32-bytes",
    "a secret header": "from-the-environment",
    "a phone": "0905111222",
    "a name": "Nguyễn Văn A",
}
"""What no log of an engine may hold: values that the tests send or configure."""


@dataclass
class Engines:
    """Start engines on one database. `close` kills those that still run, and searches their logs."""

    database_url: str
    receiver: Receiver
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    log: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def start(self, *arguments: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        process = self._launch(self.log, *arguments, **environment)
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, f"the engine did not start: exit code {self.stop(process)}"
        return process, url

    def refusal(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Start an engine that must refuse to run; returns its exit code and its searched output."""
        process = self._launch(subprocess.STDOUT, *arguments, **environment)
        output, _ = process.communicate(timeout=STOP_SECONDS)
        check_log(output)
        return process.returncode, output

    def stop(self, process: subprocess.Popen[str]) -> int:
        """Stop an engine with SIGTERM; returns its exit code."""
        process.terminate()
        return process.wait(STOP_SECONDS)

    def close(self) -> None:
        """Kill every engine that still runs. Raises AssertionError if a log holds a value of CANARIES."""
        for process in self.started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.log.seek(0)
        text = self.log.read().decode(errors="replace")
        self.log.close()
        check_log(text)

    def _launch(self, stderr: IO[bytes] | int, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "graphql_engine", "--port", "0"]
        env = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "HASURA_GRAPHQL_DATABASE_URL": self.database_url,
            "HASURA_GRAPHQL_ADMIN_SECRET": SECRET,
            "HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL": "50",
            "HASURA_GRAPHQL_ENABLED_LOG_TYPES": "startup",
            "HANDLERS_URL": self.receiver.url,
            **environment,
        }
        process = subprocess.Popen(
            [*command, *arguments], env=env, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        self.started.append(process)
        return process


def check_log(text: str) -> None:
    """Raise AssertionError that names the kind of each value of CANARIES in a log, without the value."""
    found = [kind for kind, value in CANARIES.items() if value in text or json.dumps(value)[1:-1] in text]
    if found:
        raise AssertionError(f"the engine's log holds {', '.join(found)}")
