"""The servers of the sandbox: PostgreSQL, child processes, replicas on one port, the stand-in for Hasura."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest

from sandbox.postgres.database import install_diva, psql_environment
from sandbox.postgres.server import (
    EPHEMERAL_PORT_RANGE,
    RUN_ID,
    Cluster,
    ClusterError,
    free_port,
    server_url_from_environment,
)
from sandbox.processes import FOLDER, LOGS, ROOT, Processes, Service, bring_up
from sandbox.stack.hasura import source_url, start_engine
from sandbox.stack.stack import Sandbox
from tests.support.waiting import eventually

KILLED_OWNER = """
import sys
from sandbox.postgres.server import Cluster
with Cluster(durable=False) as cluster:
    print(cluster._home, cluster._data, cluster._server.pid, flush=True)
    sys.stdin.read()
"""


def is_gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.slow("it flushes to disk")
def test_rows_survive_a_crash_of_a_durable_server() -> None:
    with Cluster(durable=True) as cluster:
        with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        cluster.stop(crash=True)
        cluster.start()
        with psycopg.connect(cluster.url("postgres")) as connection:
            assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]


def test_the_server_and_its_files_are_removed_when_its_owner_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as owner:  # fmt: skip
        assert owner.stdout is not None
        home, data, pid = owner.stdout.readline().split()
        assert Path(home).exists()
        assert Path(data).exists()
        owner.kill()
    eventually(lambda: is_gone(int(pid)), seconds=20)
    eventually(lambda: not Path(home).exists() and not Path(data).parent.exists(), seconds=20)


def test_the_server_of_the_environment_is_used_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks and scenarios never use it: an operator's shell has the DATABASE_URL of production."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:9/production")
    with closing(Cluster()) as own, closing(Cluster(server_url=server_url_from_environment())) as named:
        assert (own.is_embedded, named.is_embedded) == (True, False)
    users = (path for room in ("bench", "chaos") for path in (ROOT / "proofs" / room).glob("*.py"))
    assert [path for path in users if "server_url" in path.read_text("utf-8")] == []


def test_a_sandbox_drops_only_its_own_database_of_an_external_server(cluster: Cluster) -> None:
    """Even if it is closed before it created one, for example because the server does not answer."""
    with (
        Cluster(server_url=cluster.url("postgres")) as given,
        pytest.raises(ClusterError, match="be stopped"),
    ):
        given.stop()
    kept = f"kept_{RUN_ID}"
    cluster.create_database(kept)
    sandbox = Sandbox(server_url=cluster.url("postgres"))
    sandbox.database = kept
    with pytest.raises(ClusterError, match=f'database "{kept}" already exists'):
        sandbox.__enter__()
    with psycopg.connect(cluster.url(kept)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    cluster.drop_database(kept)
    Sandbox(server_url="postgresql://postgres@127.0.0.1:9/nothing").close()


def test_diva_has_so_many_analysed_accounts_before_us(cluster: Cluster) -> None:
    name = f"accounts_{RUN_ID}"
    install_diva(cluster.create_database(name), accounts=300)
    with psycopg.connect(cluster.url(name)) as connection:
        analysed = "SELECT reltuples >= 300 FROM pg_class WHERE relname IN ('account', 'contact_book')"
        assert connection.execute(analysed).fetchall() == [(True,), (True,)]
    cluster.drop_database(name)


def test_a_sandbox_that_cannot_start_removes_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox()
    urls = []

    def refuse(_name: str) -> None:
        urls.append(sandbox.cluster.url("postgres"))
        psycopg.connect(urls[0]).close()
        raise ClusterError("refused")

    monkeypatch.setattr(sandbox.cluster, "create_database", refuse)
    with pytest.raises(ClusterError, match="refused"):
        sandbox.__enter__()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(urls[0], connect_timeout=5)


def test_no_page_of_another_site_reaches_a_control_port() -> None:
    """By its Origin, or with a name of its own that leads to this machine."""
    with Processes() as processes:
        arguments = [sys.executable, "-m", "sandbox.diva.notifications"]
        process = processes.start(arguments, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as output:
            url = output.readline().strip()
        codes = {
            name: httpx.delete(f"{url}/sent", headers=headers).status_code
            for name, headers in {
                "a command": {},
                "a container": {"Host": "notifications:8080"},
                "a page": {"Origin": "https://evil.example.com"},
                "a page without an origin": {"Origin": "null"},
                "a page of another port": {"Origin": "http://127.0.0.1:1"},
                "a page of this network": {"Origin": "http://router:80", "Host": "router:80"},
                "a foreign name": {"Host": "evil.example.com:8080"},
            }.items()
        }
    assert list(codes.values()) == [200, 200, *[403] * 5], codes


on_linux = pytest.mark.skipif(
    not EPHEMERAL_PORT_RANGE.exists(), reason="only Linux says which ports its kernel gives away"
)


@on_linux
def test_a_free_port_is_outside_the_ephemeral_range() -> None:
    """Otherwise outgoing connections take the port before the server binds it."""
    first_ephemeral = int(EPHEMERAL_PORT_RANGE.read_text().split()[0])
    found = {free_port() for _ in range(50)}
    assert len(found) > 40
    assert max(found) < first_ephemeral
    with closing(socket.create_server(("127.0.0.1", min(found)))) as server:
        assert server.getsockname()[1] in found


@on_linux
def test_workers_of_a_test_run_take_no_port_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    for worker in range(3):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{worker}")
        assert {free_port() % 3 for _ in range(20)} == {worker}


STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


def test_a_child_gets_sigterm_first_and_sigkill_if_it_ignores_that() -> None:
    with Processes() as processes:
        directory = processes.directory("test-")
        log = directory / "log"
        with log.open("w") as output:
            stubborn = processes.start([sys.executable, "-c", STUBBORN], stdout=output)
        child = processes.start(["/bin/sleep", "60"])
        eventually(log.read_text, seconds=20)
        assert processes.stop(stubborn, timeout_seconds=0.2) == -signal.SIGKILL
    assert child.returncode == -signal.SIGTERM
    assert not directory.exists()


def test_a_process_that_got_the_number_of_an_ended_child_is_left_alone() -> None:
    with Processes() as others:
        other = others.start(["/bin/sleep", "60"])
        with Processes() as processes:
            processes._notify_reaper(f"run {other.pid} TERM 1")
        assert other.poll() is None


def replica(shared_port: int, log: Path, processes: Processes) -> Service:
    port = free_port()
    program = [sys.executable, "-m", "sandbox.stack.replica", "proofs.chaos.outages:create_upstream"]
    return Service(
        name="replica", arguments=[*program, f"--shared-port={shared_port}", f"--port={port}"],
        environment={"PYTHONPATH": str(ROOT)}, url=f"http://127.0.0.1:{port}", ready_path="/taken",
        log=log, processes=processes,
    )  # fmt: skip


def test_each_process_takes_a_share_of_the_connections_and_one_alone_takes_all(tmp_path: Path) -> None:
    shared_port = free_port()

    def post(count: int) -> None:
        for _ in range(count):  # each over a new connection
            url = f"http://127.0.0.1:{shared_port}/api/rest/pancake/record"
            httpx.post(url, json={"raw": "e30="}).raise_for_status()

    def taken(service: Service) -> int:
        return len(httpx.get(f"{service.url}/taken").json())

    with Processes() as processes:
        first, second = (replica(shared_port, tmp_path / f"{number}.log", processes) for number in range(2))
        bring_up(first, second)
        post(60)
        shares = [taken(first), taken(second)]
        assert sum(shares) == 60
        assert all(shares)
        first.kill()
        post(5)
        assert taken(second) == shares[1] + 5


SECRET = "admin-secret-of-the-test"


@pytest.mark.own_database
def test_the_stand_in_ends_long_statements_hides_its_secrets_and_hands_over_its_log(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """docs/runbook/install.md, step 3, and the search for canaries."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with Processes() as processes:
        url = source_url(database, "200ms")
        engine = start_engine(processes, url, environment={"HASURA_GRAPHQL_ADMIN_SECRET": SECRET})
        assert engine.process is not None
        shown = Path(f"/proc/{engine.process.pid}/cmdline").read_text()
        answer = httpx.post(
            f"{engine.url}/v2/query",
            json={"type": "run_sql", "args": {"sql": "SELECT pg_sleep(20)", "read_only": True}},
            headers={"x-hasura-admin-secret": SECRET},
            timeout=10,
        )
    assert answer.status_code >= 400
    assert "canceling statement due to statement timeout" in answer.text
    assert "graphql_engine" in shown
    for secret in (database, url, SECRET, psql_environment(database).get("PGPASSWORD", database)):
        assert secret not in shown
    found = [path.read_text() for pattern in LOGS for path in tmp_path.glob(f"**/{pattern}")]
    assert ["Stand-in" in text for text in found] == [True]


def test_the_limit_of_statements_is_30_s_in_the_url_of_the_sandboxs_engine(database: str) -> None:
    for more in ("", "?application_name=engine"):
        with psycopg.connect(source_url(database + more)) as session:
            assert session.execute("SHOW statement_timeout").fetchone() == ("30s",)
    with closing(Sandbox(server_url="postgresql://postgres@127.0.0.1:9/postgres")) as sandbox:
        assert sandbox._service_environment()["PG_DATABASE_URL"] == source_url(sandbox.database_url)
