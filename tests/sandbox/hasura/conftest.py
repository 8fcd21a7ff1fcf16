"""Engines of one's own: on a database and a metadata directory made for the test."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from sandbox.cluster import RUN, Cluster
from sandbox.processes import Processes
from tests.hasura_contract.receiver import Receiver

ROOT = Path(__file__).parents[3]
SECRET = "an-admin-secret"
_numbers = count(1)


@dataclass
class Engines:
    """Starts engines as processes on one database."""

    database_url: str
    processes: Processes
    receiver: Receiver
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        """A running engine and its URL; fails with what it said if it does not start."""
        process = self.launch(None, *arguments, **environment)
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, f"the engine did not start: {self.processes.stop(process)}"
        return process, url

    def refusal(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Exit code and words of an engine that does not start."""
        process = self.launch(subprocess.STDOUT, *arguments, **environment)
        assert process.stdout is not None
        words = process.stdout.read()
        return process.wait(20), words

    def launch(self, stderr: int | None, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """An engine's process, started and not waited for."""
        command = [sys.executable, "-m", "sandbox.hasura", "--database-url", self.database_url, "--port", "0"]
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HASURA_GRAPHQL_ADMIN_SECRET": SECRET,
            "HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL": "50",
            "HANDLERS_URL": self.receiver.url,
            **environment,
        }
        whole = [*command, *arguments]
        process = self.processes.start(whole, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr)
        self.started.append(process)
        return process

    def stop(self, process: subprocess.Popen[str]) -> int:
        """Stop one politely; returns its exit code."""
        return self.processes.stop(process)

    def close(self) -> None:
        """Close what was read from."""
        for process in self.started:
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def hooks() -> Iterator[Receiver]:
    """A webhook of one's own."""
    made = Receiver("127.0.0.1", "127.0.0.1")
    yield made
    made.close()


@pytest.fixture
def engines(cluster: Cluster, hooks: Receiver) -> Iterator[Engines]:
    """Engines on a fresh database."""
    name = f"engine_{RUN}_{next(_numbers)}"
    url = cluster.create_database(name)
    with Processes() as processes:
        made = Engines(url, processes, hooks)
        yield made
        made.close()
    cluster.drop_database(name)
