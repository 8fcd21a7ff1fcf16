"""A customer's systems before `leads setup`, and what the customer does between its two runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from ops.setup.env_files import FILES, read_env_files
from proofs.incidents.breakages import metadata_api
from sandbox.diva.project import copy_project
from sandbox.edge import NginxEdge
from sandbox.postgres.database import MIGRATIONS
from sandbox.postgres.server import RUN_ID, Cluster
from sandbox.processes import ROOT
from sandbox.stack.customer import Customer as DivaCustomer
from tests.support.golive import GoLiveSite

LOGINS = f"setup_{RUN_ID}"


class Customer(DivaCustomer, GoLiveSite):
    """Its handlers and edge are processes of this machine, and are not started."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__(cluster, folder)
        self.pancake_folder = folder / "pancake"
        self.project_before: dict[str, bytes] = {}

    def start(self) -> None:
        """Start what the customer has, and write the answers file."""
        super().start()
        self.handlers = self._handlers("handlers")
        self.edge = self._edge()
        self.write_answers()

    def close(self) -> None:
        super().close()
        with psycopg.connect(self.cluster.url("postgres"), autocommit=True) as db:
            for role in ("handlers", "operators"):
                db.execute(f'DROP ROLE IF EXISTS "{LOGINS}_{role}"'.encode())

    def answers(self) -> dict[str, Any]:
        assert isinstance(self.edge, NginxEdge)
        return super().answers() | {"edge_status_url": self.edge.ops_url, "logins": LOGINS}

    def environment_of_leads(self) -> dict[str, str]:
        """The environment of a person with nothing but PostgreSQL's programs."""
        given = self.leads_environment()
        return {
            **{name: given[name] for name in ("PATH", "PYTHONPATH", "HOME")}, "COMMIT": "0123abc",
        }  # fmt: skip

    def values(self) -> Mapping[str, Mapping[str, str]]:
        """What the environment files hold."""
        return read_env_files(self.pancake_folder).values

    def add_lines_of_engine(self) -> None:
        """Add engine.env to the engine's environment, and restart the engine."""
        self.restart_engine_with(self.values()["engine.env"])

    def start_services(self) -> None:
        """Start handlers and edge with nothing but their files."""
        values = self.values()
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        self.handlers.environment = {**base, **values["handlers.env"]}
        self.handlers.start()
        assert isinstance(self.edge, NginxEdge)
        self.edge.add_environment({**values["edge.env"], "EDGE_POLICY_SECONDS": "0.2"})
        self.handlers.wait_ready()
        self.edge.start()
        self.edge.wait_ready()

    def stop_services(self) -> None:
        assert isinstance(self.edge, NginxEdge)
        self.edge.stop()
        self.handlers.stop()

    def metadata(self, kind: str, args: dict[str, Any]) -> None:
        metadata_api(self.hasura_url, self.keys.admin_secret, kind, args)

    def make_project(self) -> Path:
        """Have a project of the Hasura CLI with Diva's part, and name it in the answers file."""
        root = self.folder / "hasura"
        copy_project(root)
        self.project_before = self.files_of_project()
        self.write_answers(project=str(root))
        return root

    def files_of_project(self) -> dict[str, bytes]:
        root = self.folder / "hasura"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def files(self) -> dict[str, str]:
        """Return the text of each environment file."""
        return {name: (self.pancake_folder / name).read_text() for name in FILES}

    def deliver(self, number: int) -> str:
        """Deliver a lead as Pancake does; return the status that it is answered."""
        return self.deliver_to(self.pancake_folder / "webhook-url.txt", number)

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as db:
            db.execute(statements.encode())

    def add_accounts_until_the_index_is_left_out(self) -> None:
        """Make `account` larger than the 32 MB up to which migration 929 builds the index."""
        self.execute(
            "INSERT INTO account (display_name, phone_code, phone_number)"
            " SELECT repeat('x', 1900), '+84', '09' || lpad(i::text, 8, '0')"
            " FROM generate_series(1, 18000) AS i"
        )

    def own_migrations(self) -> set[str]:
        return {path.name.partition("_")[0] for path in MIGRATIONS.iterdir()}

    def recorded_migrations(self) -> set[str]:
        """What the Hasura CLI has recorded."""
        ((state,),) = self.query("SELECT cli_state FROM hdb_catalog.hdb_version")
        return set(state.get("migrations", {}).get("default", {}))
