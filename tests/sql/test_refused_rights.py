"""What handlers and operators may not do, in the words of an attacker."""

import psycopg
import pytest

from sandbox.postgres.database import run_file
from sandbox.postgres.roles import GRANTS, HANDLERS, OPERATORS
from tests.support.statements import is_refused


@pytest.fixture(scope="module")
def db(migrated: psycopg.Connection) -> psycopg.Connection:
    """The migrated database with the engine's catalogue and the grants."""
    run_file(migrated, GRANTS)
    return migrated


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT reason FROM customer_erasure",
        "DELETE FROM customer_erasure",
        "SELECT request FROM hdb_catalog.event_invocation_logs",
        "SELECT payload FROM hdb_catalog.event_log",
        "SELECT app_settings FROM app_setting",
        "SELECT passwd FROM pg_shadow",
        "UPDATE account SET phone_number = '1'",
        "UPDATE staff SET is_active = true",
        "UPDATE app_setting SET app_settings = '{}'",
        "UPDATE view_pancake_setting SET kill_switch = false",
        "UPDATE pancake_connection SET token_sha256 = sha256('x')",
        "UPDATE pancake_connection SET api_base_url = 'https://example.com/api'",
        "UPDATE pancake_source SET is_active = true",
        "UPDATE pancake_assignee SET weight = 2",
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES ('x', 1, sha256('x'))",
        "INSERT INTO pancake_assignee (staff_id) SELECT id FROM staff",
        "DELETE FROM account",
        "DELETE FROM ticket",
        "DELETE FROM pancake_webhook_event",
        "DELETE FROM hdb_catalog.event_log",
        "TRUNCATE pancake_cron_run",
        "CREATE TABLE public.pancake_more (id integer)",
        "CREATE SCHEMA more",
        "ALTER TABLE pancake_cron_run ADD COLUMN more text",
        "DROP TABLE pancake_cron_run",
        "CREATE ROLE more",
        "COPY account (id) TO PROGRAM 'true'",
        "COPY account (id) FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_the_handlers_may_not(db: psycopg.Connection, statement: str) -> None:
    assert is_refused(db, HANDLERS, statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT public.pancake_pending_event_ids('20 seconds')",
        "SELECT public.pancake_delete_event_logs(now(), 1)",
        "SELECT public.pancake_delivery_history('0', 0)",
        "SELECT public.pancake_fired_event_id(1)",
        "DELETE FROM integration_change",
        "DELETE FROM customer_erasure",
        "INSERT INTO customer_erasure DEFAULT VALUES",
        "SELECT title FROM ticket",
        "SELECT app_settings FROM app_setting",
        "SELECT payload FROM hdb_catalog.event_log",
        "UPDATE view_pancake_setting SET sla_minutes = 45",
        "SELECT kill_switch FROM view_pancake_setting",
        "UPDATE pancake_connection SET api_base_url = 'https://example.com/api'",
        "UPDATE pancake_connection SET signature_mode = 'off'",
        "UPDATE pancake_source SET name = 'x'",
        "UPDATE pancake_webhook_event SET evidence = '{}'",
        "UPDATE account SET phone_number = '1'",
        "UPDATE ticket SET assignee_id = NULL",
        "DELETE FROM pancake_cron_run",
        "DROP TABLE pancake_cron_run",
        "CREATE INDEX more ON account (id)",
        "COPY account (id) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_the_operators_may_not(db: psycopg.Connection, statement: str) -> None:
    assert is_refused(db, OPERATORS, statement.encode())
