"""The environment of a benchmark, PostgreSQL, handlers and the servers that they call; what work costs in it.

Contenders take turns in short slices, so that other work on the machine meets all of them alike.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import cycle, permutations
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from types import MappingProxyType
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

from leads.adapters.database import load_queries
from leads.adapters.secrets import KeyRing, SecretScope
from ops.daily.connection_secrets import seal
from proofs.loadtest.costs import cpu_seconds_of_tree
from proofs.sender import tick_answers
from sandbox.diva.project import merge_project
from sandbox.postgres.database import install_diva
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import ROOT, Processes, Service
from sandbox.stack.hasura import start_engine

OWN_STATEMENTS = load_queries(Path(__file__).parent)
TOKEN = "token-of-the-benchmark"
TOKEN_SHA256 = sha256(TOKEN.encode()).hexdigest()
SECRET = "secret-of-the-benchmark-of-32-characters"
ENCRYPTION_KEYS = "bench:" + "A" * 43 + "="
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
UNREACHABLE_URL = "http://127.0.0.1:9"  # the discard port, where no process listens


@dataclass(frozen=True)
class BenchEnvironment:
    """A running handler process and its database."""

    cluster: Cluster
    database_url: str
    handler_pid: int
    handler_url: str
    pancake_url: str
    """Where the handler may send an API key; `simulator` listens there."""

    def rss_mb(self) -> float:
        return self._memory_mb("VmRSS")

    def peak_rss_mb(self) -> float:
        """Return the peak resident memory of the handler process in MB."""
        return self._memory_mb("VmHWM")

    def cpu_seconds(self) -> float:
        return cpu_seconds_of_tree(self.handler_pid)

    def _memory_mb(self, name: str) -> float:
        lines = Path(f"/proc/{self.handler_pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


@contextmanager
def bench_environment(
    hasura_url: str = UNREACHABLE_URL, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[BenchEnvironment]:
    """Start database and handler; the handler sends notifications to `hasura_url`.

    `settings` are further settings of PostgreSQL.
    """
    with Cluster(durable=True, settings=settings) as cluster, Processes() as processes:
        url = cluster.create_database("benchmark")
        install_diva(url)
        install_engine(processes, url)
        run_script(url, "seed", token_sha256=TOKEN_SHA256)
        pancake_url = f"http://127.0.0.1:{free_port()}"
        handlers = _start_handlers(processes, url, hasura_url, pancake_url)
        assert handlers.process is not None
        yield BenchEnvironment(cluster, url, handlers.process.pid, handlers.url, pancake_url)


def describe_machine() -> dict[str, object]:
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
    migrations = ("--migrations", str(ROOT / "hasura/migrations"))
    start_engine(processes, url, *migrations, metadata=metadata, environment=environment).stop()


def _start_handlers(processes: Processes, url: str, hasura_url: str, pancake_url: str) -> Service:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:create_app", "--factory", "--port", str(port)]
    return Service(
        name="handlers",
        arguments=[*command, "--no-access-log", "--no-server-header"],
        environment={
            **os.environ, "DATABASE_URL": url, "METADATA_DATABASE_URL": url, "HASURA_URL": hasura_url,
            "HASURA_SERVICE_TOKEN": "unused", "HANDLER_SECRET": SECRET, "EDGE_SECRET": SECRET,
            "ENCRYPTION_KEYS": ENCRYPTION_KEYS, "PANCAKE_API_HOSTS": pancake_url, "LOG_LEVEL": "INFO",
        },
        url=f"http://127.0.0.1:{port}",
        ready_path="/healthz",
        log=Path(os.devnull),
        processes=processes,
    ).bring_up()  # fmt: skip


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

    def tick(self, name: str) -> float:
        """Deliver one tick of a cron until it is finished; return the seconds that took."""
        started = time.monotonic()
        for answer in tick_answers(self.bench.handler_url, SECRET, name, datetime.now(UTC)):
            self.call_seconds.append(answer.elapsed.total_seconds())
        if answer.status_code != 200:
            raise RuntimeError(f"{name}: {answer.status_code} {answer.text}")
        return time.monotonic() - started


@contextmanager
def simulator(bench: BenchEnvironment) -> Iterator[Simulator]:
    """Start the simulator and point the connection of the benchmark to it, created a month ago."""
    url = bench.pancake_url
    options = ("--port", url.rpartition(":")[2], "--workspace-id", "1", "--api-key", API_KEY)
    with Processes() as processes:
        Service(
            name="pancake",
            arguments=[sys.executable, "-m", "sandbox.pancake", *options],
            environment={**os.environ, "PYTHONPATH": str(ROOT)},
            url=url,
            ready_path="/control/state",
            log=processes.directory("bench-") / "pancake.log",
            processes=processes,
        ).bring_up()
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


def notification_sink() -> Starlette:
    """Create a server that accepts every notification."""
    return Starlette(routes=[Route("/v1/graphql", _graphql, methods=["POST"])])


def upstream_of_edge(
    record: Callable[[Request], Awaitable[Response]], *more: Route, **modes: object
) -> Starlette:
    """Create what an edge calls: Hasura's endpoint, and the handlers' policy with one connection, `bench`."""
    connection = {"id": "bench", "token_sha256": [{"sha256": TOKEN_SHA256, "expires_at": None}], **modes}

    async def policy(_: Request) -> Response:
        made_at = datetime.now(UTC).isoformat()
        return JSONResponse({"version": "1", "generated_at": made_at, "connections": [connection]})

    path = "/api/rest/pancake/record"
    return Starlette(routes=[Route(path, record, methods=["POST"]), Route("/edge/policy", policy), *more])


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


STATISTICS_DELAY_SECONDS = 10.5
"""An idle session reports what it read after 10 s (PGSTAT_IDLE_INTERVAL of PostgreSQL's pgstat.c)."""

_BLOCKS = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"

Costs = dict[str, float]


@dataclass(frozen=True, slots=True)
class Piece:
    """Work that is done `repeats` times in a round, with a pause before each."""

    name: str
    repeats: int
    prepare: Callable[[], Callable[[], object]]
    """Returns the work of a round; what it does itself is not measured."""
    rounds: int = 4
    pause_seconds: float = 0.0
    settle_seconds: float = STATISTICS_DELAY_SECONDS
    """Until PostgreSQL knows which blocks a round touched: no time if the round closes its session."""


def measure(bench: BenchEnvironment, piece: Piece) -> Costs:
    """Return the costs of one repeat, after a round for warm connections, plans and caches.

    The least of the rounds: other work on the machine can only add to a time. `ms_p50` is the median,
    `blocks` are those of 8 KiB that PostgreSQL touched in one more round.
    """
    piece.prepare()()
    rounds = [_round(bench, piece) for _ in range(piece.rounds)]
    blocks = _blocks_of(bench, piece)
    return {
        "ms": round(min(each[0] for each in rounds), 2),
        "ms_p50": round(median(each[0] for each in rounds), 2),
        "postgres_cpu_ms": round(min(each[1] for each in rounds), 2),
        "handler_cpu_ms": round(min(each[2] for each in rounds), 2),
        "blocks": round(blocks / piece.repeats, 1),
    }


def _round(bench: BenchEnvironment, piece: Piece) -> tuple[float, float, float]:
    """Return the milliseconds of one repeat: by the clock, of PostgreSQL's CPU, of the handler's CPU."""
    work = piece.prepare()
    before = cpu_seconds_of_tree(bench.cluster.pid), bench.cpu_seconds()
    started = time.perf_counter()
    work()
    seconds = (time.perf_counter() - started) / piece.repeats - piece.pause_seconds
    postgres = (cpu_seconds_of_tree(bench.cluster.pid) - before[0]) / piece.repeats
    handler = (bench.cpu_seconds() - before[1]) / piece.repeats
    return seconds * 1000, postgres * 1000, handler * 1000


def _blocks_of(bench: BenchEnvironment, piece: Piece) -> int:
    work = piece.prepare()
    with psycopg.connect(bench.database_url, autocommit=True) as db:
        _wait_for_statistics(piece.settle_seconds)
        (before,) = db.execute(_BLOCKS).fetchall()
        work()
        _wait_for_statistics(piece.settle_seconds)
        (after,) = db.execute(_BLOCKS).fetchall()
        return int(after[0] - before[0])


def _wait_for_statistics(seconds: float) -> None:
    time.sleep(seconds)


Spread = dict[str, float]


@dataclass(frozen=True, slots=True)
class Done:
    """How much was done, and in how many seconds."""

    number: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.number / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Slice:
    """One measurement of one contender; `cpu_us` is the CPU time of one piece of work, by process."""

    rate: float
    cpu_us: Mapping[str, float]


Contender = Callable[[], Callable[[], Done]]
"""Prepares a slice, which is not measured, and returns its work."""


def run_slices(
    bench: BenchEnvironment, contenders: Mapping[str, Contender], rounds: int, console: Console
) -> dict[str, list[Slice]]:
    """Measure one slice of each contender in each round; their order changes from round to round."""
    slices: dict[str, list[Slice]] = {name: [] for name in contenders}
    orders = cycle(permutations(contenders))
    for number in range(1, rounds + 1):
        for name in next(orders):
            slices[name].append(_slice(bench, contenders[name]()))
        rates = ", ".join(f"{name} {found[-1].rate:,.0f}/s" for name, found in slices.items())
        console.print(f"round {number}: {rates}")
    return slices


def spread(values: Sequence[float], digits: int = 3) -> Spread:
    """Return median, quartiles, the least, and the number of the values."""
    cuts = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    figures = {"median": median(values), "q1": cuts[0], "q3": cuts[2], "min": min(values)}
    return {name: round(value, digits) for name, value in figures.items()} | {"n": len(values)}


def ratio(slices: Sequence[Slice], baseline: Sequence[Slice]) -> Spread:
    """Return the rate as a ratio to the baseline's, from the pairs of the same round."""
    return spread([ours.rate / theirs.rate for ours, theirs in zip(slices, baseline, strict=True)])


def figures(slices: Sequence[Slice]) -> dict[str, Any]:
    """Return rates per second; of each process the CPU time for one piece of work in µs, and cores in use.

    A process of one thread that uses a whole core limits the rate.
    """
    processes = slices[0].cpu_us
    return {
        "rate": spread([each.rate for each in slices], 0),
        "cpu_us": {name: spread([each.cpu_us[name] for each in slices], 0) for name in processes},
        "cores": {
            name: round(median(each.rate * each.cpu_us[name] / 1e6 for each in slices), 2)
            for name in processes
        },
    }


def _slice(bench: BenchEnvironment, work: Callable[[], Done]) -> Slice:
    before = dict(_cpu_seconds(bench))
    done = work()
    used = {name: seconds - before[name] for name, seconds in _cpu_seconds(bench)}
    return Slice(done.rate, {name: seconds / max(1, done.number) * 1e6 for name, seconds in used.items()})


def _cpu_seconds(bench: BenchEnvironment) -> Iterator[tuple[str, float]]:
    """Yield what each process has used so far; `client` is the load generator, also if that is pgbench."""
    own = os.times()
    yield "handler", bench.cpu_seconds()
    yield "postgres", cpu_seconds_of_tree(bench.cluster.pid)
    yield "client", own.user + own.system + own.children_user + own.children_system
