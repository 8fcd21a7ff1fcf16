"""The sandbox as one context manager: every service on a free port of 127.0.0.1."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from secrets import token_hex

import typer
from rich.console import Console

from leads.adapters.secrets import HEADER_NAME
from ops.settings import VARIABLES
from sandbox.diva.project import merge_project
from sandbox.edge import EdgeSettings, NginxEdge, missing_packages
from sandbox.postgres.binaries import PostgresNotFound
from sandbox.postgres.database import drop_logins, grant_rights, handlers_url, install_diva
from sandbox.postgres.server import Cluster, ClusterError, free_port
from sandbox.processes import ROOT, NotReady, Processes, Service, Started, bring_up
from sandbox.stack import hasura
from sandbox.stack.connection import WORKSPACE_ID, connect_pancake
from sandbox.stack.keys import Keys

PORTS = ("hasura", "handlers", "notifications", "edge", "pancake")
SLOW_MACHINE_SETTINGS = {"EDGE_PATH_TIMEOUT_MS": "1600"}
"""On a busy developer's machine the default timeout of the edge would spool deliveries."""


class Sandbox(Started):
    """Pancake, Diva, the stand-in for Hasura, the handlers and an edge on one database.

    The edge is the real one if nginx with Lua is installed, else the stand-in of sandbox/stack/edge.py.

    `cluster` is a running PostgreSQL server, which the caller closes. Without it the server at `server_url`
    is used, or else an embedded one is started. On a server that continues to run, the database is dropped
    at the end.
    `edge_environment`: EDGE_* variables of the real edge; by default SLOW_MACHINE_SETTINGS.
    `processes`: how many processes of the handlers, the `replicas`, share the address that others call.
    `engines`: how many processes of Hasura deliver events and crons. Others call the first.
    `accounts`: how many accounts Diva has before.
    """

    application = "app:create_app"

    def __init__(
        self,
        cluster: Cluster | None = None,
        server_url: str | None = None,
        edge_environment: Mapping[str, str] | None = None,
        processes: int = 1,
        accounts: int = 0,
        engines: int = 1,
    ) -> None:
        self.accounts = accounts
        self.keys = Keys.generate()
        self._edge_environment = SLOW_MACHINE_SETTINGS if edge_environment is None else edge_environment
        self._handlers_count = processes
        self._engines_count = engines
        self._own_cluster = cluster is None
        self.cluster = cluster or Cluster(server_url=server_url)
        self.database = f"diva_{token_hex(4)}"
        self._drops_database = False
        self._processes = Processes()
        self.home = self._processes.directory("sandbox-")
        self._ports = {name: free_port() for name in PORTS}
        self.hasura_url, self.handlers_url, self.notifications_url, self.edge_url, self.pancake_url = (
            f"http://127.0.0.1:{self._ports[name]}" for name in PORTS
        )
        self.webhook_url = f"{self.edge_url}/api/pancake/record/{self.keys.webhook_token}"

    @property
    def database_url(self) -> str:
        """The database with Diva's tables and the integration's."""
        return self.cluster.url(self.database)

    @property
    def hasura(self) -> Service:
        return self.engines[0]

    def start(self) -> None:
        """Start every service and wait until all are ready.

        Raises ClusterError, PostgresNotFound or NotReady.
        """
        if self._own_cluster:
            self.cluster.start()
        self.cluster.create_database(self.database)
        self._drops_database = not (self._own_cluster and self.cluster.is_embedded)
        install_diva(self.database_url, self.accounts)
        grant_rights(self.database_url)  # so that the handlers can log in; the tables follow
        self.engines = self._engines()
        self._add_surroundings(
            PANCAKE_WEBHOOK_URL=self.webhook_url,
            PANCAKE_WEBHOOK_HEADER=f"{HEADER_NAME}={self.keys.header_secret}",
        )
        self.edge = self._edge()
        self.replicas = self._replicas()
        self.handlers = self.replicas[0]
        bring_up(*self.engines[:1], self.notifications, self.pancake, *self.replicas)
        bring_up(*self.engines[1:])  # the first one has applied the migrations
        grant_rights(self.database_url)
        keys = self.keys
        connect_pancake(
            self.database_url, keys.encryption_keys, f"{self.pancake_url}/api",
            keys.pancake_api_key, keys.webhook_token, keys.header_secret,
        )  # fmt: skip
        self.edge.bring_up()
        self.edges: list[NginxEdge | Service] = [self.edge]

    def add_handlers(self, name: str) -> Service:
        """Start one more process of the handlers on the same database; no other service calls it."""
        self._ports[name] = free_port()
        return self._handlers(name).bring_up()

    def add_standby(self) -> NginxEdge:
        """Start a second edge beside the first one, on another port and with another folder."""
        standby = self._nginx_edge()
        standby.bring_up()
        self.edges.append(standby)
        return standby

    def add_small_edge(self) -> Service:
        """Start the stand-in of the edge beside the first edge."""
        self._ports["small-edge"] = free_port()
        return self._module("small-edge", "sandbox.stack.edge", ready="/healthz").bring_up()

    def close(self) -> None:
        """Stop every service, drop the database or remove the server, remove the files."""
        self._processes.close()
        if self._drops_database:
            self.cluster.drop_database(self.database)
            if not self.cluster.is_embedded:
                drop_logins(self.cluster.url("postgres"))
        if self._own_cluster:
            self.cluster.close()

    def environment(self) -> dict[str, str]:
        """Return the addresses and secrets for the commands of leads and other clients of the sandbox."""
        services = self._service_variables()
        return {
            **(self.edge.operators_environment() if isinstance(self.edge, NginxEdge) else {}),
            **{name: services[name] for name in VARIABLES if name in services},
            "HASURA_ADMIN_SECRET": self.keys.admin_secret,
            "PUBLIC_URL": self.edge_url,
            "PANCAKE_API_HOSTS": self.pancake_url,
            "WEBHOOK_URL": self.webhook_url,
            "WEBHOOK_TOKEN": self.keys.webhook_token,
            "NOTIFICATIONS_URL": self.notifications_url,
            "PANCAKE_URL": self.pancake_url,
            "PANCAKE_CONTROL_URL": f"{self.pancake_url}/control",
        }

    def _add_surroundings(self, **webhook: str) -> None:
        """Make Diva's notification service and Pancake, which are not started yet."""
        self.notifications = self._module("notifications", "sandbox.diva.notifications", ready="/healthz")
        self.pancake = self._module(
            "pancake", "sandbox.pancake", *self._pancake_arguments(), ready="/control/state",
            PANCAKE_API_KEY=self.keys.pancake_api_key, **webhook,
        )  # fmt: skip

    def _engines(self) -> list[Service]:
        command = (*hasura.COMMAND, *self._hasura_arguments())
        more = [f"hasura-{number}" for number in range(2, self._engines_count + 1)]
        self._ports |= {name: free_port() for name in more}
        return [
            self._service(name, command, ready="/healthz", PYTHONPATH=hasura.PYTHONPATH)
            for name in ("hasura", *more)
        ]

    def _edge(self) -> NginxEdge | Service:
        if missing_packages():
            return self._module("edge", "sandbox.stack.edge", ready="/healthz")
        return self._nginx_edge(self._ports["edge"])

    def _nginx_edge(self, port: int = 0) -> NginxEdge:
        settings = EdgeSettings(
            hasura_url=self.hasura_url,
            handlers_url=self.handlers_url,
            hasura_token=self.keys.token("pancake_edge"),
            edge_secret=self.keys.edge_secret,
            port=port,
            environment=self._edge_environment,
        )
        return NginxEdge(self._processes, settings)

    def _replicas(self) -> list[Service]:
        if self._handlers_count == 1:
            return [self._handlers("handlers")]
        names = [f"handlers-{number}" for number in range(1, self._handlers_count + 1)]
        self._ports |= {name: free_port() for name in names}
        return [self._handlers(name, is_shared=True) for name in names]

    def _handlers(self, name: str, *, is_shared: bool = False) -> Service:
        alone = ("uvicorn", self.application, "--factory", "--no-access-log")
        shared = ("sandbox.stack.replica", self.application, f"--shared-port={self._ports['handlers']}")
        url = handlers_url(self.database_url)
        return self._module(
            name, *(shared if is_shared else alone),
            ready="/readyz", DATABASE_URL=url, METADATA_DATABASE_URL=url,
        )  # fmt: skip

    def _module(self, name: str, module: str, *arguments: str, ready: str, **environment: str) -> Service:
        return self._service(name, (sys.executable, "-m", module, *arguments), ready=ready, **environment)

    def _service(self, name: str, command: Sequence[str], *, ready: str, **environment: str) -> Service:
        port = self._ports[name]
        return Service(
            name=name,
            arguments=[*command, "--port", str(port)],
            environment={**self._service_environment(), **environment},
            url=f"http://127.0.0.1:{port}",
            ready_path=ready,
            log=self.home / f"{name}.log",
            processes=self._processes,
        )

    def _hasura_arguments(self) -> list[str]:
        metadata = hasura.metadata_option(merge_project(self.home / "hasura"), self.home / "metadata.json")
        return [*metadata, "--migrations", str(ROOT / "hasura" / "migrations")]

    def _pancake_arguments(self) -> list[str]:
        return [f"--workspace-id={WORKSPACE_ID}"]

    def _service_environment(self) -> Mapping[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), **self._service_variables()}

    def _service_variables(self) -> Mapping[str, str]:
        """Return the variables of all services; none has two meanings."""
        return {
            "DATABASE_URL": self.database_url,
            "PG_DATABASE_URL": hasura.source_url(self.database_url),
            "HASURA_GRAPHQL_DATABASE_URL": self.database_url,
            "METADATA_DATABASE_URL": self.database_url,
            "HASURA_URL": self.hasura_url,
            "HASURA_SERVICE_TOKEN": self.keys.token("pancake_service"),
            "HASURA_EDGE_TOKEN": self.keys.token("pancake_edge"),
            "HASURA_GRAPHQL_ADMIN_SECRET": self.keys.admin_secret,
            "HASURA_GRAPHQL_JWT_SECRET": self.keys.jwt_secret,
            "HASURA_GRAPHQL_ENABLE_ALLOWLIST": "true",
            "HASURA_GRAPHQL_ENABLED_LOG_TYPES": hasura.LOG_TYPES,
            "HANDLERS_URL": self.handlers_url,
            "HANDLER_SECRET": self.keys.handler_secret,
            "EDGE_SECRET": self.keys.edge_secret,
            "ENCRYPTION_KEYS": self.keys.encryption_keys,
            "PANCAKE_API_HOSTS": self.pancake_url,
            "NOTIFICATIONS_URL": self.notifications_url,
        }


@contextmanager
def exit_unless_started(console: Console, what: str) -> Iterator[None]:
    """Say what did not start. Raises typer.Exit: 2 if PostgreSQL is not installed, 3 if a service fails."""
    try:
        yield
    except (ClusterError, PostgresNotFound, NotReady) as error:
        console.print(f"[red]{what} did not start:[/] {error}", highlight=False)
        raise typer.Exit(2 if isinstance(error, PostgresNotFound) else 3) from error
