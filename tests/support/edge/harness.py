"""The harness of the edge's tests: a real nginx in front of fakes."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.edge.nginx import EdgeSettings, NginxEdge
from sandbox.processes import Processes
from tests.support.edge.fakes import EDGE_SECRET, HASURA_TOKEN, Connection, FakeHandlers, FakeHasura
from tests.support.edge.sender import Reply, Sender
from tests.support.waiting import eventually

TOKEN = "token-of-the-first-connection"
TOKEN_SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()
SHORT_INTERVALS = {"EDGE_SKIP_SECONDS": "0.3", "EDGE_POLICY_SECONDS": "0.15"}
UNLIMITED = 1_000_000
STRANGER = "x" * 200
"""Too long for a token: the edge does not ask the handlers about it."""
SUSPENSION_FAILURES = 300
"""Failures within 30 minutes at which Pancake suspends a webhook."""
BUDGET_MAX_FAILURES = 150
"""The errors that the edge chooses per connection within 30 minutes: half of what suspends the webhook."""


@dataclass
class EdgeHarness:
    """An edge, fakes of Hasura and the handlers, and one connection whose token is TOKEN."""

    edge: NginxEdge
    hasura: FakeHasura
    handlers: FakeHandlers
    connection: Connection

    @classmethod
    def create(cls, processes: Processes, workers: int, environment: dict[str, str]) -> "EdgeHarness":
        """Create the fakes and an edge that is not started yet."""
        hasura, handlers = FakeHasura(), FakeHandlers()
        connection = Connection(tokens={TOKEN: None})
        handlers.connections = [connection]
        settings = EdgeSettings(
            hasura.url, handlers.url, HASURA_TOKEN, EDGE_SECRET,
            workers=workers, environment={**SHORT_INTERVALS, **environment},
        )  # fmt: skip
        harness = cls(NginxEdge(processes, settings), hasura, handlers, connection)
        harness.write_limits(rate=UNLIMITED, burst=UNLIMITED)
        return harness

    def close(self) -> None:
        """Stop everything."""
        self.edge.stop()
        self.hasura.close()
        self.handlers.close()

    def stop_upstreams(self) -> None:
        """Stop Hasura and the handlers."""
        self.hasura.stop()
        self.handlers.stop()

    def start_upstreams(self) -> None:
        """Start Hasura and the handlers again."""
        self.hasura.start()
        self.handlers.start()

    def restart(self) -> None:
        """Kill all processes of the edge and start it again, without waiting for a policy."""
        self.edge.kill()
        self.edge.start()
        self.edge.wait_ready()

    def sender(self, address: str = "127.0.0.1") -> Sender:
        """Return a sender that comes from this address."""
        return Sender(self.edge.port, address)

    def post_many(self, bodies: Sequence[bytes]) -> list[str]:
        """Post deliveries one after the other. Return their outcomes."""
        with self.sender() as sender:
            return [sender.post(TOKEN, body).status for body in bodies]

    def flood(self, count: int, token: str = TOKEN, address: str = "127.0.0.1") -> list[Reply]:
        """Post deliveries as fast as one connection can; the body of each is its number."""
        with self.sender(address) as sender:
            return [sender.post(token, b"%d" % number) for number in range(count)]

    def write_limits(self, **limits: object) -> None:
        """Replace the file of limits atomically, as an operator does."""
        fresh = self.edge.limits_file.with_suffix(".new")
        fresh.write_text(json.dumps(limits))
        fresh.chmod(0o644)
        fresh.rename(self.edge.limits_file)

    def set_limits(self, rate: float, burst: float, deny: Sequence[str] = ()) -> None:
        """Replace the file of limits and wait until every worker uses it. `rate` must differ from before."""
        self.write_limits(rate=rate, burst=burst, deny=list(deny))
        series = "pancake_edge_rate_limit{}"
        # Each request for the metrics may be answered by another worker.
        eventually(lambda: {self.metric(series) for _ in range(20)} == {float(rate)}, seconds=10)

    def wait_for_new_policy(self) -> None:
        """Wait until the edge uses the present connections of the fake handlers."""
        served = self.handlers.policies_served
        # The second request shows that the answer to the first one was processed.
        eventually(lambda: self.handlers.policies_served >= served + 2, seconds=10)

    @property
    def bodies(self) -> list[bytes]:
        """Bodies accepted by either path."""
        return self.hasura.bodies + self.handlers.bodies

    @property
    def bodies_in_order(self) -> list[bytes]:
        """The same in the order of arrival."""
        deliveries = self.hasura.deliveries + self.handlers.deliveries
        return [delivery.raw for delivery in sorted(deliveries, key=lambda delivery: delivery.received_at)]

    def count_offers(self, body: bytes) -> int:
        """Return how often the handlers received this body, accepted or not."""
        return sum(base64.b64encode(body) in request.body for request in self.handlers.requests)

    def metric(self, series: str) -> float:
        """Return the value of a series of /metrics; 0 if there is none."""
        return self.edge.metric(series)

    def budget_used(self) -> float:
        """Return the failures that the edge has counted for the connection."""
        return self.metric(f'pancake_edge_budget_used{{connection="{self.connection.id}"}}')
