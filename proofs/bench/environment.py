"""The environment of a benchmark: PostgreSQL, a handler, and the servers that it calls."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import httpx
import psycopg
import typer
import uvicorn
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from leads.adapters.secrets import KeyRing, SecretScope
from ops.daily.connection_secrets import seal
from ops.waiting import poll
from proofs.loadtest.resources import cpu_seconds_of_tree
from sandbox.diva.project import merge_project
from sandbox.postgres.database import install_diva
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import Processes
from sandbox.stack.hasura import start_engine

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "token-of-the-benchmark"
TOKEN_SHA256 = sha256(TOKEN.encode()).hexdigest()
SECRET = "secret-of-the-benchmark-of-32-characters"
ENCRYPTION_KEYS = "bench:" + "A" * 43 + "="
START_TIMEOUT_SECONDS = 20.0
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
UNREACHABLE_URL = "http://127.0.0.1:9"  # the discard port, where no process listens


@dataclass(frozen=True)
class BenchEnvironment:
    """A running handler process and its database."""

    cluster: Cluster
    database_url: str
    handler: subprocess.Popen[str]
    handler_url: str
    pancake_url: str
    """Where the handler may send an API key; `simulator` listens there."""

    def rss_mb(self) -> float:
        """Return the resident memory of the handler process in MB."""
        return self._memory_mb("VmRSS")

    def peak_rss_mb(self) -> float:
        """Return the peak resident memory of the handler process in MB."""
        return self._memory_mb("VmHWM")

    def cpu_seconds(self) -> float:
        """Return the CPU time that the handler process has used so far."""
        return cpu_seconds_of_tree(self.handler.pid)

    def _memory_mb(self, name: str) -> float:
        lines = Path(f"/proc/{self.handler.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


@contextmanager
def bench_environment(hasura_url: str = UNREACHABLE_URL) -> Iterator[BenchEnvironment]:
    """Start database and handler; the handler sends notifications to `hasura_url`."""
    with Cluster(durable=True) as cluster, Processes() as processes:
        url = cluster.create_database("benchmark")
        install_diva(url)
        install_engine(processes, url)
        run_script(url, "seed", token_sha256=TOKEN_SHA256)
        pancake_url = f"http://127.0.0.1:{free_port()}"
        handler, handler_url = _start_handler(processes, url, hasura_url, pancake_url)
        yield BenchEnvironment(cluster, url, handler, handler_url, pancake_url)


def describe_machine() -> dict[str, object]:
    """Return CPU, cores and Python version of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
    return {"cpu": model, "cores": os.cpu_count(), "python": sys.version.split()[0]}


def run_script(database_url: str, name: str, **params: object) -> None:
    """Run the statements of a file of proofs/bench/sql."""
    script = (ROOT / "proofs" / "bench" / "sql" / f"{name}.sql").read_bytes()
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        psycopg.ClientCursor(db_connection).execute(script, params)


def analyze(database_url: str) -> None:
    """Vacuum and analyse all tables and write them to disk, as PostgreSQL would have done by then."""
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        db_connection.execute("VACUUM ANALYZE")
        db_connection.execute("CHECKPOINT")


def install_engine(processes: Processes, url: str) -> None:
    """Let the engine apply migrations and install its event trigger, then stop it: it delivers no events."""
    environment = {
        "PG_DATABASE_URL": url,
        "HASURA_GRAPHQL_ADMIN_SECRET": SECRET,
        "HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL": "0",
        "HANDLERS_URL": UNREACHABLE_URL,
        "NOTIFICATIONS_URL": UNREACHABLE_URL,
        "HANDLER_SECRET": SECRET,
    }
    metadata = merge_project(processes.directory("bench-") / "hasura")
    arguments = ("--metadata", str(metadata), "--migrations", str(ROOT / "hasura/migrations"))
    engine = start_engine(processes, url, *arguments, environment=environment)
    processes.stop(engine.process)


def _start_handler(
    processes: Processes, url: str, hasura_url: str, pancake_url: str
) -> tuple[subprocess.Popen[str], str]:
    environment = os.environ | {
        "DATABASE_URL": url,
        "METADATA_DATABASE_URL": url,
        "HASURA_URL": hasura_url,
        "HASURA_SERVICE_TOKEN": "unused",
        "HANDLER_SECRET": SECRET,
        "EDGE_SECRET": SECRET,
        "ENCRYPTION_KEYS": ENCRYPTION_KEYS,
        "PANCAKE_API_HOSTS": pancake_url,
        "LOG_LEVEL": "INFO",
    }
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:create_app", "--factory", "--port", str(port)]
    handler = processes.start(
        [*command, "--no-access-log", "--no-server-header"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    for _ in poll(START_TIMEOUT_SECONDS, 0.05):
        try:
            httpx.get(f"{address}/healthz")
            return handler, address
        except httpx.TransportError:
            if handler.poll() is not None:
                break
    raise RuntimeError("the handlers did not start")


def action_call(name: str, arguments: dict[str, object]) -> bytes:
    """Return the body of an action call as Hasura sends it."""
    body = {
        "action": {"name": name},
        "input": arguments,
        "session_variables": {"x-hasura-role": "pancake_edge"},
        "request_query": "mutation PancakeRecord { pancake_ingest_record { status } }",
    }
    return json.dumps(body).encode()


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


async def _graphql(request: Request) -> Response:
    """Accept notifications; a scrape sends a query without any."""
    sent = (await request.json()).get("variables", {}).get("notifications", [])
    return JSONResponse({"data": {"sendNotifications": {"accepted": len(sent), "duplicates": 0}}})


def _notification_app() -> Starlette:
    return Starlette(routes=[Route("/v1/graphql", _graphql, methods=["POST"])])


@contextmanager
def notification_sink() -> Iterator[str]:
    """Run a server that accepts every notification; yield its URL."""
    with serve_in_process(_notification_app) as url:
        yield url


@contextmanager
def serve_in_process(make_app: Callable[[], Starlette]) -> Iterator[str]:
    """Run an application in a separate process; yield its URL.

    `make_app` must be a function of a module: the new process imports it by name.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(make_app, sender), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}"
    finally:
        process.terminate()
        process.join(5)


def _serve(make_app: Callable[[], Starlette], sender: Connection) -> None:
    config = uvicorn.Config(make_app(), host="127.0.0.1", port=0, log_level="error", access_log=False)
    listener = config.bind_socket()
    sender.send(listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])


def print_result(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result, as one JSON object on request.

    `result["bars"]` has the largest accepted figure by the name of the figure. Raises typer.Exit (code 1) if
    a figure is above it, after naming each such figure on standard error.
    """
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)
    exceeded = {name: bar for name, bar in result.get("bars", {}).items() if result[name] > bar}
    for name, bar in exceeded.items():
        typer.echo(f"{name} is {result[name]}, above its bar of {bar}.", err=True)
    if exceeded:
        raise typer.Exit(1)
