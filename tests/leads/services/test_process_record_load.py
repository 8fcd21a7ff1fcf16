"""What processing loads: leads and facts, read from rows."""

from typing import Any

import pytest

from leads.domain.errors import InvalidBody
from leads.domain.facts import Account, Ticket
from leads.domain.lead import Lead
from leads.domain.phone import PhoneReading
from leads.services.process_record.load import read_stored_lead
from leads.services.process_record.rows import read_facts
from tests.support.builders import DIGESTER, applied, lead_case
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


def test_facts_are_read_from_the_statements_rows() -> None:
    stored = {"normalized_phone": None, "phone_code": "84", "state": "enabled", "contact_phone": None}
    listed = stored | {"named": None}
    changed = {"normalized_phone": None, "phone_code": "84", "phone_number": "0905111222"}
    ticket = {"id": "t", "account_id": None, "assignee_id": "s", "assignee_is_active": True}
    row: dict[str, Any] = {
        "accounts": [
            listed | {"id": "a", "normalized_phone": PHONE, "phone_number": "x"},
            listed | {"id": "b", "phone_number": "0905 111 222", "state": "disabled"},
            listed | {"id": "c", "phone_code": None, "phone_number": "1"},
            listed | {"id": "d", "phone_number": "0912345678", "contact_phone": PHONE},
        ],
        "open_tickets": [
            ticket | {"title": "T", "description": None, "fields": "not an object", "account": None},
            ticket | {"id": "u", "title": "U", "description": None, "fields": {}, "account": changed},
        ],
        "admins": ["x"],
        "managers": ["y"],
        "consent_mode": None,
        "roster_source_id": None,
        "new_account_id": "n",
        "new_ticket_id": "m",
    }
    found = read_facts(row, None, None, DIGESTER)
    assert found.accounts == (
        Account("a", PHONE, normalized_phone=PHONE, phone_code="84", phone_number="x"),
        Account("b", PHONE, "disabled", phone_code="84", phone_number="0905 111 222"),
        Account("d", "+84912345678", contact_phone=PHONE, phone_code="84", phone_number="0912345678"),
    )
    assert found.open_tickets == (
        Ticket("t", None, "s", assignee_is_active=True, title="T"),
        Ticket("u", None, "s", account_phone="+84905111222", assignee_is_active=True, title="U"),
    )
    assert (found.applied, found.ticket_account, found.ticket_is_shared) == (None, None, False)
    before = {
        "ticket_account": stored | {"id": "e", "phone_number": None, "state": "deleted"},
        "applied_account": None,
        "ticket_is_shared": True,
    }
    found = read_facts(row, applied(lead_case()), before, DIGESTER)
    assert found.applied == applied(lead_case())
    assert found.ticket_account == Account("e", None, "deleted", phone_code="84")
    assert (found.applied_account, found.ticket_is_shared) == (None, True)
