"""Characters that are not seen: out of names, escaped in terminals."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.lead import read_lead
from leads.domain.sources import read_sources
from leads.domain.ticket_text import ticket_texts
from leads.domain.visible_text import escape_unseen, without_unseen

SPOOFING = "Nguy\u200bễn\u202e Văn\x1b[2J\x07 A\u2066\u200f\u061c\x9b31m\u00ad\ufeff\U000e0041\u200d\x7f"
SEEN = "Nguyễn Văn[2J A31m"
KEPT = "Đặng Thị Bích Ngọc 阮 O’Néill 😀 ❤\ufe0f Nguye\u0302\u0303n\u00a0B"


def test_the_fields_of_a_lead_hold_no_character_that_is_not_seen() -> None:
    lead = read_lead(
        {
            "id": "1", "name": SPOOFING, "email": f"a@b.vn{SPOOFING}", "full_address": [SPOOFING, "84"],
            "pancake_tags": [SPOOFING, "\u202e"], "interested_product": SPOOFING,
        }
    )  # fmt: skip
    assert (lead.name, lead.email, lead.address) == (SEEN, f"a@b.vn{SEEN}", SEEN)
    assert (lead.tags, lead.interested_products) == ((SEEN,), (SEEN,))
    assert lead.cut_fields == ()


def test_a_line_break_in_a_field_makes_no_line_of_the_description() -> None:
    lead = read_lead({"id": "1", "full_address": "1 Lê Lợi\r\nĐiện thoại: 0900000000\u2028\tHuế"})
    assert lead.address == "1 Lê Lợi Điện thoại: 0900000000 Huế"
    texts = ticket_texts(lead.fields(), "+84905111222", ["+84905111222"])
    assert texts["description"].count("\n") == 1


def test_the_name_of_a_source_holds_none() -> None:
    (source,) = read_sources([{"id": "1", "name": SPOOFING}])
    assert source.name == SEEN


def test_a_field_is_cut_by_what_is_seen_of_it() -> None:
    assert read_lead({"id": "1", "name": "\u200b" * 600 + "A"}).name == "A"
    assert read_lead({"id": "1", "name": "\u200b" * 600 + "A"}).cut_fields == ()
    assert read_lead({"id": "1", "name": "A\u200b" * 501}).cut_fields == ("name",)


@pytest.mark.parametrize("text", [KEPT, "", "A B"])
def test_letters_of_all_languages_stay(text: str) -> None:
    assert without_unseen(text) == escape_unseen(text) == text


def test_every_control_and_format_character_of_direction_is_unseen() -> None:
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        assert without_unseen(f"a{chr(code)}b") in ("ab", "a b"), hex(code)
        assert escape_unseen(chr(code)) == (chr(code) if code in (9, 10) else f"\\u{code:04x}")


@given(st.text(st.characters(codec="utf-8")))
def test_an_escaped_json_document_is_the_same_document(text: str) -> None:
    printed = escape_unseen(json.dumps({"text": text}, ensure_ascii=False, indent=2))
    assert json.loads(printed) == {"text": text}
    assert not {unicodedata.category(character) for character in printed.replace("\n", "")} & {"Cc"}
