"""Which notifications an event sends, and to which recipients."""

from dataclasses import replace
from datetime import timedelta

import pytest

from leads.domain.facts import Facts, Ticket
from leads.domain.notifications import Notification, notifications_of
from tests.support.builders import EMPTY, NOW, LeadCase, account, applied, decide_on, lead_case
from tests.support.leads import PHONE

CHANGED_PHONE = replace(
    EMPTY,
    applied=applied(lead_case()),
    open_tickets=(Ticket("ticket-1", "account-1", "s-9", assignee_is_active=True),),
)


def notify(case: LeadCase, facts: Facts, owner: str | None, replay_count: int = 0) -> list[Notification]:
    sent, _ = notifications_of(decide_on(case, facts), facts, owner, replay_count)
    return sent


def test_a_new_ticket_with_an_owner_notifies_the_owner_only() -> None:
    (sent,) = notify(lead_case(), EMPTY, "s-1")
    assert (sent["name"], sent["template_code"]) == ("new_lead", "noti_pancake_new_lead")
    assert sent["recipient_ids"] == ["s-1"]
    assert sent["data"] == {
        "ticket_id": "new-ticket",
        "customer_name": "An",
        "phone": PHONE,
        "changes": "tên, số điện thoại",
    }


def test_a_new_ticket_without_an_owner_notifies_the_admins() -> None:
    (sent,) = notify(lead_case(), EMPTY, None)
    assert (sent["name"], sent["template_code"]) == ("unassigned", "noti_pancake_needs_attention")
    assert sent["recipient_ids"] == ["admin-1"]
    assert (sent["data"]["reason"], sent["data"]["detail"]) == ("unassigned", PHONE)


def test_a_notification_without_recipients_is_for_the_admins_else_it_is_dropped() -> None:
    facts = replace(EMPTY, accounts=(account("a"),), open_tickets=(Ticket("t", "a", None),), managers=())
    plan = decide_on(lead_case(), facts)
    (sent,), dropped = notifications_of(plan, facts, None)
    assert (sent["name"], sent["recipient_ids"], dropped) == ("lead_updated", ["admin-1"], [])
    assert notifications_of(plan, replace(facts, admins=()), None, 2) == ([], ["lead_updated.2"])


def test_an_updated_ticket_notifies_its_owner_or_else_the_managers() -> None:
    ticket = Ticket("t", "a", "s-9", assignee_is_active=True)
    facts = replace(EMPTY, accounts=(account("a"),), open_tickets=(ticket,))
    (sent,) = notify(lead_case(), facts, "s-9")
    assert (sent["name"], sent["recipient_ids"]) == ("lead_updated", ["s-9"])
    for absent in (replace(ticket, assignee_is_active=False), Ticket("t", "a", None)):
        (sent,) = notify(lead_case(), replace(facts, open_tickets=(absent,)), absent.assignee_id)
        assert (sent["name"], sent["recipient_ids"]) == ("lead_updated", ["manager-1"])


def test_a_lead_without_a_name_is_called_as_in_its_ticket() -> None:
    ticket = Ticket("t", "a", None, fields={"name": "An"})
    facts = replace(EMPTY, accounts=(account("a"),), open_tickets=(ticket,))
    (sent,) = notify(lead_case(name=None), facts, None)
    assert sent["data"]["customer_name"] == "An"


def test_a_changed_phone_notifies_admins_and_owner() -> None:
    updated, attention = notify(lead_case(phone_number="0912345678"), CHANGED_PHONE, "s-9")
    assert updated["name"] == "lead_updated"
    assert (attention["name"], attention["recipient_ids"]) == ("phone_changed", ["admin-1", "s-9"])


@pytest.mark.parametrize("outcome", ["stale", "no_change", "contact_updated"])
def test_an_event_that_writes_no_ticket_sends_nothing(outcome: str) -> None:
    case = lead_case(table_name="contact") if outcome == "contact_updated" else lead_case()
    facts = EMPTY if outcome == "contact_updated" else replace(EMPTY, applied=applied(lead_case()))
    if outcome == "stale":
        facts = replace(EMPTY, applied=applied(lead_case(), newest_modified_on=NOW + timedelta(days=1)))
    assert decide_on(case, facts).outcome == outcome
    assert notify(case, facts, None) == []


def test_the_notifications_of_an_event_have_unique_names() -> None:
    names = [sent["name"] for sent in notify(lead_case(phone_number="0912345678"), CHANGED_PHONE, "s-9")]
    assert len(names) == len(set(names))


def test_the_notifications_of_a_replay_have_names_of_their_own() -> None:
    names = [notify(lead_case(), EMPTY, "s-1", replay_count)[0]["name"] for replay_count in range(3)]
    assert names == ["new_lead", "new_lead.1", "new_lead.2"]
