"""The harness of the edge's tests: a real nginx in front of fakes, which many tests can share."""

import hashlib
import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from leads.adapters.secrets import KeyRing
from proofs.mutants.lua_lines import record_lines
from sandbox.edge import EdgeSettings, NginxEdge
from sandbox.processes import Processes
from tests.support.edge.surroundings import (
    EDGE_SECRET,
    HASURA_TOKEN,
    Connection,
    FakeEndpoint,
    FakeHandlers,
    Reply,
    Sender,
)
from tests.support.waiting import eventually

TOKEN = "token-of-the-first-connection"
TOKEN_SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()
SHORT_INTERVALS = {"EDGE_SKIP_SECONDS": "0.3", "EDGE_POLICY_SECONDS": "0.15", "EDGE_DRAIN_PER_SECOND": "2000"}
UNLIMITED = '{"rate": 1000000, "burst": 1000000}'
STRANGER = "x" * 200
"""Too long for a token: the edge does not ask the handlers about it."""
BUDGET_MAX_FAILURES = 150
"""The errors that the edge chooses per connection within 30 minutes: half of what suspends the webhook."""
_LIMITS_TIMER = "ngx.timer.every(LIMITS_INTERVAL_SECONDS, limits.reload)"
_FAST_LIMITS_TIMER = """ngx.timer.every(0.05, function()
        limits.reload()
        ngx.shared.edge_state:incr("tests.reloads." .. ngx.worker.id(), 1, 0)
    end)""".replace("\n", " ")
_ROUTES = Path(__file__).with_name("routes.conf").read_text()
"""Of the internal server: fetch the policy, say what is wrong with one, wait until each worker has read the
limits, forget what was counted."""
_connection_numbers = count(1)


def write_certificate(directory: Path, dns_name: str = "127.0.0.1", days: int = 9) -> None:
    """Write fullchain.pem and privkey.pem, self-signed; the edge compares DNS names as texts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge.example")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(dns_name)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (directory / "fullchain.pem").write_bytes(signed.public_bytes(pem))
    (directory / "privkey.pem").write_bytes(key.private_bytes(pem, *plain))
    directory.chmod(0o755)
    for path in directory.glob("*.pem"):
        path.chmod(0o644)


class EdgeHarness:
    """An edge, fakes of Hasura and the handlers, and one connection whose token is TOKEN."""

    def __init__(
        self,
        processes: Processes,
        environment: Mapping[str, str],
        workers: int = 2,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare an edge that is not started yet. `tls`: of Hasura and the handlers."""
        self.hasura, self.handlers = FakeEndpoint(tls), FakeHandlers(tls)
        self._renew_connection()
        settings = EdgeSettings(
            self.hasura.url, self.handlers.url, HASURA_TOKEN, EDGE_SECRET, workers=workers,
            environment={**SHORT_INTERVALS, **environment}, site={"ops-extra-tests.conf": _ROUTES},
        )  # fmt: skip
        self.edge = NginxEdge(processes, settings)
        self.edge.edit("start.lua", _LIMITS_TIMER, _FAST_LIMITS_TIMER)
        record_lines(self.edge)
        self._is_limited = False
        self.edge.limits_file.write_text(UNLIMITED)
        self.edge.limits_file.chmod(0o644)

    def _renew_connection(self) -> None:
        self.handlers.connections = []
        self.connection = self.add_connection(TOKEN)

    def edit(self, module: str, text: str, replacement: str) -> Self:
        self.edge.edit(module, text, replacement)
        return self

    def write_slowly(self, seconds: float) -> Self:
        """Let its files keep the name of a partial file for so long; return the harness."""
        declared, renamed = "int fsync(int fd);", "if C.rename(temporary, final) ~= 0 then"
        self.edit("files.lua", declared, f"{declared} int usleep(unsigned microseconds);")
        return self.edit("files.lua", renamed, f"C.usleep({seconds * 1e6:.0f}) {renamed}")

    def add_site(self, text: str, name: str = "http.conf") -> Self:
        with (self.edge.directory / "site" / name).open("a") as site:
            site.write(text)
        return self

    def bring_up(self) -> Self:
        """Start the edge and return the harness once it has fetched the policy."""
        self.edge.start()
        self.edge.wait_ready()
        eventually(lambda: self.metric("pancake_edge_policy_age_seconds{}") >= 0, seconds=10)
        return self

    def close(self) -> None:
        self.edge.stop()
        self.hasura.close()
        self.handlers.close()

    def reset(self) -> None:
        """Make a running edge like a new one for the next test, except for its journals."""
        self.hasura.reset()
        self.handlers.reset()
        self._renew_connection()
        self.forget()
        self.fetch_policy()
        for path in self.edge.held("quarantine"):
            path.unlink()
        eventually(self._is_drained)
        if self._is_limited:
            self.replace_limits(UNLIMITED)
            self._is_limited = False
        for fake in (self.hasura, self.handlers):
            fake.requests.clear()
            fake.deliveries.clear()
        self.forget()
        for name in ("stderr.log", "scratch/error.log", "scratch/access.json"):
            if (log := self.edge.directory / name).exists():
                os.truncate(log, 0)

    def forget(self) -> None:
        """Let the edge forget failures, rates, counters, and which paths it skips."""
        self._ask("forget")

    def _is_drained(self) -> bool:
        if self.edge.held("unknown"):
            self.fetch_policy()  # the drain asks about them after a later fetch only
        return not self.edge.held() + self.edge.held("unknown")

    def stop_upstreams(self) -> None:
        self.hasura.stop()
        self.handlers.stop()

    def start_upstreams(self) -> None:
        self.hasura.start()
        self.handlers.start()

    def kill(self) -> None:
        """Kill all processes of the edge and start it again, without waiting for a policy."""
        self.edge.kill()
        self.edge.start()
        self.edge.wait_ready()

    def restart(self, keys: str | None = None) -> None:
        """The same, but stop it gracefully, and start it with other EDGE_STATE_KEYS."""
        self.edge.stop()
        self.edge.state_keys = keys or self.edge.state_keys
        self.edge.start()
        self.edge.wait_ready()

    def sender(self, address: str = "127.0.0.1") -> Sender:
        return Sender(self.edge.port, address)

    def post(self, body: bytes = b"{}", headers: dict[str, str] | None = None, token: str = TOKEN) -> str:
        with self.sender() as sender:
            return sender.post(token, body, headers).status

    def post_many(self, bodies: Sequence[bytes]) -> list[str]:
        with self.sender() as sender:
            return [sender.post(TOKEN, body).status for body in bodies]

    def flood(self, count: int, token: str = TOKEN, address: str = "127.0.0.1") -> list[Reply]:
        """Post deliveries as fast as one connection can; the body of each is its number."""
        with self.sender(address) as sender:
            return [sender.post(token, b"%d" % number) for number in range(count)]

    def replace_limits(self, text: str, mode: int = 0o644) -> None:
        """Replace the file of limits atomically, as operators do; return once every worker has read it."""
        self._is_limited = True
        fresh = self.edge.limits_file.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(mode)
        fresh.rename(self.edge.limits_file)
        self._ask("limits")

    def set_limits(self, rate: float = 1000, burst: float = 1000, deny: Sequence[str] = ()) -> None:
        self.replace_limits(json.dumps({"rate": rate, "burst": burst, "deny": list(deny)}))

    def add_connection(self, token: str, **settings: object) -> Connection:
        """Add a connection with this token to the next policy."""
        connection_id = f"00000000-0000-0000-0000-{next(_connection_numbers):012d}"
        connection = Connection(connection_id, {token: None}, **settings)  # type: ignore[arg-type]
        self.handlers.connections.append(connection)
        return connection

    def fetch_policy(self) -> None:
        """Let the edge fetch the policy now, and return once it uses it."""
        self._ask("policy")

    def parse_policy(self, document: bytes) -> tuple[str, dict[str, float]]:
        """Return why the edge refuses a policy, "" if it does not; and when tokens end, by their digests."""
        parsed = json.loads(self._ask("parse-policy", document))
        return parsed["fault"], parsed["ends"]

    def enforce(self, **settings: object) -> None:
        """Let the connection demand proofs, with these settings, and return once the edge knows it."""
        for name, value in {"signature_mode": "enforce", **settings}.items():
            setattr(self.connection, name, value)
        self.fetch_policy()

    def seal(self, content: object, purpose: str = "delivery") -> bytes:
        return b"PE1" + KeyRing.parse(self.edge.state_keys).encrypt(json.dumps(content), purpose)

    def unseal(self, path: Path) -> dict[str, Any]:
        text = KeyRing.parse(self.edge.state_keys).decrypt(path.read_bytes()[3:], "delivery")
        return dict(json.loads(text))

    @contextmanager
    def unwritable(self, folder: str = "spool") -> Iterator[None]:
        """Take the right to write into a folder of the edge away, as long as the block lasts."""
        path = self.edge.state / folder
        path.chmod(0o500)
        try:
            yield
        finally:
            path.chmod(0o700)

    @property
    def bodies(self) -> list[bytes]:
        """Bodies accepted by either path, in the order of arrival."""
        deliveries = self.hasura.deliveries + self.handlers.deliveries
        return [delivery.raw for delivery in sorted(deliveries, key=lambda delivery: delivery.received_at)]

    def metric(self, series: str) -> float:
        return self.edge.metric(series)

    def errors_of(self, source: str) -> float:
        return self.metric(f'pancake_edge_errors_total{{source="{source}"}}')

    def answered(self, outcome: str, code: int = 200) -> float:
        """Return the number of requests that got this answer."""
        return self.metric(f'pancake_webhook_requests_total{{hop="edge",status="{outcome}",code="{code}"}}')

    def drained(self, outcome: str = "received", folder: str = "spool") -> float:
        """Return the number of stored deliveries that ended so."""
        return self.metric(f'pancake_edge_drained_total{{folder="{folder}",outcome="{outcome}"}}')

    def budget_used(self) -> float:
        """Return the failures that the edge has counted for the connection."""
        return self.metric(f'pancake_edge_budget_used{{connection="{self.connection.id}"}}')

    def unproved(self) -> float:
        """Return the failures that the edge has seen and did not count as Pancake's."""
        return self.metric(f'pancake_edge_unproved_failures{{connection="{self.connection.id}"}}')

    def access_log(self) -> list[str]:
        """Return the lines of the access log since the start or the last reset."""
        return self.edge.access_log().splitlines()

    def _ask(self, route: str, body: bytes = b"") -> str:
        return (
            httpx.post(f"{self.edge.ops_url}/tests/{route}", content=body, timeout=15).raise_for_status().text
        )


Edge = Callable[..., EdgeHarness]
"""What the fixtures `shared` and `own` are: `shared(EDGE_SPOOL_MAX_FILES="3")`."""
