"""The plans of the first leads on a database that was migrated a moment ago."""

from collections.abc import Iterator

import psycopg
import pytest

from leads.adapters.queries import QUERIES
from sandbox.postgres.database import migrate
from sandbox.postgres.plans import generic_plan, scanned
from sandbox.postgres.server import Cluster
from tests.support.large_tables import insert_events
from tests.support.plans import index_scans

ALONE = ["process_record/claim_event", "process_record/fail_event", "process_record/fence_claim"]
"""Those that come before the fence has chosen how the others are planned, the fence included."""
WORK = [name for name in QUERIES if name.split("/")[0] == "process_record" and name not in ALONE]


@pytest.fixture(scope="module", params=["never analysed", "analysed while empty"])
def fresh(request: pytest.FixtureRequest, cluster: Cluster, template: str) -> Iterator[psycopg.Connection]:
    """A session on a migrated database with five leads."""
    name = f"{template}_fresh"
    with psycopg.connect(cluster.create_database(name, template), autocommit=True) as db_connection:
        db_connection.execute("ALTER TABLE pancake_webhook_event SET (autovacuum_enabled = false)")
        if request.param == "analysed while empty":
            db_connection.execute("ANALYZE")
        insert_events(db_connection, "received", 5)
        insert_events(db_connection, "ingested", 1)
        yield db_connection
    cluster.drop_database(name)


@pytest.mark.parametrize("name", WORK)
def test_no_plan_of_processing_scans_a_table_that_is_going_to_grow(
    fresh: psycopg.Connection, name: str
) -> None:
    """Generic plans are kept until the table is analysed again."""
    with fresh.transaction(force_rollback=True):
        claimed = fresh.execute(
            "SELECT id, claim_id FROM pancake_webhook_event WHERE status = 'ingested'"
        ).fetchone()
        assert claimed
        fence = {"id": claimed[0], "claim_id": claimed[1]}
        assert fresh.execute(QUERIES["process_record/fence_claim"], fence).fetchone()
        assert scanned(generic_plan(fresh, name)) == set()


@pytest.mark.own_database
@pytest.mark.parametrize("name", ALONE)
def test_the_migrations_leave_no_statistics_of_an_empty_event_table(database: str, name: str) -> None:
    """The planner assumes ten pages of a table never analysed, but not of one analysed while empty."""
    with psycopg.connect(database, autocommit=True) as db_connection:
        insert_events(db_connection, "received", 5)
        found = generic_plan(db_connection, name)
    assert index_scans(found, "pancake_webhook_event") == {"pk_pancake_webhook_event"}


def test_the_migrations_collect_statistics_of_what_they_add_to_divas_tables(diva_database: str) -> None:
    with psycopg.connect(diva_database, autocommit=True) as db_connection:
        db_connection.execute(
            "INSERT INTO account (id, phone_code, phone_number)"
            " SELECT md5('a' || n)::uuid, '84', '0' || (900000000 + n) FROM generate_series(1, 100) AS n"
        )
        db_connection.execute(
            "INSERT INTO contact_book (account_id)"
            " SELECT md5('a' || n)::uuid FROM generate_series(1, 100) AS n"
        )
        migrate(diva_database)
        found = db_connection.execute(
            "SELECT tablename, attname FROM pg_stats WHERE schemaname = 'public'"
            " AND (attname IN ('normalized_phone', 'primary_phone') OR tablename LIKE 'account_phone%')"
        ).fetchall()
    assert set(found) == {
        ("account", "normalized_phone"),
        ("account_phone_not_normalized_idx", "regexp_replace"),
        ("contact_book", "primary_phone"),
    }
