"""PostgreSQL's own log with the settings of docs/runbook/install.md for the handlers' role."""

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from sandbox.postgres.server import Cluster
from tests.support.leads import PHONE

INSTALL = Path(__file__).parents[2] / "docs" / "runbook" / "install.md"
SETTINGS = re.findall(r"ALTER ROLE diva_handlers SET (\w+) = (\w+)", INSTALL.read_text())
ROLE = "role_of_the_log_test"
TABLE = sql.SQL("CREATE TABLE t (phone text CHECK (phone <> {})); GRANT ALL ON t TO {}")


def refused_and_slow_statements(cluster: Cluster, url: str) -> str:
    """Run a statement that counts as slow and one that is refused; return what was logged."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    before = len(cluster.log.read_text())
    of_role = urlunsplit(parts._replace(netloc=f"{ROLE}:secret@{host}"))
    with psycopg.connect(of_role, autocommit=True) as session:
        session.execute("SELECT %s::text", [PHONE])
        with suppress(psycopg.errors.CheckViolation):
            session.execute("INSERT INTO t VALUES (%s)", [PHONE])
    return cluster.log.read_text()[before:]


@pytest.mark.own_database
def test_slow_and_refused_statements_are_logged_without_their_values(cluster: Cluster, database: str) -> None:
    if not cluster.is_embedded:
        pytest.skip("reads the server's log, which only an embedded server has here")
    role = sql.Identifier(ROLE)
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(role))
        try:
            owner.execute(TABLE.format(sql.Literal(PHONE), role))
            owner.execute(sql.SQL("ALTER ROLE {} SET log_min_duration_statement = 0").format(role))
            logged = refused_and_slow_statements(cluster, database)
            assert logged.count(PHONE) >= 3, logged
            for name, value in SETTINGS:
                setting = sql.SQL("ALTER ROLE {} SET {} = {}")
                owner.execute(setting.format(role, sql.Identifier(name), sql.Literal(value)))
            logged = refused_and_slow_statements(cluster, database)
            assert PHONE not in logged
            assert "violates check constraint" in logged
            assert "SELECT $1::text" in logged
        finally:
            owner.execute(sql.SQL("DROP OWNED BY {}").format(role))
            owner.execute(sql.SQL("DROP ROLE {}").format(role))
