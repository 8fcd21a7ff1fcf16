"""Run a temporary PostgreSQL server, or create databases on one that DATABASE_URL names.

Tests, demo and sandbox accept DATABASE_URL; benchmarks and chaos always start their own server.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from ops.waiting import poll
from sandbox.postgres import binaries
from sandbox.processes import Processes, Started, Unprivileged

START_TIMEOUT_SECONDS = 20.0
REACH_TIMEOUT_SECONDS = 5.0
"""For a server that DATABASE_URL names: it should run already."""
LOWEST_PORT = 12_000
"""Above the default ports of common services."""
EPHEMERAL_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
RUN_ID = secrets.token_hex(4)
"""Part of the database names of this process: a server named by DATABASE_URL may be shared."""

MEMORY = Path("/dev/shm")  # noqa: S108 - the directory that Linux keeps in memory
"""For the data of a server that is not durable, if it has room for them."""
MIN_MEMORY_BYTES = 4 * 2**30
"""Some tests write a million rows, and four servers run at a time."""

_WITHOUT_FLUSH = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "512MB",
}
_SETTINGS = {
    "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200",
    "timezone": "UTC", "log_timezone": "UTC", "log_min_messages": "error", "jit": "off",
    "log_line_prefix": "%u ",
    "max_prepared_transactions": "0", "max_wal_size": "2GB",
}  # fmt: skip


def server_url_from_environment() -> str | None:
    """Return DATABASE_URL: a server to create uniquely named databases on. They are dropped at the end."""
    return os.environ.get("DATABASE_URL") or None


class ClusterError(Exception):
    """PostgreSQL could not be started or reached; the message holds its last output."""


class Cluster(Started):
    """Context manager of one PostgreSQL server: an embedded one, or the one at `server_url`.

    `durable` keeps fsync and synchronous_commit on (benchmarks, chaos, demo). Tests switch it off: they need
    no commit that survives a crash, and run faster. `settings` are further settings of an embedded server.
    """

    def __init__(
        self,
        *,
        durable: bool = True,
        server_url: str | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.durable = durable
        self._settings = {**_SETTINGS, **({} if durable else _WITHOUT_FLUSH), **settings}
        self._server_url = server_url
        self._processes = Processes()
        self._owner = Unprivileged.choose()
        self._server: subprocess.Popen[str] | None = None
        self._home = self._data = self._bin = Path()
        self._password = secrets.token_hex(16)
        self._port = 0

    @property
    def is_embedded(self) -> bool:
        """Whether this process started the server, and may therefore stop and restart it."""
        return self._server_url is None

    @property
    def pid(self) -> int:
        """The process id of an embedded server that runs."""
        assert self._server is not None
        return self._server.pid

    @property
    def log(self) -> Path:
        return self._home / "server.log"

    def url(self, database: str) -> str:
        if self._server_url is not None:
            parts = urlsplit(self._server_url)
            return urlunsplit(parts._replace(path="/" + quote(database, safe="")))
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self._port}/{quote(database, safe='')}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of `template` if given, and return its URL.

        Raises ClusterError if the server refuses, for example because the name is taken.
        """
        source = sql.Identifier(template or "template0")
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), source)
        if self.is_embedded and not self.durable:
            # Takes half the time of WAL_LOG if nothing is flushed to disk.
            statement += sql.SQL(" STRATEGY FILE_COPY")
        self._execute(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and end the sessions that are connected to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def start(self) -> None:
        """Start the server, with the data of before if it was stopped.

        Raises ClusterError if it does not accept connections in time.
        """
        if self._server_url is not None:
            self._wait_ready(Path(os.devnull))
            return
        if not self._data.name:
            self._initialise()
        for _ in range(3):  # another process may take the free port before the server binds it
            self._port = self._port or free_port()
            with self.log.open("w") as output:
                self._server = self._processes.start(
                    self._command(), owner=self._owner, cwd=self._home, stdout=output,
                    stderr=subprocess.STDOUT, stop_signal=signal.SIGQUIT,
                )  # fmt: skip
            if self._wait_ready(self.log):
                return
            self._processes.stop(self._server)
            self._port = 0
        raise ClusterError("PostgreSQL found no free port in 3 attempts. Try again.")

    def stop(self, *, crash: bool = False) -> None:
        """Stop the server and keep its data: a fast shutdown, or with `crash` an immediate one.

        Raises ClusterError for a server that this process did not start.
        """
        if not self.is_embedded:
            raise ClusterError("DATABASE_URL names this PostgreSQL server: it cannot be stopped from here.")
        if self._server is not None:
            self._processes.stop(self._server, signal.SIGQUIT if crash else signal.SIGINT)
            self._server = None

    def close(self) -> None:
        """Stop the server and remove its data."""
        self._processes.close()

    def _initialise(self) -> None:
        self._home = self._processes.directory("pg-", self._owner)
        in_memory = not self.durable and has_room_in_memory()
        parent = self._processes.directory("pg-", self._owner, MEMORY) if in_memory else self._home
        self._data = parent / "data"
        self._bin = binaries.executable_by(self._owner, binaries.find(), self._home)
        password = self._home / "password"
        password.write_text(self._password)
        os.chown(password, *(-1 if part is None else part for part in (self._owner.uid, self._owner.gid)))
        arguments = ["--username=postgres", "--auth=password", f"--pwfile={password}", "--encoding=UTF8"]
        initdb = subprocess.run(
            [self._bin / "initdb", f"--pgdata={self._data}", "--no-locale", "--no-sync", *arguments],
            capture_output=True, text=True, cwd=self._home, check=False,
            user=self._owner.uid, group=self._owner.gid, extra_groups=self._owner.groups,
        )  # fmt: skip
        if initdb.returncode != 0:
            raise ClusterError(f"initdb failed:\n{initdb.stderr}")

    def _command(self) -> list[str]:
        settings = {**self._settings, "port": str(self._port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self._data), *options]

    def _wait_ready(self, log: Path) -> bool:
        """Wait until connections are accepted; return False if another process took the port."""
        for _ in poll(START_TIMEOUT_SECONDS if self.is_embedded else REACH_TIMEOUT_SECONDS, 0.02):
            try:
                with psycopg.connect(self.url(self._maintenance_database), connect_timeout=5):
                    return True
            except psycopg.OperationalError as error:
                refused = error
            if self._server is not None and self._server.poll() is not None:
                if "already in use" in log.read_text():
                    return False
                break
        text = f"PostgreSQL does not accept connections: {refused}\n{log.read_text()}"
        raise ClusterError(text) from refused

    @property
    def _maintenance_database(self) -> str:
        database = urlsplit(self._server_url).path.strip("/") if self._server_url is not None else ""
        return database or "postgres"

    def _execute(self, statement: sql.Composed) -> None:
        try:
            with psycopg.connect(self.url(self._maintenance_database), autocommit=True) as db_connection:
                db_connection.execute(statement)
        except psycopg.Error as error:
            raise ClusterError(f"PostgreSQL refused a statement: {error}") from error


def has_room_in_memory() -> bool:
    """Return whether any user may keep data in memory, and there is room: a container may have little."""
    is_open = MEMORY.is_dir() and MEMORY.stat().st_mode & 0o007 == 0o007
    return is_open and shutil.disk_usage(MEMORY).free >= MIN_MEMORY_BYTES


_RETURNED_PORTS: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 that no process listens on now, and that was not returned before.

    On Linux it is below the ephemeral range, from which the kernel takes ports for outgoing connections and
    for servers on port 0. Otherwise one of those could take the port before it is used. Neither do workers
    of pytest-xdist take those of each other: each has its share.
    """
    first_ephemeral = int(EPHEMERAL_PORT_RANGE.read_text().split()[0]) if EPHEMERAL_PORT_RANGE.exists() else 0
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = range(LOWEST_PORT + worker, first_ephemeral, workers) or range(1)  # 0 lets the kernel choose
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", secrets.choice(ports)))
            port = int(probe.getsockname()[1])
            if port not in _RETURNED_PORTS:
                _RETURNED_PORTS.add(port)
                return port
