"""The phones of a lead: the record's own, and those of its customer in Pancake's chat."""

from dataclasses import replace
from typing import Any

import pytest

from leads.domain.lead import Lead, read_lead
from tests.support.builders import DIGESTER, EMPTY, applied, decide_on, lead_case

PHONE = "0905111222"


def lead(**fields: Any) -> Lead:
    return read_lead({"id": "r-1"} | fields, digester=DIGESTER)


def customer(*numbers: Any) -> dict[str, Any]:
    return {"id": "c-1", "phone_numbers": list(numbers)}


def test_a_phone_that_only_the_chat_customer_has_is_read() -> None:
    only = lead(phone_number=None, pancake_customer_obj=customer("0905 111 222"))
    assert only.phones == ("0905 111 222",)
    assert lead_case(phone_number="", pancake_customer_obj=customer(PHONE)).phones.usable == ("+84905111222",)


def test_the_records_own_phones_come_first() -> None:
    both = lead(
        pancake_customer_obj=customer("0912345678"), secondary_phone_number="0887410852", phone_number=PHONE
    )
    assert both.phones == (PHONE, "0887410852", "0912345678")


@pytest.mark.parametrize("same", [PHONE, "+84905111222", "84 905 111 222", "khong co"])
def test_a_customer_that_brings_no_new_number_changes_nothing(same: str) -> None:
    """Neither the fields nor their digests, which decide whether a notification is sent."""
    without = lead_case(phone_number=PHONE)
    named = lead_case(phone_number=PHONE, modified_on=None, pancake_customer_obj=customer(same, same))
    assert named.lead.fields() == without.lead.fields()
    assert named.lead.digests() == without.lead.digests()
    facts = replace(EMPTY, applied=applied(without))
    assert decide_on(named, facts).outcome == "no_change"


def test_a_new_number_of_the_customer_is_a_change() -> None:
    named = lead(phone_number=PHONE, pancake_customer_obj=customer(PHONE, "0912345678"))
    assert named.phones == (PHONE, "0912345678")
    assert named.digests() != lead(phone_number=PHONE).digests()


def test_a_body_that_names_only_the_customer_names_the_phones() -> None:
    assert "phones" in lead(pancake_customer_obj=customer(PHONE)).named_fields
    assert lead(pancake_customer_obj=customer(PHONE)).digests() == lead(phone_number=PHONE).digests()


@pytest.mark.parametrize(
    "value", [None, "0905111222", [], {}, {"phone_numbers": None}, {"phone_numbers": []}]
)
def test_a_customer_without_numbers_does_not_name_the_phones(value: Any) -> None:
    assert "phones" not in lead(pancake_customer_obj=value).named_fields


def test_values_of_unexpected_types_are_left_out() -> None:
    assert lead(pancake_customer_obj=customer(None, 5, ["x"], {"a": 1}, PHONE)).phones == (PHONE,)


def test_the_phones_of_a_customer_are_bounded() -> None:
    numbers = [f"09051112{place:02d}" for place in range(60)]
    assert len(lead(pancake_customer_obj=customer(*numbers)).phones) == 10
