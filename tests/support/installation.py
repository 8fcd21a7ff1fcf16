"""A customer's systems before `leads setup`, and what the customer does between its two runs."""

import json
import os
import pty
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner, Result

from ops.cli import app
from ops.clients.hasura_admin import Engine
from ops.golive.deploy.steps import LAST_OF_CHECKLIST, versions_of
from ops.setup.answers import gather
from ops.setup.env_files import FILES, EnvFiles, read_env_files
from ops.setup.steps import Setup
from proofs.incidents.faults import metadata_api
from sandbox.diva.project import copy_project
from sandbox.edge import NginxEdge
from sandbox.postgres import binaries
from sandbox.postgres.database import MIGRATIONS
from sandbox.postgres.server import RUN_ID, Cluster, free_port
from sandbox.processes import ROOT
from sandbox.stack.bare import Customer as DivaCustomer
from sandbox.stack.hasura import source_url
from tests.support.golive import GoLiveSite
from tests.support.programs import Done, run
from tests.support.waiting import eventually

LOGINS = f"setup_{RUN_ID}"
DONE = {"done", "was done"}


class Customer(DivaCustomer, GoLiveSite):
    """Its handlers and edge are processes of this machine, and are not started."""

    edge: NginxEdge

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__(cluster, folder)
        self.pancake_folder = folder / "pancake"
        self.project_before: dict[str, bytes] = {}

    def start(self) -> None:
        """Start what the customer has, and write the answers file."""
        super().start()
        self.handlers = self._handlers("handlers")
        self.edge = self._nginx_edge(self._ports["edge"])
        self.write_answers()

    def close(self) -> None:
        super().close()
        with psycopg.connect(self.cluster.url("postgres"), autocommit=True) as db:
            for role in ("handlers", "operators"):
                db.execute(f'DROP ROLE IF EXISTS "{LOGINS}_{role}"'.encode())

    def answers(self) -> dict[str, Any]:
        return super().answers() | {"edge_status_url": self.edge.ops_url, "logins": LOGINS}

    def leads_environment(self) -> dict[str, str]:
        """The environment of a person with nothing but PostgreSQL's programs."""
        given = super().leads_environment()
        return {name: given[name] for name in ("PATH", "PYTHONPATH", "HOME", "COMMIT")}

    def values(self) -> Mapping[str, Mapping[str, str]]:
        """What the environment files hold."""
        return read_env_files(self.pancake_folder).values

    def url_as(self, login: str, password: str) -> str:
        """The database's URL for another login."""
        parts = conninfo_to_dict(self.database_url)
        return f"postgresql://{login}:{password}@{parts['host']}:{parts['port']}/{self.database}"

    def restart_engine_as(self, database_url: str) -> None:
        """Restart the engine with another login to its database and source, which are one."""
        self.restart_engine_with({
            "HASURA_GRAPHQL_DATABASE_URL": database_url, "PG_DATABASE_URL": source_url(database_url),
        })  # fmt: skip

    def add_lines_of_engine(self) -> None:
        """Add engine.env to the engine's environment, and restart the engine."""
        self.restart_engine_with(self.values()["engine.env"])

    def start_services(self) -> None:
        """Start handlers and edge with nothing but their files."""
        values = self.values()
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        self.handlers.environment = {**base, **values["handlers.env"]}
        self.handlers.start()
        self.edge.add_environment({**values["edge.env"], "EDGE_POLICY_SECONDS": "0.2"})
        self.handlers.wait_ready()
        self.edge.start()
        self.edge.wait_ready()

    def stop_services(self) -> None:
        self.edge.stop()
        self.handlers.stop()

    @contextmanager
    def in_another_network(self) -> Iterator[None]:
        """Have `leads` where neither edge nor handlers answer at the addresses of operators."""
        path = self.pancake_folder / "ops.env"
        before = path.read_text()
        elsewhere = rf"\1_URL=http://127.0.0.1:{free_port()}"
        path.write_text(re.sub(r"(?m)^(EDGE_STATUS|HANDLERS)_URL=.*", elsewhere, before))
        self.write_answers(edge_status_url=None)
        try:
            yield
        finally:
            path.write_text(before)
            self.write_answers()

    def engine(self) -> Engine:
        return Engine(self.hasura_url, self.keys.admin_secret)

    def export(self) -> dict[str, Any]:
        with self.engine() as engine:
            return engine.export()[0]

    def take_newer_migrations_back(self) -> list[str]:
        """Have the schema of the checklist's version; return the last digits of the newer versions."""
        newer = [version for version in versions_of(MIGRATIONS) if version > LAST_OF_CHECKLIST]
        for version in reversed(newer):
            (path,) = MIGRATIONS.glob(f"{version}_*/down.sql")
            self.execute(path.read_text())
        with self.engine() as engine:
            engine.record_migrations("default", newer, is_applied=False)
        return [version[-3:] for version in newer]

    def rows_of_dump(self, file: str, table: str) -> list[str]:
        """Return the rows of a table that a dump of the folder holds, as text."""
        words = ("--data-only", f"--table={table}", "--file=-", self.pancake_folder / file)
        done = run(binaries.find() / "pg_restore", *words)
        return [line for line in done.stdout.splitlines() if "\t" in line]

    def metadata(self, kind: str, args: dict[str, Any]) -> None:
        metadata_api(self.hasura_url, self.keys.admin_secret, kind, args)

    def make_project(self, **answers: str) -> Path:
        """Have a project of the Hasura CLI with Diva's part, and name it in the answers file."""
        root = self.folder / "hasura"
        copy_project(root)
        self.project_before = self.files_of_project()
        self.write_answers(project=str(root), **answers)
        return root

    def written(self) -> dict[str, bytes]:
        """What setup has written: the project, the values of Docker Compose, the environment files."""
        files = [self.folder / ".env", *self.pancake_folder.glob("*.env")]
        return self.files_of_project() | {str(path): path.read_bytes() for path in files if path.exists()}

    def type_setup(self, text: str, *words: str) -> Done:
        """Run `leads setup` on a terminal, and type the text."""
        terminal, end = pty.openpty()
        try:
            os.write(terminal, text.encode())
            command = [sys.executable, "-m", "ops", "setup", "--answers", "answers.yaml", *words]
            return run(*command, stdin=end, timeout=300, code=None)
        finally:
            os.close(terminal)
            os.close(end)

    def files_of_project(self) -> dict[str, bytes]:
        root = self.folder / "hasura"
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*") if path.is_file() and path.suffix != ".partial"
        }  # fmt: skip

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


@contextmanager
def tls_of(cluster: Cluster, certificate: Path) -> Iterator[None]:
    """Let the server take TLS too, with the certificate in that folder."""
    if not cluster.is_embedded:
        pytest.skip("needs the settings of a server that was started here")
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as db:
        data = Path(db.execute("SHOW data_directory").fetchall()[0][0])
        settings = {"ssl_cert_file": "fullchain.pem", "ssl_key_file": "privkey.pem", "ssl": "on"}
        for name in ("fullchain.pem", "privkey.pem"):
            shutil.copyfile(certificate / name, data / name)
            os.chown(data / name, data.stat().st_uid, data.stat().st_gid)
            (data / name).chmod(0o600)
        try:
            for name, value in settings.items():
                db.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            db.execute("SELECT pg_reload_conf()")
            eventually(lambda: takes_tls(cluster))
            yield
        finally:
            for name in settings:
                db.execute(f"ALTER SYSTEM RESET {name}")
            db.execute("SELECT pg_reload_conf()")


def takes_tls(cluster: Cluster) -> bool:
    try:
        psycopg.connect(f"{cluster.url('postgres')}?sslmode=require").close()
    except psycopg.OperationalError:
        return False
    return True


def setup_of(folder: Path, *, is_terminal: bool = False, **given: str) -> Setup:
    """What the steps get where these answers were given, and no file was written."""
    files = EnvFiles(folder, {})
    return Setup(replace(gather(given, None, files), is_terminal=is_terminal), files, files)


def setup(*words: str, code: int = 0, says: Iterable[str] = ()) -> Result:
    """Run it; it has to end with the code, and to say all of this."""
    run = CliRunner().invoke(app, ["setup", "--answers", "answers.yaml", *words])
    assert run.exit_code == code, run.output
    assert [text for text in says if text not in said_by(run)] == [], run.output
    return run


def run_setup(*words: str, code: int = 0) -> dict[str, str]:
    """Run it; return the result of each step."""
    run = setup("--json", *words, code=code)
    return {each["step"]: each["result"] for each in json.loads(run.stdout)["steps"]}


def said_by(run: Result) -> str:
    return " ".join(run.stderr.split())
