"""The engine under test: the stand-in, started once, and with `--hasura URL` a genuine one as well."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.cluster import RUN, Cluster
from sandbox.processes import Processes
from tests.hasura_contract.place import Place
from tests.hasura_contract.receiver import Receiver

ROOT = Path(__file__).parents[2]
SECRET = "contract-admin-secret"
JWT_KEY = "contract-jwt-key-of-at-least-32-bytes"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every contract test runs on the stand-in, and on the genuine engine if there is one."""
    if "engine_kind" in metafunc.fixturenames:
        kinds = ["stand-in", *(["genuine"] if metafunc.config.getoption("--hasura") else [])]
        metafunc.parametrize("engine_kind", kinds, scope="session")


@pytest.fixture(scope="session")
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    """The webhook of all tests; an engine in a container reaches it by `--hasura-webhook-host`."""
    host = request.config.getoption("--hasura-webhook-host")
    made = Receiver("127.0.0.1" if host == "127.0.0.1" else "0.0.0.0", host)
    yield made
    made.close()


@pytest.fixture(scope="session")
def stand_in(cluster: Cluster, receiver: Receiver) -> Iterator[str]:
    """URL of a stand-in engine on an empty database and without any metadata."""
    name = f"contract_{RUN}"
    url = cluster.create_database(name)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HASURA_GRAPHQL_ADMIN_SECRET": SECRET,
        "HASURA_GRAPHQL_JWT_SECRET": json.dumps({"type": "HS256", "key": JWT_KEY}),
        "HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL": "50",
        "HASURA_GRAPHQL_ASYNC_ACTIONS_FETCH_INTERVAL": "50",
        "CONTRACT_WEBHOOK": receiver.url,
        "CONTRACT_SECRET": "from-the-environment",
    }
    command = [sys.executable, "-m", "sandbox.hasura", "--database-url", url, "--port", "0"]
    with Processes() as processes:
        process = processes.start(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            yield process.stdout.readline().strip()
            assert processes.stop(process) == 0
    cluster.drop_database(name)


@pytest.fixture
def place(engine_kind: str, request: pytest.FixtureRequest, receiver: Receiver) -> Iterator[Place]:
    """The engine under test with a schema of one's own, taken away afterwards."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        if engine_kind == "stand-in":
            url = request.getfixturevalue("stand_in")
            made = Place(url, SECRET, receiver, client, stand_in=True, jwt_key=JWT_KEY)
        else:
            url = str(request.config.getoption("--hasura")).rstrip("/")
            secret = request.config.getoption("--hasura-admin-secret") or ""
            made = Place(url, secret, receiver, client, stand_in=False)
        yield made
        made.close()
