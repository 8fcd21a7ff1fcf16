"""The columns and the notifications of a plan."""

import json
from dataclasses import replace
from typing import Any

import pytest

from leads.domain.assign import choose
from leads.domain.decide import decide
from leads.domain.facts import Ticket
from leads.domain.write import (
    customer_columns,
    event_columns,
    metadata,
    notifications,
    roster_columns,
    ticket_columns,
)
from tests.support.builders import EMPTY, account, applied, member, version
from tests.support.leads import PHONE

CLAIM = {"id": 7, "claim_id": "c"}


def test_a_customer_is_written_with_national_phone_and_metadata() -> None:
    made = version(email="a@example.com", full_address="Hà Nội")
    columns = customer_columns(made, decide(made, EMPTY))
    assert columns["phone"] == columns["account_phone"] == PHONE
    assert (columns["phone_code"], columns["phone_number"]) == ("84", "0905111222")
    assert (columns["name"], columns["email"], columns["address"]) == ("An", "a@example.com", "Hà Nội")
    assert json.loads(columns["metadata"])["record_id"] == "r-1"


def test_without_a_name_the_phone_stands_in_but_is_not_taken_for_the_contacts_name() -> None:
    made = version(name=None)
    columns = customer_columns(made, decide(made, EMPTY))
    assert (columns["display_name"], columns["name"]) == (PHONE, None)


def test_a_known_accounts_own_phone_is_what_it_is_normalised_to() -> None:
    made = version(secondary_phone_number="0912345678")
    plan = decide(made, replace(EMPTY, accounts=(account("a", "+84912345678"),)))
    columns = customer_columns(made, plan)
    assert (columns["phone"], columns["account_phone"]) == (PHONE, "+84912345678")


def test_a_ticket_says_who_and_what() -> None:
    made = version(email="a@example.com", interested_product=["Gói A", "Gói B"])
    columns = ticket_columns(made, decide(made, EMPTY), "staff-1")
    assert columns["title"] == "Lead Pancake: An"
    assert columns["description"].splitlines() == [
        f"Điện thoại: {PHONE}",
        "Email: a@example.com",
        "Quan tâm: Gói A, Gói B",
    ]
    assert (columns["ticket_id"], columns["assignee_id"]) == ("new-ticket", "staff-1")
    assert json.loads(columns["data"]) == {"pancake": metadata(made)}


def test_metadata_holds_only_what_the_body_named() -> None:
    assert set(metadata(version())) == {"record_id", "table_name", "modified_on", "name", "phones"}


def test_only_changed_members_are_stored() -> None:
    choice = choose((member(1), member(2, was_available=False)))
    columns = roster_columns(choice)
    assert columns["chosen"] == "a-1"
    assert columns["assignee_ids"] == ["a-1", "a-2"]
    assert columns["assigned_counts"] == [1, 0]
    assert columns["was_available"] == [True, True]


def test_a_new_ticket_with_an_owner_tells_the_owner_alone() -> None:
    made = version()
    choice = choose((member(1),))
    (intent,) = notifications(made, decide(made, EMPTY), EMPTY, choice)
    assert (intent["name"], intent["template_code"]) == ("new_lead", "noti_pancake_new_lead")
    assert intent["recipient_ids"] == ["s-1"]
    assert intent["data"] == {"ticket_id": "new-ticket", "customer_name": "An", "phone": PHONE}


def test_a_new_ticket_without_an_owner_tells_the_admins() -> None:
    made = version()
    (intent,) = notifications(made, decide(made, EMPTY), EMPTY, choose(()))
    assert (intent["name"], intent["template_code"]) == ("unassigned", "noti_pancake_needs_attention")
    assert intent["recipient_ids"] == ["admin-1"]
    assert (intent["data"]["reason"], intent["data"]["detail"]) == ("unassigned", PHONE)


def test_where_nobody_is_there_to_be_told_nothing_is_kept_for_sending() -> None:
    """A notification without recipients would be refused and sent again for ever."""
    made, alone = version(), replace(EMPTY, admins=())
    assert notifications(made, decide(made, alone), alone, choose(())) == []


def test_an_updated_ticket_tells_its_owner_and_nobody_if_it_has_none() -> None:
    made = version()
    situation = replace(EMPTY, accounts=(account("a"),), open_tickets=(Ticket("t", "a", "s-9"),))
    (intent,) = notifications(made, decide(made, situation), situation, None)
    assert (intent["name"], intent["recipient_ids"]) == ("lead_updated", ["s-9"])
    ownerless = replace(situation, open_tickets=(Ticket("t", "a", None),))
    assert notifications(made, decide(made, ownerless), ownerless, None) == []


def test_a_changed_phone_needs_the_attention_of_admins_and_owner() -> None:
    made = version(phone_number="0912345678")
    situation = replace(
        EMPTY, applied=applied(version()), open_tickets=(Ticket("ticket-1", "account-1", "s-9"),)
    )
    updated, attention = notifications(made, decide(made, situation), situation, None)
    assert updated["name"] == "lead_updated"
    assert (attention["name"], attention["recipient_ids"]) == ("phone_changed", ["admin-1", "s-9"])


@pytest.mark.parametrize("case", ["stale", "no_change", "contact_updated"])
def test_what_touches_no_ticket_tells_nobody(case: str) -> None:
    made = version(table_name="contact") if case == "contact_updated" else version()
    situation = EMPTY if case == "contact_updated" else replace(EMPTY, applied=applied(version()))
    if case == "stale":
        later = applied(version()).modified_on
        assert later is not None
        situation = replace(EMPTY, applied=applied(version(), modified_on=later.replace(year=2027)))
    plan = decide(made, situation)
    assert plan.outcome == case
    assert notifications(made, plan, situation, None) == []


def test_the_names_of_an_events_notifications_are_unique() -> None:
    made = version(phone_number="0912345678")
    situation = replace(
        EMPTY, applied=applied(version()), open_tickets=(Ticket("ticket-1", "account-1", "s-9"),)
    )
    names = [intent["name"] for intent in notifications(made, decide(made, situation), situation, None)]
    assert len(names) == len(set(names))


def test_what_a_replay_does_is_told_under_names_of_its_own() -> None:
    made = version()
    plan, choice = decide(made, EMPTY), choose((member(1),))
    names = [notifications(made, plan, EMPTY, choice, replay)[0]["name"] for replay in range(3)]
    assert names == ["new_lead", "new_lead.1", "new_lead.2"]


def test_the_row_keeps_outcome_owner_and_evidence() -> None:
    made = version()
    choice = choose((member(1), member(2, on_duty=False)))
    plan = decide(made, EMPTY)
    intents = notifications(made, plan, EMPTY, choice)
    columns = event_columns(CLAIM, made, plan, choice, intents)
    assert (columns["id"], columns["outcome"], columns["assignee_id"]) == (7, "ticket_created", "s-1")
    evidence: dict[str, Any] = json.loads(columns["evidence"])
    assert evidence["assignment"]["skipped"] == [{"staff_id": "s-2", "reason": "off_duty"}]
    assert evidence["phone"]["usable"] == [PHONE]
    assert evidence["digests"] == made.lead.digests()
    assert json.loads(columns["notifications"]) == intents
