"""A real nginx in front of fakes, started per test: nothing one test does to the edge is seen by the next."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.edge.nginx import EdgeSettings, NginxEdge, missing_packages
from sandbox.processes import Processes
from tests.edge.fakes import EDGE_SECRET, HASURA_TOKEN, Connection, FakeHandlers, FakeHasura
from tests.edge.sender import Sender

TOKEN = "token-of-the-first-connection"
QUICK = {"EDGE_SKIP_SECONDS": "0.3", "EDGE_POLICY_SECONDS": "0.15"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the real edge need nginx; where it is missing they say which packages would run them."""
    missing = missing_packages()
    if missing:
        reason = f"the real edge needs Debian's {', '.join(missing)}: apt-get install them to run these tests"
        for item in items:
            wanted = {"nginx", "stage", "real"} & set(getattr(item, "fixturenames", ()))
            if item.path.parent == Path(__file__).parent and (wanted or "[real" in item.name):
                item.add_marker(pytest.mark.skip(reason=reason))


@dataclass
class Stage:
    """The edge under test, what stands behind it, and one connection whose token is TOKEN."""

    edge: NginxEdge
    hasura: FakeHasura
    handlers: FakeHandlers
    connection: Connection

    def sender(self, address: str = "127.0.0.1") -> Sender:
        """Somebody at that address."""
        return Sender(self.edge.port, address)

    def limit(self, **limits: object) -> None:
        """Replace the file of limits as an operator would: at once and whole."""
        fresh = self.edge.limits_file.with_suffix(".new")
        fresh.write_text(json.dumps(limits))
        fresh.chmod(0o644)
        fresh.rename(self.edge.limits_file)

    def limit_and_wait(self, rate: float, burst: float, deny: Sequence[str] = ()) -> None:
        """The same, and wait until every worker goes by it (each looks once a second)."""
        self.limit(rate=rate, burst=burst, deny=list(deny))
        series = "pancake_edge_rate_limit{}"
        eventually(lambda: {self.metric(series) for _ in range(20)} == {float(rate)})

    def learn(self) -> None:
        """Wait until the edge goes by the present connections of the handlers."""
        seen = self.handlers.policies_served
        eventually(lambda: self.handlers.policies_served >= seen + 2)

    @property
    def bodies(self) -> list[bytes]:
        """Everything that arrived behind the edge, by either path."""
        return self.hasura.bodies + self.handlers.bodies

    @property
    def in_order(self) -> list[bytes]:
        """The same in the order of arrival."""
        deliveries = self.hasura.deliveries + self.handlers.deliveries
        return [delivery.raw for delivery in sorted(deliveries, key=lambda delivery: delivery.taken_at)]

    def metric(self, series: str) -> float:
        """Value of one series of /metrics; 0 if it is not there."""
        return self.edge.metric(series)


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until the condition holds; fail if it does not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Whatever is started through it is gone after the test."""
    with Processes() as running:
        yield running


@pytest.fixture
def nginx(processes: Processes) -> Iterator[Callable[..., Stage]]:
    """Start an edge: `nginx(EDGE_SPOOL_MAX_FILES="3")`. Its log must hold no error of our own program."""
    stages: list[Stage] = []
    unchecked: list[Stage] = []

    def start(started: bool = True, workers: int = 2, **environment: str) -> Stage:
        hasura, handlers = FakeHasura(), FakeHandlers()
        connection = Connection(tokens={TOKEN: None})
        handlers.connections = [connection]
        settings = EdgeSettings(
            hasura.url,
            handlers.url,
            HASURA_TOKEN,
            EDGE_SECRET,
            workers=workers,
            environment={**QUICK, **environment},
        )
        stage = Stage(NginxEdge(processes, settings), hasura, handlers, connection)
        if started:
            stages.append(stage)
        else:
            unchecked.append(stage)
        stage.limit(rate=1_000_000, burst=1_000_000)
        if started:
            stage.edge.start()
            stage.edge.wait_ready()
            eventually(lambda: stage.metric("pancake_edge_policy_age_seconds{}") >= 0)
        return stage

    yield start
    for stage in stages + unchecked:
        stage.edge.stop()
        stage.hasura.close()
        stage.handlers.close()
        assert stage in unchecked or "traceback" not in stage.edge.errors(), stage.edge.errors()


@pytest.fixture
def stage(nginx: Callable[..., Stage]) -> Stage:
    """An edge with its defaults (and short pauses)."""
    return nginx()
