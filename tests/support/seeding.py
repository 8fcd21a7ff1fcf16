"""A test's own session on the database: read rows, seed them, disturb the handlers."""

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import psycopg

from tests.support.databases import SESSION_NAME, owner_session
from tests.support.settings import WEBHOOK_TOKEN


@dataclass
class DatabaseHarness:
    """The database under test, seen through a session of the test; each statement commits."""

    session: psycopg.Connection[dict[str, Any]]
    _at_end: list[str] = field(default_factory=list, init=False)

    def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        """Run one statement and return its rows, if it has any."""
        cursor = self.session.execute(statement, params)
        return cursor.fetchall() if cursor.description else []

    def one(self, statement: str, *params: Any) -> dict[str, Any]:
        """Run one statement that returns exactly one row."""
        (row,) = self.sql(statement, *params)
        return row

    def count(self, table: str, where: str = "true") -> int:
        return int(self.one(f"SELECT count(*) FROM {table} WHERE {where}")["count"])

    def count_tickets(self) -> int:
        """Count the tickets of the integration."""
        return self.count("ticket", "source_id = 'ticket_source_pancake'")

    def event(self, event_id: int) -> dict[str, Any]:
        return self.one("SELECT * FROM pancake_webhook_event WHERE id = %s", event_id)

    def change_settings(self, **settings: Any) -> None:
        """Change settings of the integration, for example kill_switch=True."""
        self.sql(
            "UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{pancake_integration}',"
            " app_settings -> 'pancake_integration' || %s) WHERE id = 1",
            json.dumps(settings),
        )

    def enforce_header(self) -> None:
        """Let the edge pass only deliveries with the header: those that reach the handlers are proved."""
        self.sql(
            "UPDATE pancake_connection SET signature_mode = 'enforce', header_secret_encrypted = 'sealed'"
        )

    def fill_roster(self, size: int = 3, source: str | None = None, **columns: Any) -> list[str]:
        """Add the first telesale staff to the roster of a source, or to the default one; return their ids."""
        names = "".join(f", {name}" for name in columns)
        values = "".join(", %s" for _ in columns)
        rows = self.sql(
            f"INSERT INTO pancake_assignee (staff_id, source_id{names})"
            f" SELECT s.id, (SELECT id FROM pancake_source WHERE pancake_source_id = %s){values}"
            " FROM staff AS s WHERE s.role = 'telesale' AND s.is_active AND s.on_duty"
            " ORDER BY s.id LIMIT %s RETURNING staff_id::text",
            source,
            *columns.values(),
            size,
        )
        return [row["staff_id"] for row in rows]

    def slow_down(self, table: str, seconds: float) -> None:
        """Delay every insert into a table, so that concurrent ones overlap."""
        self._at_end.append(f"DROP FUNCTION slow_{table} CASCADE")
        self.sql(
            f"CREATE FUNCTION slow_{table}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"
        )
        self.sql(
            f"CREATE TRIGGER a_slow_{table} BEFORE INSERT ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION slow_{table}()"
        )

    def refuse_tickets(self, reason: str, times: int) -> None:
        """Make the next `times` inserts of a ticket run `reason`, a PL/pgSQL statement."""
        self._at_end += ["DROP SEQUENCE IF EXISTS refused", "DROP FUNCTION IF EXISTS refuse_ticket CASCADE"]
        self.sql("CREATE SEQUENCE IF NOT EXISTS refused")
        self.sql(
            "CREATE OR REPLACE FUNCTION refuse_ticket() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
            " AS $$ BEGIN"
            f" IF nextval('refused') <= {times} THEN {reason}; END IF; RETURN NEW; END $$"
        )
        self.sql(
            "CREATE OR REPLACE TRIGGER refuse_ticket BEFORE INSERT ON ticket"
            " FOR EACH ROW EXECUTE FUNCTION refuse_ticket()"
        )

    def stop_disturbing(self) -> None:
        """Drop what `slow_down` and `refuse_tickets` created."""
        while self._at_end:
            self.sql(self._at_end.pop())

    def terminate_backends(self) -> None:
        """Cut every connection of the handlers to the database, as a restart does; return when all ended."""
        self.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name <> %s",
            SESSION_NAME,
        )

    def expire_leases(self) -> None:
        """Age every claim that is not finished by 61 seconds, more than its lease, and every wait."""
        self.sql(
            "UPDATE pancake_webhook_event SET ingested_at = ingested_at - interval '61 seconds',"
            " notify_claimed_at = notify_claimed_at - interval '61 seconds',"
            " notify_next_at = notify_next_at - interval '61 seconds'"
        )


def seed_connection(database_url: str) -> str:
    """Create a connection with WEBHOOK_TOKEN, the sources -1 (active) and -3 (inactive), and the kill
    switch off; return its id."""
    with owner_session(database_url) as session:
        (row,) = session.execute(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
            " VALUES ('test', 123, %s) RETURNING id::text",
            (sha256(WEBHOOK_TOKEN.encode()).digest(),),
        ).fetchall()
        session.execute(
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
            " VALUES (%s, '-1', 'Facebook', true), (%s, '-3', 'Instagram', false)",
            (row["id"], row["id"]),
        )
        session.execute(
            "UPDATE app_setting SET app_settings ="
            " jsonb_set(app_settings, '{pancake_integration,kill_switch}', 'false') WHERE id = 1"
        )
    return str(row["id"])
