"""The database that is emptied between tests is as its template after each of them, or the test fails."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from sandbox.postgres.server import Cluster
from tests.support.databases import Databases, SchemaChanged
from tests.support.handlers import seed_connection

DUMP = """
SELECT table_name, query_to_xml(format('SELECT * FROM %I ORDER BY 1', table_name), true, false, '')::text
FROM information_schema.tables
WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
UNION ALL
SELECT sequencename, coalesce(last_value, 0)::text FROM pg_sequences
"""


@pytest.fixture
def lent(cluster: Cluster, template: str) -> Iterator[Databases]:
    if not cluster.is_embedded:
        pytest.skip("only the embedded server's databases are emptied")
    with closing(Databases(cluster, {"any": template})) as databases:
        yield databases


def dump(url: str) -> set[tuple[str, str]]:
    with psycopg.connect(url) as session:
        return set(session.execute(DUMP).fetchall())


def test_rows_and_sequences_are_those_of_the_template_again(lent: Databases) -> None:
    with lent.lend("any", is_own=False) as first:
        before = dump(first)
        seed_connection(first)
        with psycopg.connect(first) as session:
            session.execute(
                "INSERT INTO account (display_name, phone_code, phone_number)"
                " SELECT 'x', '84', n::text FROM generate_series(1, 20000) AS n"
            )
            session.execute("UPDATE staff SET on_duty = NOT on_duty; DELETE FROM notification_template")
            session.execute("INSERT INTO ticket (title, source_id) VALUES ('x', 'ticket_source_8')")
        assert len(dump(first) ^ before) > 8
    with lent.lend("any", is_own=False) as second:
        assert (second, dump(second)) == (first, before)


def test_a_session_that_a_test_left_is_ended(lent: Databases) -> None:
    with lent.lend("any", is_own=False) as url:
        left = psycopg.connect(url)
        left.execute("LOCK TABLE account")
    with pytest.raises(psycopg.OperationalError):
        left.execute("SELECT 1")
    left.close()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE staff ADD COLUMN more text; CREATE INDEX more ON staff (more)",
        "CREATE FUNCTION more() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE pancake_webhook_event DISABLE TRIGGER USER",
        "REVOKE SELECT ON staff FROM pancake_handlers",
        "ALTER TABLE staff DROP CONSTRAINT staff_role_check",
    ],
)
def test_a_changed_schema_fails_the_test_and_the_next_gets_another(lent: Databases, change: str) -> None:
    with lent.lend("any", is_own=False) as first, psycopg.connect(first) as session:
        session.execute(
            "CREATE TABLE more (id integer); DROP TABLE more; CREATE TEMP TABLE more (id integer)"
        )
        session.execute("ALTER TABLE staff RENAME full_name TO more")
        session.execute("ALTER TABLE staff RENAME more TO full_name")
    refused = pytest.raises(SchemaChanged, match="own_database")
    with refused, lent.lend("any", is_own=False) as changed, psycopg.connect(changed) as session:
        session.execute(change.encode())
    assert changed == first
    with lent.lend("any", is_own=False) as next_one:
        assert next_one != first
