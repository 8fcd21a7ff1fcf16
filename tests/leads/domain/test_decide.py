"""Decisions: from facts to a plan."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from leads.domain.errors import InvalidPhone
from leads.domain.facts import Account, Ticket
from leads.domain.tickets import ticket_applied
from tests.support.builders import EMPTY, NOW, account, applied, decide_on, lead_case
from tests.support.leads import PHONE

EARLIER, EVEN_LATER = NOW - timedelta(minutes=1), NOW + timedelta(minutes=1)


def test_an_unknown_customer_gets_an_account_and_a_ticket_a_known_one_keeps_the_account() -> None:
    plan = decide_on(lead_case(), EMPTY)
    assert (plan.outcome, plan.phone) == ("ticket_created", PHONE)
    assert (plan.account_id, plan.account) == ("new-account", None)
    assert (plan.ticket, plan.ticket_is_new) == (Ticket("new-ticket", "new-account", None), True)
    assert plan.writes_customer
    plan = decide_on(lead_case(), replace(EMPTY, accounts=(account("other", "+84912345678"), account("own"))))
    assert (plan.account_id, plan.account) == ("own", account("own"))
    plan = decide_on(lead_case(), replace(EMPTY, accounts=(account("other", "+84912345678"),)))
    assert plan.account is None, "it has another phone"


def test_the_oldest_enabled_account_wins_else_the_oldest_and_all_are_recorded() -> None:
    accounts = (account("oldest", enabled=False), account("older"), account("younger"))
    plan = decide_on(lead_case(), replace(EMPTY, accounts=accounts))
    assert plan.account_id == "older"
    evidence: Any = plan.evidence["phone"]
    assert (evidence["candidates"], evidence["winner"]) == (["oldest", "older", "younger"], "older")
    disabled = tuple(account(name, enabled=False) for name in ("oldest", "older"))
    assert decide_on(lead_case(), replace(EMPTY, accounts=disabled)).account_id == "oldest"


def test_the_first_phone_that_matches_decides() -> None:
    both = lead_case(phone_number="0905111222", secondary_phone_number="0912345678")
    second, first = account("second", "+84912345678"), account("first")
    assert decide_on(both, replace(EMPTY, accounts=(second,))).account_id == "second"
    assert decide_on(both, replace(EMPTY, accounts=(second, first))).account_id == "first"


def test_a_phone_without_an_account_belongs_to_the_account_of_its_contact() -> None:
    contact = Account("contact", "+84987654321", contact_phone=PHONE)
    second = account("second", "+84912345678")
    both = lead_case(secondary_phone_number="0912345678")
    for accounts, winner in [
        ((contact,), "contact"),
        ((contact, account("own")), "own"),
        ((second, contact), "contact"),
    ]:
        plan = decide_on(both, replace(EMPTY, accounts=accounts))
        assert plan.account_id == winner
        assert plan.account == next(a for a in accounts if a.id == winner)


def test_an_open_ticket_of_the_customer_is_updated_and_keeps_its_owner() -> None:
    ticket = Ticket("ticket-1", "account-1", "staff-1")
    plan = decide_on(lead_case(), replace(EMPTY, accounts=(account("account-1"),), open_tickets=(ticket,)))
    assert (plan.outcome, plan.ticket, plan.ticket_is_new) == ("ticket_updated", ticket, False)


def test_a_closed_ticket_is_replaced_only_for_a_new_request() -> None:
    before = applied(lead_case(modified_on=NOW - timedelta(days=1), name="Before"))
    facts = replace(EMPTY, applied=before, accounts=(account("account-1"),))
    plan = decide_on(lead_case(), facts)
    assert (plan.outcome, plan.writes_ticket, plan.writes_customer) == ("contact_updated", False, True)
    assert plan.ticket == Ticket("ticket-1", "account-1", None)
    plan = decide_on(lead_case(interested_product=["Gói A"]), facts)
    assert (plan.outcome, plan.ticket_is_new) == ("ticket_created", True)


def test_versions_are_ordered_by_time_and_those_of_equal_or_no_time_by_arrival() -> None:
    for modified, applied_modified, arrived, outcome in (
        (NOW, NOW + timedelta(microseconds=1), EVEN_LATER, "stale"),
        (NOW, NOW - timedelta(days=1), EARLIER, "contact_updated"),
        (NOW, NOW, NOW, "contact_updated"),
        (NOW, NOW, EARLIER, "stale"),
        (None, NOW, NOW, "contact_updated"),
        (None, NOW, EARLIER, "stale"),
        (NOW, None, NOW, "contact_updated"),
        (NOW, None, EARLIER, "stale"),
        (None, None, NOW, "contact_updated"),
        (None, None, EARLIER, "stale"),
    ):
        before = applied(lead_case(modified_on=applied_modified, name="Before", arrived_at=NOW))
        case = lead_case(modified_on=modified, arrived_at=arrived)
        found = decide_on(case, replace(EMPTY, applied=before)).outcome
        assert found == outcome, (modified, applied_modified, arrived)


def test_of_two_copies_of_a_version_the_earlier_adds_only_fields_that_are_new() -> None:
    before = applied(lead_case(name="Before"))
    case = lead_case(email="a@example.com", arrived_at=EARLIER)
    plan = decide_on(case, replace(EMPTY, applied=before))
    assert plan.outcome == "contact_updated"
    assert plan.lead.fields() == {"email": "a@example.com"}
    assert plan.lead.name is None
    listed = lead_case(interested_product=["Gói A"])
    assert decide_on(listed, replace(EMPTY, applied=applied(lead_case()))).outcome == "ticket_created"
    other_phone = lead_case(email="a@example.com", phone_number="0912345678", arrived_at=EARLIER)
    plan = decide_on(other_phone, replace(EMPTY, applied=before))
    assert (plan.outcome, plan.phone, plan.attention) == ("contact_updated", PHONE, ())


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Bình"}, {"phone_number": "0912345678"}, {"secondary_phone_number": "0912345678"},
        {"email": "a@example.com"}, {"full_address": "Hà Nội"}, {"source": ["-1"]},
        {"pancake_tags": ["vip"]}, {"interested_product": ["Gói A"]},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_change_of_a_mapped_field_counts_even_if_it_was_missing_before(change: dict[str, Any]) -> None:
    facts = replace(EMPTY, applied=applied(lead_case(modified_on=NOW - timedelta(hours=1))))
    assert decide_on(lead_case(**change), facts).outcome in ("ticket_created", "contact_updated")


@pytest.mark.parametrize("case", [{"unmapped": "news"}, {"email": None, "pancake_tags": []}, {}])
def test_equal_missing_and_new_empty_fields_are_no_change(case: dict[str, Any]) -> None:
    earlier: dict[str, Any] = {} if case else {"email": "a@example.com"}
    before = applied(lead_case(modified_on=NOW - timedelta(hours=1), **earlier))
    plan = decide_on(lead_case(**case), replace(EMPTY, applied=before))
    assert (plan.outcome, plan.writes_customer) == ("no_change", False)


def test_without_the_applied_fields_only_the_same_version_is_no_change() -> None:
    purged = applied(lead_case(), digests=None)
    assert decide_on(lead_case(), replace(EMPTY, applied=purged)).outcome == "no_change"
    later = lead_case(modified_on=NOW + timedelta(seconds=1))
    assert decide_on(later, replace(EMPTY, applied=purged)).outcome == "contact_updated"


def test_a_stale_version_writes_nothing_and_records_the_applied_one_unless_it_is_forced() -> None:
    before = applied(lead_case(modified_on=NOW + timedelta(days=1)))
    plan = decide_on(lead_case(), replace(EMPTY, applied=before))
    assert (plan.outcome, plan.writes_customer) == ("stale", False)
    assert (plan.account_id, plan.ticket) == ("account-1", Ticket("ticket-1", "account-1", None))
    assert decide_on(lead_case(force=True), replace(EMPTY, applied=before)).outcome == "ticket_created"


def test_another_phone_moves_the_ticket_of_the_record_unless_the_new_customer_has_an_open_one() -> None:
    own, theirs = Ticket("ticket-1", "account-1", "staff-1"), Ticket("ticket-2", "account-2", None)
    before = applied(lead_case(modified_on=NOW - timedelta(hours=1)))
    facts = replace(EMPTY, applied=before, open_tickets=(own,))
    plan = decide_on(lead_case(phone_number="0912345678"), facts)
    assert (plan.outcome, plan.moves_ticket, plan.account_id) == ("ticket_updated", True, "new-account")
    assert plan.ticket == replace(own, account_id="new-account")
    assert plan.attention == ("phone_changed",)
    evidence = {"account_before": "account-1", "phone_before": PHONE, "ticket_before": "ticket-1"}
    assert plan.evidence["phone_changed"] == evidence
    facts = replace(facts, accounts=(account("account-2", "+84912345678"),), open_tickets=(own, theirs))
    plan = decide_on(lead_case(phone_number="0912345678"), facts)
    assert (plan.ticket, plan.attention) == (theirs, ("phone_changed",))


def test_leads_and_unknown_tables_create_tickets_accounts_and_contacts_none() -> None:
    for table_name in ("account", "contact"):
        plan = decide_on(lead_case(table_name=table_name), EMPTY)
        assert (plan.writes_customer, plan.outcome, plan.ticket) == (True, "contact_updated", None)
    for unknown in ("lead", None, "Lead", "leads"):
        plan = decide_on(lead_case(table_name=unknown), EMPTY)
        assert (plan.writes_customer, plan.outcome) == (True, "ticket_created"), unknown


def test_consent_is_recorded_only_for_new_accounts_and_only_if_configured() -> None:
    known = (account("account-1"),)
    for mode, accounts, recorded in (
        ("off", (), False), (None, (), False), ("record", (), True), ("record", known, False),
    ):  # fmt: skip
        plan = decide_on(lead_case(), replace(EMPTY, consent_mode=mode, accounts=accounts))
        assert plan.records_consent is recorded, (mode, accounts)


@pytest.mark.parametrize("phone", [None, "", "không có", "0905", ["x", "y"]])
def test_without_a_usable_phone_there_is_no_plan(phone: object) -> None:
    with pytest.raises(InvalidPhone) as caught:
        decide_on(lead_case(phone_number=phone), EMPTY)
    assert caught.value.code == "invalid_phone"


def test_a_corrected_phone_replaces_the_phones_of_the_body() -> None:
    plan = decide_on(lead_case(phone_number="0905", corrected_phone="0912 345 678"), EMPTY)
    assert plan.phone == "+84912345678"


def test_the_applied_ticket_is_that_of_the_version_applied_last_if_it_had_one() -> None:
    assert ticket_applied(None) is None
    assert ticket_applied(applied(lead_case(), ticket_id=None)) is None
    found = ticket_applied(applied(lead_case(), ticket_id="t", account_id="a"))
    assert found == Ticket("t", "a", None)
