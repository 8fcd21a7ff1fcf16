"""Values of the domain with defaults, for tests that set only what matters to them."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from leads.domain.assign import Member
from leads.domain.facts import Account, Applied, Situation, Version
from tests.support.leads import PHONE

NOW = datetime(2026, 5, 14, 2, 35, 56, tzinfo=UTC)
EMPTY = Situation(
    applied=None,
    accounts=(),
    open_tickets=(),
    admins=("admin-1",),
    consent_mode="off",
    roster_source_id=None,
    new_account_id="new-account",
    new_ticket_id="new-ticket",
)


def version(
    table_name: str | None = "lead",
    modified_on: datetime | None = NOW,
    corrected_phone: str | None = None,
    force: bool = False,
    **fields: Any,
) -> Version:
    record = {"id": "r-1", "name": "An", "phone_number": "0905111222"} | fields
    return Version.of(
        {
            "payload": json.dumps(record),
            "table_name": table_name,
            "modified_on": modified_on,
            "corrected_phone": corrected_phone,
            "force": force,
        }
    )


def applied(of: Version, **changes: Any) -> Applied:
    before = Applied(of.modified_on, of.lead.digests(), "ticket-1", "account-1", PHONE)
    return replace(before, **changes)


def account(name: str, phone: str = PHONE, enabled: bool = True) -> Account:
    return Account(name, phone, enabled)


def member(number: int, **changes: object) -> Member:
    """An available member of a roster, with weight 1 and no ticket yet."""
    fields = Member(
        assignee_id=f"a-{number}",
        staff_id=f"s-{number}",
        is_active=True,
        staff_active=True,
        on_duty=True,
        weight=1,
        assigned_count=0,
        last_assigned_seq=0,
        was_available=True,
    )
    return replace(fields, **changes)  # type: ignore[arg-type]
