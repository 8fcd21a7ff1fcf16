"""The fields of a lead: its phones, their first one, text without unseen characters, keyed digests."""

import json
import unicodedata
from dataclasses import replace
from hashlib import sha256
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.adapters.secrets import KeyRing
from leads.domain import digest
from leads.domain.canonical_json import payload_hash
from leads.domain.digest import NO_KEYS, Digester
from leads.domain.lead import Lead, read_lead
from leads.domain.phone import parse_fully, read_phones
from leads.domain.record_phones import first_phone
from leads.domain.sources import read_sources
from leads.domain.ticket_text import ticket_texts, written_by_us, written_digests
from leads.domain.versions import changed_fields, is_new_request, is_unchanged
from leads.domain.visible_text import escape_unseen, without_unseen
from tests.support.builders import DIGESTER, EMPTY, applied, decide_on, lead_case

PHONE = "0905111222"


def lead(**fields: Any) -> Lead:
    return read_lead({"id": "r-1"} | fields, digester=DIGESTER)


def customer(*numbers: Any) -> dict[str, Any]:
    return {"id": "c-1", "phone_numbers": list(numbers)}


def test_the_phone_of_the_chat_customer_is_read_after_the_records_own() -> None:
    only = lead(phone_number=None, pancake_customer_obj=customer("0905 111 222"))
    assert only.phones == ("0905 111 222",)
    assert lead_case(phone_number="", pancake_customer_obj=customer(PHONE)).phones.usable == ("+84905111222",)
    own = {"secondary_phone_number": "0887410852", "phone_number": PHONE}
    both = lead(pancake_customer_obj=customer("0912345678"), **own)
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
    new = lead(phone_number=PHONE, pancake_customer_obj=customer(same, "0912345678"))
    assert "0912345678" in new.phones
    assert new.digests() != without.lead.digests()


def test_a_body_that_names_only_the_customer_names_the_phones_if_it_has_numbers() -> None:
    """They are bounded, and values of other types are left out."""
    only = lead(pancake_customer_obj=customer(None, 5, ["x"], {"a": 1}, PHONE))
    assert "phones" in only.named_fields
    assert (only.phones, only.digests()) == ((PHONE,), lead(phone_number=PHONE).digests())
    numbers = [f"09051112{place:02d}" for place in range(60)]
    assert len(lead(pancake_customer_obj=customer(*numbers)).phones) == 10
    without: tuple[Any, ...] = (None, "0905111222", [], {}, {"phone_numbers": None}, {"phone_numbers": []})
    for value in without:
        assert "phones" not in lead(pancake_customer_obj=value).named_fields, value


FORMS = ("0{0}", "+84{0}", "84{0}", "0{1} {2} {3}", "+84 {1}.{2}.{3}", " 0{1}-{2}-{3} ", "+84 - {1}{2} {3}")
SIGNS = st.text(" .-+()/0123456789", max_size=26)
PHONE_TEXTS = st.one_of(
    st.none(),
    SIGNS,
    st.text(max_size=30),
    st.from_regex(r"(0|\+84 ?|84)?[1-9]\d[ .-]?\d{3}[ .-]{0,3}\d{4}", fullmatch=True),
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "phone_number": st.one_of(PHONE_TEXTS, st.lists(PHONE_TEXTS, max_size=12)),
        "secondary_phone_number": PHONE_TEXTS,
        "pancake_customer_obj": st.fixed_dictionaries({"phone_numbers": st.lists(PHONE_TEXTS, max_size=12)}),
    },
)


def test_a_number_of_any_prefix_is_read_as_the_library_reads_it(subtests: pytest.Subtests) -> None:
    """Every prefix of four digits, with and without signs between the digits."""
    for first in "123456789":
        with subtests.test(first):
            for second, third, fourth in product("0123456789", repeat=3):
                national = f"{first}{second}{third}{fourth}56789"
                plain = parse_fully(f"0{national}")[0]
                for form in FORMS:
                    text = form.format(national, national[:2], national[2:5], national[5:])
                    found = first_phone({"phone_number": text})
                    assert found == read_phones([text]).primary, text
                    if first in "35789":
                        assert found == plain, text


@given(RECORDS)
def test_the_first_phone_of_a_record_is_that_of_its_lead(record: dict[str, Any]) -> None:
    lead = read_lead({"id": "r-1", **record})
    assert first_phone(record) == read_phones(lead.phones).primary


SPOOFING = "Nguy\u200bễn\u202e Văn\x1b[2J\x07 A\u2066\u200f\u061c\x9b31m\u00ad\ufeff\U000e0041\u200d\x7f"
SEEN = "Nguyễn Văn[2J A31m"
KEPT = "Đặng Thị Bích Ngọc 阮 O’Néill 😀 ❤\ufe0f Nguye\u0302\u0303n\u00a0B"


def test_the_fields_of_a_lead_hold_no_character_that_is_not_seen_nor_are_they_cut_by_it() -> None:
    lead = read_lead(
        {
            "id": "1", "name": SPOOFING, "email": f"a@b.vn{SPOOFING}", "full_address": [SPOOFING, "84"],
            "pancake_tags": [SPOOFING, "\u202e"], "interested_product": SPOOFING,
        }
    )  # fmt: skip
    assert (lead.name, lead.email, lead.address) == (SEEN, f"a@b.vn{SEEN}", SEEN)
    assert (lead.tags, lead.interested_products) == ((SEEN,), (SEEN,))
    assert lead.cut_fields == ()
    assert [source.name for source in read_sources([{"id": "1", "name": SPOOFING}])] == [SEEN]
    unseen = read_lead({"id": "1", "name": "\u200b" * 600 + "A"})
    assert (unseen.name, unseen.cut_fields) == ("A", ())
    assert read_lead({"id": "1", "name": "A\u200b" * 501}).cut_fields == ("name",)


def test_a_line_break_in_a_field_makes_no_line_of_the_description() -> None:
    lead = read_lead({"id": "1", "full_address": "1 Lê Lợi\r\nĐiện thoại: 0900000000\u2028\tHuế"})
    assert lead.address == "1 Lê Lợi Điện thoại: 0900000000 Huế"
    texts = ticket_texts(lead.fields(), "+84905111222", ["+84905111222"])
    assert texts["description"].count("\n") == 1


def test_letters_of_all_languages_stay_and_control_and_format_characters_are_unseen() -> None:
    for text in (KEPT, "", "A B"):
        assert without_unseen(text) == escape_unseen(text) == text
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        assert without_unseen(f"a{chr(code)}b") in ("ab", "a b"), hex(code)
        assert escape_unseen(chr(code)) == (chr(code) if code in (9, 10) else f"\\u{code:04x}")


@given(st.text(st.characters(codec="utf-8")))
def test_an_escaped_json_document_is_the_same_document(text: str) -> None:
    printed = escape_unseen(json.dumps({"text": text}, ensure_ascii=False, indent=2))
    assert json.loads(printed) == {"text": text}
    assert not {unicodedata.category(character) for character in printed.replace("\n", "")} & {"Cc"}


OLD, NEW = bytes([1] * 32), bytes([2] * 32)
BEFORE = KeyRing({"old": OLD}).digester()
ROTATED = KeyRing({"new": NEW, "old": OLD}).digester()
AFTER = KeyRing({"new": NEW}).digester()
DIGESTED = {
    "id": "r-1", "name": "An", "phone_number": "0905 111 222", "secondary_phone_number": "khong co",
    "interested_product": ["Gói A"], "source": ["-1"], "email": "an@example.com",
}  # fmt: skip


def digested_lead(digester: Digester, **fields: object) -> Lead:
    return read_lead(json.loads(json.dumps(DIGESTED | fields)), digester=digester)


def test_a_digest_is_not_a_hash_that_anybody_can_compute() -> None:
    """All phones are tried in seconds; the digests of before were found so."""
    stored = digested_lead(BEFORE).digests()["phones"][0]
    guesses = [["r-1", "phones", phone] for phone in ("+84905111222", "0905 111 222")]
    texts = [json.dumps(guess, separators=(",", ":"), ensure_ascii=False) for guess in guesses]
    for text in texts:
        assert sha256(text.encode()).hexdigest()[:16] not in stored
        assert payload_hash(text).hex()[:16] not in stored
    assert stored != digested_lead(AFTER).digests()["phones"][0]


def test_a_digest_names_its_key_and_depends_on_its_purpose() -> None:
    assert BEFORE.digest(digest.PHONE, "+84905111222").startswith("old:")
    assert ROTATED.digest(digest.PHONE, "+84905111222").startswith("new:")
    assert BEFORE.digest(digest.PHONE, "+84905111222") != BEFORE.digest("r-1", "phones", "+84905111222")
    assert len({digest.digest("a") for digest in (BEFORE, Digester({"old": OLD}))}) == 2, (
        "the key is derived, not that which seals"
    )


@pytest.mark.parametrize("digester", [BEFORE, ROTATED], ids=["same key", "rotated"])
def test_digests_stay_comparable_while_their_key_is_in_the_ring(digester: Digester) -> None:
    before = applied(lead_case(), digests=digested_lead(BEFORE).digests())
    for fields, changed in (
        ({}, ()),
        ({"name": "B"}, ("name",)),
        ({"interested_product": ["B"]}, ("interested_products",)),
    ):
        later = digested_lead(digester, **fields)
        known = replace(before, digests=later.restated(before.digests or {}))
        assert changed_fields(later, known) == changed
        assert is_unchanged(later, known) == (not changed)
        assert is_new_request(later, lead_case().phones, known) == ("interested_products" in changed)


def test_fields_are_restated_with_the_present_key_and_those_of_a_key_that_is_gone_count_as_changed() -> None:
    later = digested_lead(AFTER)
    known = applied(lead_case(), digests=later.restated(digested_lead(BEFORE).digests()))
    assert set(changed_fields(later, known)) == set(later.fields())
    stored = digested_lead(BEFORE).digests()
    named = read_lead({"id": "r-1", "name": "An"}, digester=ROTATED)
    assert named.restated(stored) == stored | {"name": ROTATED.digest("r-1", "name", "An")}
    stored = digested_lead(BEFORE, interested_product=["A", "B"]).digests()
    restated = digested_lead(ROTATED, interested_product=["B", "C"]).restated(stored)["interested_products"]
    assert restated == [stored["interested_products"][0], ROTATED.digest("r-1", "interested_products", "B")]


def test_texts_of_a_ticket_that_a_person_changed_are_known_after_a_rotation() -> None:
    plan = decide_on(lead_case(), EMPTY)
    assert plan.ticket is not None
    texts = {"title": "Lead Pancake: An", "description": "Email: a@example.com"}
    fields = {"written": written_digests(plan.ticket, texts, BEFORE)}
    present = texts | {"title": "Lead Pancake: An, gọi sau 17h"}
    assert written_by_us(fields, present, ROTATED) == {"description"}
    assert written_by_us(fields, texts, AFTER) == frozenset(), "the safe side: they count as changed"


def test_a_body_is_identified_with_the_oldest_key_and_without_a_key_there_are_no_digests() -> None:
    """A body that is delivered again after a key was added is still a duplicate."""
    body = payload_hash("{}")
    assert BEFORE.identify(body) == ROTATED.identify(body) != AFTER.identify(body)
    assert BEFORE.identify(body) != body
    with pytest.raises(ValueError, match="key"):
        NO_KEYS.digest("a")
