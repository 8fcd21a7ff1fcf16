"""Two processes on one port: each takes a share of the connections, and one alone takes all."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.postgres.server import free_port
from sandbox.processes import Processes
from sandbox.stack.services import Service

ROOT = Path(__file__).parents[2]
POSTED = 60


@pytest.fixture
def shared_port() -> int:
    return free_port()


@pytest.fixture
def replicas(shared_port: int, tmp_path: Path) -> Iterator[list[Service]]:
    with Processes() as processes:
        services = [_replica(shared_port, tmp_path / f"{number}.log", processes) for number in range(2)]
        for service in services:
            service.start()
        for service in services:
            service.wait_ready()
        yield services


def _replica(shared_port: int, log: Path, processes: Processes) -> Service:
    port = free_port()
    program = [sys.executable, "-m", "sandbox.stack.replica", "sandbox.chaos.upstream:create_upstream"]
    return Service(
        name="replica", arguments=[*program, f"--shared-port={shared_port}", f"--port={port}"],
        environment={"PYTHONPATH": str(ROOT)}, url=f"http://127.0.0.1:{port}", ready_path="/taken",
        log=log, processes=processes,
    )  # fmt: skip


def _post(port: int, count: int) -> None:
    for _ in range(count):  # each over a new connection
        url = f"http://127.0.0.1:{port}/api/rest/pancake/record"
        httpx.post(url, json={"raw": "e30="}).raise_for_status()


def test_each_process_takes_a_share_and_one_alone_takes_all(
    replicas: list[Service], shared_port: int
) -> None:
    _post(shared_port, POSTED)
    shares = [len(httpx.get(f"{replica.url}/taken").json()) for replica in replicas]
    assert sum(shares) == POSTED
    assert all(shares)
    replicas[0].kill()
    _post(shared_port, 5)
    assert len(httpx.get(f"{replicas[1].url}/taken").json()) == shares[1] + 5
