"""`leads erase` keeps the customer's phone out of PostgreSQL's own log, or says that its role may not."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from sandbox.postgres.server import RUN_ID, Cluster
from tests.support.crons import CronHarness
from tests.support.erasure import PERSON, found_in, run_erase

pytestmark = pytest.mark.own_database

PHONE = ("--phone", "0905111222", "--yes", "--json")
ROLE = f"owner_without_log_{RUN_ID}"
NAMES = ["log_parameter_max_length", "log_error_verbosity"]


@pytest.fixture
def harness(cron_harness: CronHarness) -> CronHarness:
    return cron_harness


@pytest.fixture
def as_role(harness: CronHarness) -> Iterator[CronHarness]:
    """The same database as a role with the owner's rights on rows that is no superuser."""
    parts = urlsplit(harness.database_url)
    host = parts.netloc.rpartition("@")[2]
    role = sql.Identifier(ROLE)
    with psycopg.connect(harness.database_url, autocommit=True) as db:
        db.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(role))
        try:
            for schema in ("public", "hdb_catalog"):
                for right in (
                    "USAGE ON SCHEMA {}",
                    "ALL ON ALL TABLES IN SCHEMA {}",
                    "ALL ON ALL SEQUENCES IN SCHEMA {}",
                    "EXECUTE ON ALL FUNCTIONS IN SCHEMA {}",
                ):
                    grant = sql.SQL("GRANT " + right + " TO {}")
                    db.execute(grant.format(sql.Identifier(schema), role))
            yield replace(harness, database_url=urlunsplit(parts._replace(netloc=f"{ROLE}:secret@{host}")))
        finally:
            db.execute(sql.SQL("DROP OWNED BY {}").format(role))
            db.execute(sql.SQL("DROP ROLE {}").format(role))


async def test_the_phone_is_not_in_the_log_of_every_statement(
    cluster: Cluster, harness: CronHarness, tmp_path: Path
) -> None:
    if not cluster.is_embedded:
        pytest.skip("reads the server's log, which only an embedded server has here")
    await harness.process_lead(**PERSON)
    with psycopg.connect(harness.database_url, autocommit=True) as db:
        name = sql.Identifier(db.info.dbname)
        db.execute(sql.SQL("ALTER DATABASE {} SET log_min_duration_statement = 0").format(name))
    before = len(cluster.log.read_text())
    result = run_erase(harness, tmp_path, *PHONE)
    assert result.exit_code == 0, result.output
    logged = cluster.log.read_text()[before:]
    assert "pancake_erase_events" in logged
    assert found_in([logged]) == set()
    assert (json.loads(result.stdout)["unset_log_settings"], result.stderr) == ([], "")


async def test_a_role_that_may_not_keep_it_out_is_told(as_role: CronHarness, tmp_path: Path) -> None:
    await as_role.process_lead(**PERSON)
    planned = run_erase(as_role, tmp_path, *PHONE[:2], "--dry-run", "--json")
    assert json.loads(planned.stdout)["unset_log_settings"] == NAMES
    assert (
        f"PostgreSQL's log may hold the phone: the role of DATABASE_URL may not set {', '.join(NAMES)}."
        in (" ".join(planned.stderr.split()))
    )
    result = run_erase(as_role, tmp_path, *PHONE)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"]["events"] == 1


async def test_a_role_with_the_granted_right_is_not_told(
    as_role: CronHarness, harness: CronHarness, tmp_path: Path
) -> None:
    harness.sql(f"GRANT SET ON PARAMETER {', '.join(NAMES)} TO {ROLE}")
    result = run_erase(as_role, tmp_path, *PHONE)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["unset_log_settings"] == []
