"""What processing loads: leads and facts, read from rows."""

from dataclasses import replace
from typing import Any

import pytest

from leads.domain.errors import InvalidBody
from leads.domain.facts import Account, Applied, Ticket
from leads.domain.lead import Lead, read_lead
from leads.domain.phone import PhoneReading
from leads.services.process_record.load import read_facts, read_stored_lead
from tests.support.builders import NOW, lead_case
from tests.support.leads import PHONE


def read(payload: str | None) -> tuple[Lead, PhoneReading]:
    return read_stored_lead(payload, corrected_phone=None, modified_on=None, table_name=None)


def test_a_row_without_payload_or_record_id_is_invalid() -> None:
    with pytest.raises(InvalidBody) as caught:
        read(None)
    assert caught.value.code == "invalid_payload"
    with pytest.raises(InvalidBody) as caught:
        read('{"name": "An"}')
    assert caught.value.code == "missing_record_id"


def test_a_payload_may_exceed_the_limit_of_ingest_in_the_database() -> None:
    numbers = [1] * 120_000
    assert lead_case(numbers=numbers).lead.name == "An"


def test_facts_are_read_from_the_statements_row() -> None:
    stored = {"normalized_phone": None, "phone_code": "84", "phone_enabled": True, "contact_phone": None}
    row: dict[str, Any] = {
        "applied": {
            "modified_on": "2026-05-14T02:35:56+00:00",
            "payload": '{"id": "r-1", "name": "An"}',
            "digests": None,
            "ticket_id": "ticket-1",
            "account_id": "account-1",
            "normalized_phone": PHONE,
        },
        "accounts": [
            stored | {"id": "a", "normalized_phone": PHONE, "phone_number": "x"},
            stored | {"id": "b", "phone_number": "0905 111 222", "phone_enabled": False},
            stored | {"id": "c", "phone_code": None, "phone_number": "1"},
            stored | {"id": "d", "phone_number": "0912345678", "contact_phone": PHONE},
        ],
        "open_tickets": [{"id": "t", "account_id": None, "assignee_id": "s"}],
        "admins": ["x"],
        "consent_mode": None,
        "roster_source_id": None,
        "new_account_id": "n",
        "new_ticket_id": "m",
    }
    found = read_facts(row)
    assert found.accounts == (
        Account("a", PHONE, True, normalized_phone=PHONE),
        Account("b", PHONE, False),
        Account("d", "+84912345678", True, PHONE),
    )
    digests = read_lead({"id": "r-1", "name": "An"}).digests()
    assert found.applied == Applied(NOW, digests, "ticket-1", "account-1", PHONE)
    purged: dict[str, Any] = {**row["applied"], "payload": None, "digests": digests}
    assert read_facts(row | {"applied": purged}).applied == found.applied
    assert read_facts(row | {"applied": purged | {"digests": None}}).applied == replace(
        found.applied, digests=None
    )
    assert found.open_tickets == (Ticket("t", None, "s"),)
    assert read_facts(row | {"applied": None}).applied is None
