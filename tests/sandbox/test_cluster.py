"""The embedded PostgreSQL: usable at once, private to this machine, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from sandbox import postgres_binaries
from sandbox.cluster import Cluster

ROOT = Path(__file__).parents[2]

KILLED_OWNER = """
import sys
from sandbox.cluster import Cluster
with Cluster(durable=False, server_url=None) as cluster:
    print(cluster._home, cluster._server.pid, flush=True)
    sys.stdin.read()
"""


def _gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_database_is_cloned_with_its_rows(cluster: Cluster) -> None:
    origin, clone = f"origin_{os.getpid()}", f"clone_{os.getpid()}"
    with psycopg.connect(cluster.create_database(origin)) as connection:
        connection.execute("CREATE TABLE number AS SELECT 42 AS value")
    try:
        with psycopg.connect(cluster.create_database(clone, origin)) as connection:
            assert connection.execute("SELECT value FROM number").fetchall() == [(42,)]
    finally:
        cluster.drop_database(clone)
        cluster.drop_database(origin)


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.mark.usefixtures("own_server")
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


@pytest.mark.usefixtures("own_server")
def test_the_server_and_its_files_go_when_its_owner_is_killed() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", KILLED_OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert owner.stdin is not None
    assert owner.stdout is not None
    home, pid = owner.stdout.readline().split()
    assert Path(home).exists()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (_gone(int(pid)) and not Path(home).exists()):
        time.sleep(0.02)
    assert _gone(int(pid))
    assert not Path(home).exists()


def test_the_programs_found_are_new_enough() -> None:
    assert postgres_binaries.version(postgres_binaries.find()) >= postgres_binaries.OLDEST
