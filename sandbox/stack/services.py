"""A server process of the sandbox, with a log file."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from ops.waiting import poll
from sandbox.processes import Processes

ROOT = Path(__file__).parents[2]
READY_POLL_SECONDS = 0.03
READY_TIMEOUT_SECONDS = 30.0


class NotReady(Exception):
    """A service ended or did not become ready in time; the message holds the end of its log."""


@dataclass
class Service:
    """A server process. It is ready when `url` + `ready_path` answers 200."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    url: str
    ready_path: str
    log: Path
    processes: Processes
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process without waiting until it is ready; append its output to the log."""
        with self.log.open("a") as output:
            self.process = self.processes.start(
                self.arguments, env=self.environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )

    def wait_ready(self, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
        """Wait until it is ready. Raises NotReady if it ends or takes longer than `timeout_seconds`."""
        answer = ""
        with httpx.Client(timeout=5) as client:
            for _ in poll(timeout_seconds, READY_POLL_SECONDS):
                answer = self._probe(client)
                if answer == "200":
                    return
                if self.process is None or self.process.poll() is not None:
                    raise NotReady(f"{self.name} ended before it was ready:\n{self.tail()}")
        raise NotReady(f"{self.name} is not ready ({answer}) at {self.url}{self.ready_path}:\n{self.tail()}")

    def stop(self) -> None:
        """Stop it with SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop it with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) or "(its log is empty)"

    def _probe(self, client: httpx.Client) -> str:
        try:
            answer = client.get(self.url + self.ready_path)
        except httpx.HTTPError as error:
            return type(error).__name__
        return str(answer.status_code) if answer.status_code == 200 else f"{answer.status_code} {answer.text}"

    def _end(self, signal_: signal.Signals) -> None:
        if self.process is not None:
            self.processes.stop(self.process, signal_)
            self.process = None
