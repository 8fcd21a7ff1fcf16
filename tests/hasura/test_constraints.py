"""The constraints of the migrated tables: their names, and the rows that they refuse."""

from typing import Any

import psycopg
import pytest

from tests.support.base_urls import BASE_URLS, NOT_BASE_URLS


def test_constraints_follow_the_naming_convention(constrained: psycopg.Connection) -> None:
    rows = constrained.execute(
        "SELECT conname, contype FROM pg_constraint WHERE conrelid::regclass::text LIKE 'pancake%'"
        " AND contype IN ('p', 'u', 'f', 'c')"
    ).fetchall()
    prefix = {"p": "pk_", "u": "uq_", "f": "fk_", "c": "ck_"}
    odd = [name for name, kind in rows if not name.startswith(prefix[kind])]
    assert odd == []
    indexes = constrained.execute(
        "SELECT indexname FROM pg_indexes WHERE tablename LIKE 'pancake%' AND indexname !~ '^(pk|uq|ix)_'"
    ).fetchall()
    assert indexes == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pancake_webhook_event SET status = 'processed'",
        "UPDATE pancake_webhook_event SET status = 'nonsense'",
        "UPDATE pancake_webhook_event SET payload_hash = '\\x00'",
        "UPDATE pancake_webhook_event SET origin = 'elsewhere'",
        "UPDATE pancake_webhook_event SET notifications = '{}'",
        "UPDATE pancake_webhook_event SET notify_refusals = 1",
        "UPDATE pancake_webhook_event SET notify_error = 'tired'",
        "UPDATE pancake_webhook_event SET notify_given_up_at = now()",
        "UPDATE pancake_webhook_event SET notify_given_up_at = now(), notified_at = now(),"
        " notify_error = 'refused'",
        "UPDATE pancake_connection SET signature_mode = 'enforce'",
        "UPDATE pancake_connection SET allowlist_mode = 'enforce'",
        "UPDATE pancake_connection SET table_names = '{}'",
        "UPDATE pancake_connection SET table_names = '{deal}'",
        "UPDATE pancake_connection SET previous_token_sha256 = sha256('x')",
        "UPDATE pancake_connection SET status = 'unknown'",
        "UPDATE account SET normalized_phone = '0905111222'",
        "UPDATE contact_book SET primary_phone = '0905111222'",
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, outcome)"
        " VALUES ('x', now(), now(), 'succeeded')",
    ],
)
def test_the_database_refuses_invalid_rows(constrained: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation), constrained.transaction():
        constrained.execute(statement.encode())


def test_the_refusal_of_a_step_names_both_states(constrained: psycopg.Connection) -> None:
    with (
        pytest.raises(psycopg.errors.CheckViolation, match="from received to failed"),
        constrained.transaction(),
    ):
        constrained.execute(b"UPDATE pancake_webhook_event SET status = 'failed'")


def test_received_at_changes_only_when_received_is_set(constrained: psycopg.Connection) -> None:
    def received_at() -> Any:
        return constrained.execute(b"SELECT received_at FROM pancake_webhook_event").fetchall()

    first = received_at()
    constrained.execute(b"UPDATE pancake_webhook_event SET source_ids = '{5}'")
    assert received_at() == first
    constrained.execute(b"UPDATE pancake_webhook_event SET status = 'received'")
    second = received_at()
    assert second > first
    constrained.execute(b"UPDATE pancake_webhook_event SET status = 'skipped_kill_switch'")
    assert received_at() == second


@pytest.mark.parametrize("url", NOT_BASE_URLS)
def test_a_base_url_is_scheme_host_port_and_path(constrained: psycopg.Connection, url: str) -> None:
    with (
        pytest.raises(psycopg.errors.CheckViolation, match="ck_pancake_connection_api_base_url"),
        constrained.transaction(),
    ):
        constrained.execute("UPDATE pancake_connection SET api_base_url = %s", (url,))


@pytest.mark.parametrize("url", BASE_URLS)
def test_any_base_url_of_that_form_is_accepted(constrained: psycopg.Connection, url: str) -> None:
    constrained.execute("UPDATE pancake_connection SET api_base_url = %s", (url,))
