"""An embedded PostgreSQL for sandbox, tests and benches: started in under a second, gone afterwards.

Tests, demo and sandbox may be given a server instead (`named_server`); benches and chaos never are.
"""

import os
import secrets
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from sandbox import postgres_binaries
from sandbox.processes import Processes, Unprivileged

START_SECONDS = 20.0
LOWEST_PORT = 12_000
GIVEN_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
RUN = secrets.token_hex(4)
"""Part of the names of this process's databases, which a server that is not ours may hold beside others'."""

_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_SETTINGS = {
    "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200",
    "timezone": "UTC", "log_timezone": "UTC", "log_min_messages": "fatal", "jit": "off",
    "max_prepared_transactions": "0", "max_wal_size": "2GB",
}  # fmt: skip


def named_server() -> str | None:
    """DATABASE_URL: a server to make databases on, with names that nobody has, dropped at the end."""
    return os.environ.get("DATABASE_URL") or None


class ClusterError(Exception):
    """PostgreSQL could not be started or reached; the message carries its last words."""


class Cluster:
    """Context manager around one PostgreSQL server: one of its own, or the one that `server_url` names.

    `durable` keeps fsync and synchronous_commit on (benches, chaos, the demo); without it commits are not
    flushed, which tests may afford.
    """

    def __init__(self, *, durable: bool = True, server_url: str | None = None) -> None:
        self.durable = durable
        self._given = server_url
        self._processes = Processes()
        self._owner = Unprivileged.choose()
        self._server: subprocess.Popen[str] | None = None
        self._home = self._data = self._bin = Path()
        self._password = secrets.token_hex(16)
        self._port = 0

    @property
    def embedded(self) -> bool:
        """Whether the server is ours, that is, may be stopped and restarted."""
        return self._given is None

    def url(self, database: str) -> str:
        """Connection URL of a database."""
        if self._given is not None:
            parts = urlsplit(self._given)
            return urlunsplit(parts._replace(path="/" + quote(database, safe="")))
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self._port}/{quote(database, safe='')}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of `template` if given, and return its URL.

        Raises ClusterError if the server refuses, say because the name is taken.
        """
        source = sql.Identifier(template or "template0")
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), source)
        if self.embedded and not self.durable:
            statement += sql.SQL(" STRATEGY FILE_COPY")  # half the time, where nothing is flushed
        self._execute(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and whoever is still connected to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def start(self) -> None:
        """Start the server; on the same data if it was stopped before.

        Raises ClusterError if it does not accept connections within START_SECONDS.
        """
        if self._given is not None:
            self._wait_ready(Path(os.devnull))
            return
        if not self._data.name:
            self._initialise()
        for _ in range(3):  # the free port may be taken before the server binds it
            self._port = self._port or free_port()
            log = self._home / "server.log"
            with log.open("w") as output:
                self._server = self._processes.start(
                    self._command(), owner=self._owner, cwd=self._home, stdout=output,
                    stderr=subprocess.STDOUT, stop_signal=signal.SIGQUIT,
                )  # fmt: skip
            if self._wait_ready(log):
                return
            self._processes.stop(self._server)
            self._port = 0
        raise ClusterError("PostgreSQL found no free port")

    def stop(self, *, crash: bool = False) -> None:
        """Stop the server and keep its data: a fast shutdown, or an immediate one as after a power cut.

        Raises ClusterError for a server that is not ours.
        """
        if not self.embedded:
            raise ClusterError("This PostgreSQL was given to us: it is not ours to stop.")
        if self._server is not None:
            self._processes.stop(self._server, signal.SIGQUIT if crash else signal.SIGINT)
            self._server = None

    def close(self) -> None:
        """Stop the server and remove its data."""
        self._processes.close()

    def _initialise(self) -> None:
        self._home = self._processes.directory("pg-", self._owner)
        self._data = self._home / "data"
        self._bin = postgres_binaries.executable_by(self._owner, postgres_binaries.find(), self._home)
        password = self._home / "password"
        password.write_text(self._password)
        os.chown(password, *(-1 if part is None else part for part in (self._owner.uid, self._owner.gid)))
        arguments = ["--username=postgres", "--auth=password", f"--pwfile={password}", "--encoding=UTF8"]
        made = subprocess.run(
            [self._bin / "initdb", f"--pgdata={self._data}", "--no-locale", "--no-sync", *arguments],
            capture_output=True, text=True, cwd=self._home, check=False,
            user=self._owner.uid, group=self._owner.gid, extra_groups=self._owner.groups,
        )  # fmt: skip
        if made.returncode != 0:
            raise ClusterError(f"initdb failed:\n{made.stderr}")

    def _command(self) -> list[str]:
        settings = {**_SETTINGS, "port": str(self._port), **({} if self.durable else _FAST)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self._data), *options]

    def _wait_ready(self, log: Path) -> bool:
        """True once connections are accepted, False if the port was taken meanwhile."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with psycopg.connect(self.url(self._maintenance), connect_timeout=5):
                    return True
            except psycopg.OperationalError as error:
                dead = self._server is not None and self._server.poll() is not None
                if dead and "already in use" in log.read_text():
                    return False
                if dead or time.monotonic() > deadline:
                    raise ClusterError(f"PostgreSQL does not answer: {error}\n{log.read_text()}") from error
                time.sleep(0.02)

    @property
    def _maintenance(self) -> str:
        named = urlsplit(self._given).path.strip("/") if self._given is not None else ""
        return named or "postgres"

    def _execute(self, statement: sql.Composed) -> None:
        try:
            with psycopg.connect(self.url(self._maintenance), autocommit=True) as connection:
                connection.execute(statement)
        except psycopg.Error as error:
            raise ClusterError(f"PostgreSQL refuses: {error}") from error

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on at this moment.

    It is none of those that the kernel gives to whoever asks for any (outgoing connections, servers on
    port 0), as far as the kernel says which they are: nothing takes it before it is used.
    """
    first_given = int(GIVEN_PORTS.read_text().split()[0]) if GIVEN_PORTS.exists() else 0
    ports = range(LOWEST_PORT, first_given) or range(1)  # 0 is any
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", secrets.choice(ports)))
            return int(probe.getsockname()[1])
