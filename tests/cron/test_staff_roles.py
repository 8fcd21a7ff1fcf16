"""Diva's names of the roles: changed as docs/diva-contract.md says, every notice goes to the same people."""

import re
from pathlib import Path
from typing import Any

import pytest

from sandbox.postgres.database import MIGRATIONS, run_file
from tests.support.crons import CronHarness

pytestmark = pytest.mark.own_database

CONTRACT = Path(__file__).parents[2] / "docs" / "diva-contract.md"
OTHER_NAMES = {"admin": "quan_tri", "manager": "quan_ly", "telesale": "tu_van"}


@pytest.fixture
def renamed(harness: CronHarness) -> CronHarness:
    """Diva's staff under other role names, after the change that the page describes."""
    (change,) = re.findall(
        r"^```sql\n(CREATE OR REPLACE FUNCTION.*?)^```", CONTRACT.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    harness.sql("ALTER TABLE staff DROP CONSTRAINT staff_role_check")
    for name, other_name in OTHER_NAMES.items():
        harness.sql("UPDATE staff SET role = %s WHERE role = %s", other_name, name)
        assert f"'{other_name}'" in change
    harness.session.execute(change.encode())
    return harness


def recipients(harness: CronHarness, **data: Any) -> set[str]:
    """Return the recipients of the only notification sent with these values in its data."""
    (found,) = [sent for sent in harness.hasura.sent.values() if data.items() <= sent["data"].items()]
    return set(found["recipient_ids"])


def staff(harness: CronHarness, role: str) -> set[str]:
    found = {
        str(row["id"]) for row in harness.sql("SELECT id FROM staff WHERE role = %s AND is_active", role)
    }
    assert found
    return found


async def test_a_lead_a_late_ticket_and_a_cron_notify_staff_under_other_role_names(
    renamed: CronHarness,
) -> None:
    admins, managers = staff(renamed, "quan_tri"), staff(renamed, "quan_ly")

    event_id, result = await renamed.process_lead()
    assert result == "ticket_created"
    assert set(renamed.hasura.sent[f"{event_id}:unassigned"]["recipient_ids"]) == admins

    renamed.move_clock(minutes=31)
    assert (await renamed.run("check_sla"))["late"] == 1
    assert recipients(renamed, reason="sla_missed") == managers

    renamed.pancake.more_sources["4711"] = "Zalo"
    await renamed.run("sync_sources")
    assert recipients(renamed, reason="new_source", detail="Zalo (4711)") == admins


async def test_the_menu_permissions_follow_the_name_of_the_role(renamed: CronHarness) -> None:
    (folder,) = MIGRATIONS.glob("*_insert_pancake_permissions")
    for script in ("down.sql", "up.sql"):
        run_file(renamed.session, folder / script)  # type: ignore[arg-type]
    rows = renamed.sql(
        "SELECT role, count(*) FROM module_permission_action WHERE module = 'pancake_crm_integration'"
        " GROUP BY role"
    )
    assert rows == [{"role": "quan_tri", "count": 6}]
