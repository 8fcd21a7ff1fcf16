"""Diva's base database has what the contract says exists before our migrations."""

import psycopg
import pytest

CONTRACT = {
    "account": "id display_name phone_code phone_number phone_enabled deleted_at created_at",
    "contact_book": "id account_id name email address created_at updated_at",
    "crm_master_data": "id name type disabled updated_at",
    "ticket": "id code title description source_id account_id contact_book_id assignee_id status"
    " first_response_at data created_at updated_at",
    "staff": "id full_name role is_active on_duty",
    "module_permission_action": "id module action role",
    "notification_template": "id code title body channel",
    "app_setting": "id app_settings",
    "customer_consent": "account_id consent_data consent_version",
}


@pytest.mark.parametrize("table", CONTRACT)
def test_it_has_the_columns_we_use(diva_database: str, table: str) -> None:
    with psycopg.connect(diva_database) as connection:
        rows = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
            [table],
        ).fetchall()
    assert {name for (name,) in rows} == set(CONTRACT[table].split())


def test_its_last_migration_is_the_one_before_the_integration(diva_database: str) -> None:
    with psycopg.connect(diva_database) as connection:
        last = connection.execute('SELECT max("timestamp") FROM controller.migration_log').fetchone()
    assert last == (1777870069927,)


def test_it_knows_nothing_of_pancake(diva_database: str) -> None:
    with psycopg.connect(diva_database) as connection:
        tables = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE 'pancake%'").fetchall()
        sources = connection.execute(
            "SELECT id FROM crm_master_data WHERE type = 'ticket_source' ORDER BY id"
        ).fetchall()
    assert tables == []
    assert sources == [(f"ticket_source_{number}",) for number in range(1, 9)]


def test_each_test_has_its_own_database(database: str, diva_database: str) -> None:
    assert database != diva_database
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM staff").fetchone() == (11,)
