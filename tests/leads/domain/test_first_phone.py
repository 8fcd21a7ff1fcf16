"""The phone that ingest stores is the first one that processing would read."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.lead import read_lead
from leads.domain.phone import parse_fully, read_phones
from leads.domain.record_phones import first_phone

FORMS = ("0{0}", "+84{0}", "84{0}", "0{1} {2} {3}", "+84 {1}.{2}.{3}", " 0{1}-{2}-{3} ", "+84 - {1}{2} {3}")
SIGNS = st.text(" .-+()/0123456789", max_size=26)
PHONES = st.one_of(
    st.none(),
    SIGNS,
    st.text(max_size=30),
    st.from_regex(r"(0|\+84 ?|84)?[1-9]\d[ .-]?\d{3}[ .-]{0,3}\d{4}", fullmatch=True),
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "phone_number": st.one_of(PHONES, st.lists(PHONES, max_size=12)),
        "secondary_phone_number": PHONES,
        "pancake_customer_obj": st.fixed_dictionaries({"phone_numbers": st.lists(PHONES, max_size=12)}),
    },
)


def forms(national: str) -> list[str]:
    return [form.format(national, national[:2], national[2:5], national[5:]) for form in FORMS]


@pytest.mark.parametrize("first", "123456789")
def test_a_number_of_any_prefix_is_read_as_the_library_reads_it(first: str) -> None:
    """Every prefix of four digits, with and without signs between the digits."""
    for second, third, fourth in product("0123456789", repeat=3):
        national = f"{first}{second}{third}{fourth}56789"
        plain = parse_fully(f"0{national}")[0]
        for text in forms(national):
            found = first_phone({"phone_number": text})
            assert found == read_phones([text]).primary, text
            if first in "35789":
                assert found == plain, text


@given(RECORDS)
def test_the_first_phone_of_a_record_is_that_of_its_lead(record: dict[str, Any]) -> None:
    lead = read_lead({"id": "r-1", **record})
    assert first_phone(record) == read_phones(lead.phones).primary
