"""How a part of a running installation is broken for the length of a block, and mended: for breakages.py."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from leads.cli.metadata.directory import read_directory
from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.edge.nginx import NginxEdge
from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import CHANGE_SETTINGS
from tests.support.fake_services import edge_status
from tests.support.golive_prometheus import FakePrometheus

Variables = dict[str, str]
"""What the operator's command gets besides the sandbox's own variables."""


@dataclass(frozen=True)
class Installation:
    """A running sandbox; for the go-live also the folder of its plan, and a stand-in for Prometheus."""

    sandbox: Sandbox
    folder: Path = Path("/nonexistent")
    prometheus: FakePrometheus = field(default_factory=FakePrometheus)

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as db:
            db.execute(statement.encode())

    def metadata(self, kind: str, args: Any = None) -> Any:
        """Send a request to the metadata API; return the answer."""
        answer = httpx.post(
            f"{self.sandbox.hasura_url}/v1/metadata",
            json={"type": kind, "args": args or {}, **({"version": 2} if kind == "export_metadata" else {})},
            headers={"X-Hasura-Admin-Secret": self.sandbox.keys.admin_secret},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def restored_metadata(self) -> Iterator[dict[str, Any]]:
        """Give the present metadata, and put them back at the end of the block."""
        before: dict[str, Any] = self.metadata("export_metadata")["metadata"]
        try:
            yield before
        finally:
            self.metadata("replace_metadata", before)


Break = Callable[[Installation], AbstractContextManager[Variables]]
"""Breaks something on entry, gives variables for the command, and mends it on exit."""


def by_sql(broken: str, mended: str) -> Break:
    """Break and mend something with a statement each."""

    @contextmanager
    def change(system: Installation) -> Iterator[Variables]:
        system.sql(broken)
        try:
            yield {}
        finally:
            system.sql(mended)

    return change


def by_setting(name: str) -> Break:
    """Switch a setting on, then off."""
    on, off = (CHANGE_SETTINGS.replace("%s", f"'{{\"{name}\": {value}}}'") for value in ("true", "false"))
    return by_sql(on, off)


def by_variables(**variables: str) -> Break:
    """Give the command other variables; nothing is broken."""
    return lambda system: nullcontext(variables)


def by_metadata(*requests: tuple[str, Any]) -> Break:
    """Send requests to the metadata API, and put everything back."""

    @contextmanager
    def change(system: Installation) -> Iterator[Variables]:
        with system.restored_metadata():
            for kind, args in requests:
                system.metadata(kind, args)
            yield {}

    return change


wiped = by_metadata(("replace_metadata", read_directory(DIVA_METADATA)))


@contextmanager
def without_crons(system: Installation) -> Iterator[Variables]:
    with system.restored_metadata() as before:
        for cron in before["cron_triggers"]:
            if cron["name"].startswith("pancake_"):
                system.metadata("delete_cron_trigger", {"name": cron["name"]})
        yield {}


@contextmanager
def without_future_runs(system: Installation) -> Iterator[Variables]:
    """Delete them, as a restored dump of the metadata database would; new metadata make them again."""
    with system.restored_metadata() as before:
        system.sql("DELETE FROM hdb_catalog.hdb_cron_events WHERE status = 'scheduled'")
        try:
            yield {}
        finally:
            system.metadata("replace_metadata", before | {"cron_triggers": []})


def without_service(name: str) -> Break:
    """Stop a service of the sandbox and start it again."""

    @contextmanager
    def stopped(system: Installation) -> Iterator[Variables]:
        service = getattr(system.sandbox, name)
        service.stop()
        try:
            yield {}
        finally:
            service.start()
            service.wait_ready()

    return stopped


@contextmanager
def without_edge(system: Installation) -> Iterator[Variables]:
    if not isinstance(system.sandbox.edge, NginxEdge):
        pytest.skip("the stand-in of the edge has no internal listener")
    with without_service("edge")(system):
        yield {}
    system.sandbox.edge.wait_policy()


@contextmanager
def spooling_edge(system: Installation) -> Iterator[Variables]:
    """An edge whose path to Hasura fails, and whose spool has grown."""
    with edge_status(spooled=640, skipped="hasura") as url:
        yield {"EDGE_STATUS_URL": url}


@contextmanager
def without_database(system: Installation) -> Iterator[Variables]:
    """Refuse every connection to the database, and end those that are open."""
    sandbox = system.sandbox
    with psycopg.connect(sandbox.cluster.url("postgres"), autocommit=True) as db:
        db.execute(f"ALTER DATABASE {sandbox.database} ALLOW_CONNECTIONS false".encode())
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [sandbox.database]
        )
        try:
            yield {}
        finally:
            db.execute(f"ALTER DATABASE {sandbox.database} ALLOW_CONNECTIONS true".encode())
    sandbox.handlers.wait_ready()
    sandbox.hasura.wait_ready()


@contextmanager
def wrong_password(system: Installation) -> Iterator[Variables]:
    yield {"DATABASE_URL": system.sandbox.database_url.replace("@", "x@")}


@contextmanager
def locked_table(system: Installation) -> Iterator[Variables]:
    with psycopg.connect(system.sandbox.database_url, application_name="forgotten psql") as db:
        db.execute("LOCK TABLE pancake_webhook_event")
        yield {}


@contextmanager
def refused_key(system: Installation) -> Iterator[Variables]:
    faults = f"{system.sandbox.pancake_url}/control/faults"
    httpx.post(faults, json={"unauthorized": True}).raise_for_status()
    try:
        yield {}
    finally:
        httpx.delete(faults).raise_for_status()


@contextmanager
def another_service(system: Installation) -> Iterator[Variables]:
    yield {"PUBLIC_URL": system.sandbox.hasura_url}


@contextmanager
def broken_object(system: Installation) -> Iterator[Variables]:
    """A tracked table of others was dropped."""
    with system.restored_metadata():
        system.sql("CREATE TABLE of_others (id integer PRIMARY KEY)")
        system.metadata("pg_track_table", {"source": "default", "table": "of_others"})
        system.sql("DROP TABLE of_others")
        system.metadata("reload_metadata")
        yield {}
