"""The parameters with which a plan is written."""

import json
from dataclasses import replace
from typing import Any

from leads.domain.assign import choose
from leads.domain.ticket_text import TEXT
from leads.services.process_record.apply import (
    customer_params,
    event_params,
    ticket_params,
)
from leads.services.process_record.roster import store_roster_statement
from tests.support.builders import CLAIM, DIGESTER, EMPTY, NOW, account, lead_case, member, planned_event
from tests.support.leads import PHONE


def test_a_customer_is_written_with_national_phone_and_metadata() -> None:
    case = lead_case(email="a@example.com", full_address="Hà Nội")
    params: Any = customer_params(planned_event(case, EMPTY), NOW)
    assert params["phone"] == params["account_phone"] == PHONE
    assert (params["phone_code"], params["phone_number"]) == ("84", "0905111222")
    assert (params["name"], params["email"], params["address"]) == ("An", "a@example.com", "Hà Nội")
    assert json.loads(params["metadata"])["record_id"] == "r-1"


def test_without_a_name_the_account_is_called_by_its_phone_and_the_contact_has_no_name() -> None:
    params = customer_params(planned_event(lead_case(name=None), EMPTY), NOW)
    assert (params["display_name"], params["name"]) == (PHONE, None)


def test_a_known_account_is_normalized_to_its_own_phone() -> None:
    facts = replace(EMPTY, accounts=(account("a", "+84912345678"),))
    params = customer_params(planned_event(lead_case(secondary_phone_number="0912345678"), facts), NOW)
    assert (params["phone"], params["account_phone"]) == (PHONE, "+84912345678")


def test_a_ticket_names_the_lead_and_its_fields() -> None:
    case = lead_case(email="a@example.com", interested_product=["Gói A", "Gói B"])
    choice = choose((member(1),))
    params: Any = ticket_params(planned_event(case, EMPTY, choice), NOW)
    assert params["title"] == "Lead Pancake: An"
    assert params["description"].splitlines() == [
        f"Điện thoại: {PHONE}",
        "Email: a@example.com",
        "Quan tâm: Gói A, Gói B",
    ]
    assert (params["ticket_id"], params["assignee_id"]) == ("new-ticket", "s-1")
    written = {name: DIGESTER.digest(TEXT, params[name]) for name in ("title", "description")}
    assert json.loads(params["data"]) == {"pancake": {**case.lead.metadata(), "written": written}}


def test_metadata_holds_only_fields_that_the_body_named() -> None:
    assert set(lead_case().lead.metadata()) == {"record_id", "table_name", "modified_on", "name", "phones"}


def test_only_changed_members_are_stored() -> None:
    _, params = store_roster_statement(choose((member(1), member(2, was_available=False))), NOW)
    assert params["chosen"] == "a-1"
    assert params["assignee_ids"] == ["a-1", "a-2"]
    assert params["assigned_counts"] == [1, 0]
    assert params["was_available"] == [True, True]


def test_the_event_keeps_outcome_owner_evidence_and_notifications() -> None:
    case, choice = lead_case(), choose((member(1), member(2, on_duty=False)))
    planned = planned_event(case, EMPTY, choice)
    params: Any = event_params(planned, NOW)
    assert (params["id"], params["outcome"], params["assignee_id"]) == (CLAIM.id, "ticket_created", "s-1")
    evidence: dict[str, Any] = json.loads(params["evidence"])
    assert evidence["assignment"]["skipped"] == [{"staff_id": "s-2", "reason": "off_duty"}]
    assert evidence["phone"]["usable"] == [PHONE]
    assert evidence["digests"] == case.lead.digests()
    assert [sent["name"] for sent in json.loads(params["notifications"])] == ["new_lead"]
    assert json.loads(params["notifications"]) == planned.notifications
