"""The embedded PostgreSQL: ready at once, local only, removed with its owner."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from sandbox.postgres import binaries
from sandbox.postgres.server import (
    EPHEMERAL_PORT_RANGE,
    RUN_ID,
    Cluster,
    ClusterError,
    free_port,
    server_url_from_environment,
)
from sandbox.stack.stack import Sandbox
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]

KILLED_OWNER = """
import sys
from sandbox.postgres.server import Cluster
with Cluster(durable=False) as cluster:
    print(cluster._home, cluster._data, cluster._server.pid, flush=True)
    sys.stdin.read()
"""


def _gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_database_is_cloned_with_its_rows(cluster: Cluster) -> None:
    origin, clone = f"origin_{RUN_ID}", f"clone_{RUN_ID}"
    with psycopg.connect(cluster.create_database(origin)) as connection:
        connection.execute("CREATE TABLE number AS SELECT 42 AS value")
    try:
        with psycopg.connect(cluster.create_database(clone, origin)) as connection:
            assert connection.execute("SELECT value FROM number").fetchall() == [(42,)]
    finally:
        cluster.drop_database(clone)
        cluster.drop_database(origin)


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
    owner = subprocess.Popen(
        [sys.executable, "-c", KILLED_OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert owner.stdin is not None
    assert owner.stdout is not None
    home, data, pid = owner.stdout.readline().split()
    assert Path(home).exists()
    assert Path(data).exists()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    eventually(lambda: _gone(int(pid)), seconds=20)
    eventually(lambda: not Path(home).exists() and not Path(data).parent.exists(), seconds=20)


def test_the_server_of_the_environment_is_used_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks and scenarios never use it: an operator's shell has the DATABASE_URL of production."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/production")
    with closing(Cluster()) as own, closing(Cluster(server_url=server_url_from_environment())) as named:
        assert (own.is_embedded, named.is_embedded) == (True, False)
    for room in ("sandbox/bench", "sandbox/chaos"):
        for path in (ROOT / room).glob("*.py"):
            assert not re.search("server_url_from_environment|server_url", path.read_text("utf-8")), path


def test_an_external_server_is_not_stopped(cluster: Cluster) -> None:
    with (
        Cluster(server_url=cluster.url("postgres")) as given,
        pytest.raises(ClusterError, match="cannot be stopped"),
    ):
        given.stop()
    with psycopg.connect(cluster.url("postgres")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_existing_database_name_is_refused_with_a_message(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match='database "postgres" already exists'):
        cluster.create_database("postgres")


def test_a_sandbox_drops_only_its_own_database(cluster: Cluster) -> None:
    """Even if it is closed before it created one, for example because the server does not answer."""
    kept = f"kept_{RUN_ID}"
    cluster.create_database(kept)
    sandbox = Sandbox(server_url=cluster.url("postgres"))
    sandbox.database = kept
    with pytest.raises(ClusterError, match="already exists"):
        sandbox.__enter__()
    with psycopg.connect(cluster.url(kept)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    cluster.drop_database(kept)
    Sandbox(server_url="postgresql://nobody@127.0.0.1:9/nothing").close()


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


def test_the_programs_found_are_new_enough() -> None:
    assert binaries.version(binaries.find()) >= binaries.MIN_MAJOR_VERSION


@pytest.mark.skipif(
    not EPHEMERAL_PORT_RANGE.exists(), reason="only Linux says which ports its kernel gives away"
)
def test_a_free_port_is_outside_the_ephemeral_range() -> None:
    """Otherwise outgoing connections take the port before the server binds it."""
    first_ephemeral = int(EPHEMERAL_PORT_RANGE.read_text().split()[0])
    found = {free_port() for _ in range(50)}
    assert len(found) > 40
    assert max(found) < first_ephemeral
    with closing(socket.create_server(("127.0.0.1", min(found)))) as server:
        assert server.getsockname()[1] in found
