"""The statements of the runbooks run with the rights of an operator, and print what the page shows.

After a change run it with WRITE_DOCS=1, and read the difference.
"""

import os
import re

import psycopg
import pytest

from sandbox.postgres.database import operators_url
from tests.support.crons import CronHarness
from tests.support.postgres import output
from tests.support.runbook import DOCS, PAGES, Statement, diagnoses

pytestmark = pytest.mark.own_database
DIAGNOSES = list(diagnoses())
OF_AN_INCIDENT = """
    INSERT INTO hdb_catalog.hdb_cron_events (trigger_name, scheduled_time, status, tries)
    VALUES ('pancake_poll_records', now() - interval '2 hours', 'dead', 0),
        ('pancake_check_sla', now() - interval '3 hours', 'error', 4);
    INSERT INTO hdb_catalog.event_log (id, trigger_name, payload, error)
    VALUES ('0b8f6c1e', 'pancake_webhook_event_status_update', '{}', true);
    INSERT INTO hdb_catalog.event_invocation_logs (event_id, status, response)
    VALUES ('0b8f6c1e', 401, '{"data": {"message": "The handler secret is missing or wrong."}}');
    INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, error, report)
    VALUES ('poll_records', now() - interval '6 min', now() - interval '6 min', now(), 'failed',
            'Pancake answered 401.', '{}'),
        ('poll_records', now() - interval '1 min', now() - interval '1 min', now(), 'succeeded', NULL, '{}'),
        ('reconcile_daily', now() - interval '8 hours', now() - interval '8 hours', now(), 'succeeded', NULL,
            '{"days": [{"day": "2026-05-13", "found_missing": ["2f941efe"], "left_missing": []}]}');
    UPDATE staff SET full_name = 'Staff ' || right(id::text, 2), on_duty = false;
    DELETE FROM pancake_assignee;
    INSERT INTO pancake_assignee (staff_id)
        SELECT s.id FROM staff AS s WHERE s.is_active ORDER BY s.id LIMIT 2;
    CREATE TRIGGER "notify_hasura_pancake_webhook_event_status_update_INSERT" AFTER INSERT
        ON pancake_webhook_event FOR EACH ROW WHEN (false) EXECUTE FUNCTION hdb_catalog.notify();
    CREATE TRIGGER "notify_hasura_pancake_webhook_event_status_update_UPDATE" AFTER UPDATE
        ON pancake_webhook_event FOR EACH ROW WHEN (false) EXECUTE FUNCTION hdb_catalog.notify();
"""


@pytest.fixture
async def incident(cron_harness: CronHarness) -> CronHarness:
    """A database after an incident: leads that are processed, slow, failed, dead, invalid and waiting."""
    cron_harness.sql(OF_AN_INCIDENT)
    slow, _ = await cron_harness.process_lead()
    await cron_harness.process_lead(id="no-phone", phone_number="x")
    cron_harness.refuse_tickets("RAISE EXCEPTION 'broken'", 2)
    await cron_harness.process_lead(id="failed", phone_number="0905111223")
    dead, _ = await cron_harness.process_lead(id="dead", phone_number="0905111224")
    await cron_harness.deliver({"id": "waits", "phone_number": "0905111225"})
    cron_harness.sql(
        "UPDATE pancake_webhook_event SET processed_at = created_at + interval '41 s' WHERE id = %s", slow
    )
    cron_harness.sql(
        "UPDATE pancake_webhook_event SET status = 'dead_letter', attempts = 5, next_attempt_at = NULL"
        " WHERE id = %s",
        dead,
    )
    return cron_harness


async def test_the_statements_of_the_diagnoses_print_what_the_pages_show(incident: CronHarness) -> None:
    owner = incident.database_url
    assert len(DIAGNOSES) > 12
    for statement in DIAGNOSES:
        url = owner if statement.is_for_owner else operators_url(owner)
        with psycopg.connect(url) as connection, connection.transaction(force_rollback=True):
            shown = output(connection.execute(statement.text))
        shown = re.sub(r"digest [0-9a-f]{12}", "digest 3f9a1c77e2b0", shown)
        if os.environ.get("WRITE_DOCS"):
            write(statement, shown)
        else:
            assert statement.output == shown, f"{statement.page}: {statement.section}"


def write(statement: Statement, shown: str) -> None:
    path = DOCS / f"{statement.page}.md"
    block = f"```sql\n{statement.text}```\n"
    old = "" if statement.output is None else f"```text\n{statement.output}```\n"
    page = path.read_text("utf-8")
    assert page.count(block + old) == 1, statement
    path.write_text(page.replace(block + old, f"{block}```text\n{shown}```\n"), "utf-8")


async def test_every_statement_of_every_page_runs(incident: CronHarness) -> None:
    """Those of a page in one transaction, which is rolled back."""
    for text in PAGES.values():
        with (
            psycopg.connect(incident.database_url) as connection,
            connection.transaction(force_rollback=True),
        ):
            for block in re.findall(r"```sql\n(.*?)```", text, re.S):
                for statement in filter(str.strip, block.split(";\n")):
                    connection.execute(statement)
