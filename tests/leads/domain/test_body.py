"""What Pancake sends: strict JSON with one identity, three shapes, loose types, what is stored of it.

And the fields of a lead: its phones, their first one, text without unseen characters, keyed digests.
"""

import json
import unicodedata
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.adapters.secrets import KeyRing
from leads.domain import digest
from leads.domain.body import NO_SOURCE, Body, Delivery, in_utc, is_deletion, read_body, read_time
from leads.domain.canonical_json import (
    MAX_BODY_BYTES,
    JsonObject,
    Number,
    canonical,
    has_exponent,
    object_without_nul,
    payload_hash,
    read_json,
)
from leads.domain.decide import Ticket
from leads.domain.digest import NO_KEYS, Digester
from leads.domain.errors import InvalidBody
from leads.domain.fields import FIELDS
from leads.domain.lead import Lead, first_phone, read_lead
from leads.domain.listing import Source, read_sources
from leads.domain.phone import parse_fully, read_phones
from leads.domain.ticket_text import find_block, is_our_title, ticket_content
from leads.domain.versions import changed_fields, is_new_request, is_unchanged
from leads.domain.visible_text import without_unseen
from ops.output import escape_unseen
from tests.support.builders import DIGESTER, applied, lead_case

encodable = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
floats = st.floats(-1e99, 1e99).filter(lambda number: number == 0 or abs(number) > 1e-99)
json_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | encodable,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(encodable, inner, max_size=4),
    max_leaves=12,
)


def hash_of(body: str | bytes) -> bytes:
    return payload_hash(canonical(read_json(body.encode() if isinstance(body, str) else body)))


def refusal(body: str | bytes) -> str:
    with pytest.raises(InvalidBody) as caught:
        read_json(body.encode() if isinstance(body, str) else body)
    return caught.value.code


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


@given(json_documents, st.sampled_from([None, 1, 4]), st.booleans())
def test_the_hash_ignores_key_order_white_space_and_escapes(value: Any, indent: int, ascii_: bool) -> None:
    written = json.dumps(shuffled(value), indent=indent, ensure_ascii=ascii_)
    assert hash_of(written) == hash_of(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


@given(json_documents)
def test_the_canonical_text_is_json_of_the_same_value_and_canonical_itself(value: Any) -> None:
    text = canonical(read_json(json.dumps(value).encode()))
    assert json.loads(text) == value
    assert canonical(read_json(text.encode())) == text


def test_numbers_keep_all_their_digits_and_differ_from_their_texts() -> None:
    digits = "7" * 10_000
    assert read_json(f"[{digits}, 1e99, -0.0]".encode()) == [Number(digits), Number("1e99"), Number("-0.0")]
    for one, other in (
        (f"{2**64}", f"{2**64 + 1}"), ("0.1000000000000000055", "0.1"), ("5", '"5"'), ("true", '"true"'),
        ("null", '"null"'),
    ):  # fmt: skip
        assert hash_of(f'{{"n": {one}}}') != hash_of(f'{{"n": {other}}}')


@pytest.mark.parametrize("number", ["1e100", "1e999", "1E+999999", "-2.5e-12345", "1e" + "9" * 5000])
def test_an_exponent_that_would_fill_the_database_with_digits_is_refused(number: str) -> None:
    assert refusal(f'{{"n": {number}}}') == "unstorable"
    assert read_json(b"[1e0000000010]") == ["1e0000000010"], "leading zeros do not count"


@given(json_documents)
def test_a_number_with_an_exponent_is_recognised_in_the_canonical_text(value: Any) -> None:
    plain = canonical(read_json(json.dumps(value).encode()))
    if any(isinstance(number, float) and "e" in json.dumps(number) for number in leaves(value)):
        assert has_exponent(plain)
    for text in ('{"id":"2e3","n":[-1.5,20]}', "[]", '["1e5"]'):
        assert not has_exponent(text)


@pytest.mark.parametrize(
    "body",
    [
        "", " ", "{", "nope", "{'a': 1}", '{"a": 1,}', "[1] [2]", '{"a": NaN}', "[Infinity]", "[-Infinity]",
        "[01]", "[+1]", "[.5]", "[1.]", '["\x01"]', '["\\x"]', b"\xff\xfe", b'{"a": "\xc3"}', b"\x00",
        '["\\ud800"]', '["\\udc00\\ud800"]', '{"\\uD83D": 1}', '["\\ud83d\\ud83d\\ude00"]',
        b'["\xed\xa0\x80"]',
    ],
)  # fmt: skip
def test_text_that_is_not_strict_json_is_refused(body: str | bytes) -> None:
    assert refusal(body) == "invalid_json"


def test_an_error_names_its_place_once_and_never_contains_the_body() -> None:
    for body in ('{"api_key": "s3cret"', '["s3cret\\ud800"]', '{"s3cret": NaN}', 's3cret"'):
        with pytest.raises(InvalidBody) as caught:
            read_json(body.encode())
        assert "s3cret" not in str(caught.value)
    for text, message in (
        (b'{"a": "b', r"Unterminated string starting at character 6$"),
        (b'{"a": "\xff"}', r"the text is not valid Unicode$"),
        (b'{"a": NaN}', r"NaN"),
    ):
        with pytest.raises(InvalidBody, match=message):
            read_json(text)


def test_thirty_two_levels_are_read_and_more_never_exhaust_the_stack() -> None:
    for left, right in (("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")):
        fits = 32 // (left.count("[") + left.count("{"))
        read_json(f"{left * fits}1{right * fits}".encode())
        assert refusal(f"{left * fits}[]{right * fits}") == "too_deep"
    for depth in (33, 900, 5000, 100_000):
        assert refusal("[" * depth + "]" * depth) == "too_deep"
        assert refusal("[" * depth + '"\\ud800"' + "]" * depth) in {"too_deep", "invalid_json"}


def test_what_is_read_as_strict_json_of_bytes() -> None:
    assert hash_of('{"a": 1, "a": 2}') == hash_of('{"a": 2}'), "the last of duplicate keys"
    assert hash_of(b'\xef\xbb\xbf{"a": 2}') == hash_of('{"a": 2}'), "a byte order mark"
    assert read_json(('["' + "[" * 500 + '"]').encode()) == ["[" * 500], "brackets in strings"
    assert read_json(b'["\\ud83d\\ude00"]') == ["😀"], "a pair of surrogates"


def test_a_body_of_256_kib_is_read_and_one_byte_more_only_from_the_database() -> None:
    body = b'["' + b"x" * (MAX_BODY_BYTES - 4) + b'"]'
    assert read_json(body) == ["x" * (MAX_BODY_BYTES - 4)]
    assert refusal(body + b" ") == "too_large"
    body = b"[" + b"1, " * MAX_BODY_BYTES + b"1]"
    assert read_json(body, max_bytes=None) == ["1"] * (MAX_BODY_BYTES + 1)


def test_only_nul_is_removed_from_keys_and_strings() -> None:
    value: Any = read_json(b'{"a\\u0000b": ["x\\u0000", {"c": "\\u0000"}, 1e5, null, true, "\\\\u0000"]}')
    assert object_without_nul(value) == {"ab": ["x", {"c": ""}, "1e5", None, True, "\\u0000"]}
    stripped: Any = object_without_nul(value)
    assert isinstance(stripped["ab"][2], Number)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(InvalidBody):
        canonical(read_json(body)).encode()


FLAT: dict[str, Any] = {"id": "r-1", "name": "An", "phone_number": "0905111222", "source": ["-1"]}
TYPED = {"type": "records", "event_type": "insert", "workspace_id": 123, "table_id": "lead", **FLAT}
ENVELOPED = {"event": "record", "action": "created", "data": {"table_id": "lead", **FLAT}}


def body_of(value: Any) -> Body:
    return read_body(json.dumps(value).encode())


def parse(value: Any) -> JsonObject:
    parsed = read_json(json.dumps(value).encode())
    assert isinstance(parsed, dict)
    return parsed


def lead(**fields: Any) -> Lead:
    return read_lead(parse({"id": "r-1"} | fields), digester=DIGESTER)


def test_the_three_shapes_hold_the_same_record_and_one_with_a_data_field_of_its_own_is_flat() -> None:
    """Unknown keys are kept."""
    for body, table in ((FLAT, None), (TYPED, "lead"), (ENVELOPED, "lead")):
        found = body_of(body)
        assert (found.record_id, found.source_ids, found.table_name) == ("r-1", ("-1",), table)
        assert found.error_code is None
        assert read_lead(parse(body)).text("name") == "An"
    assert body_of(FLAT).payload_hash == body_of(dict(reversed(FLAT.items()))).payload_hash
    assert body_of(FLAT).payload_hash != body_of(FLAT | {"name": "Anh"}).payload_hash
    found = body_of(FLAT | {"utm": {"a": [1, None]}, "data": {"id": "other"}})
    assert (found.record_id, json.loads(found.payload or "{}")["utm"]) == ("r-1", {"a": [1, None]})


def test_an_id_may_be_text_or_a_number_and_without_one_the_body_is_stored_as_a_dead_letter() -> None:
    for given_id, expected in ((7, "7"), (" r ", "r"), (2**70, str(2**70))):
        assert body_of({"id": given_id}).record_id == lead(id=given_id).record_id == expected
    unusable: tuple[object, ...] = (None, "", "  ", [], {}, True, "x" * 201)
    for bad in unusable:
        found = body_of({"id": bad, "name": "An"})
        assert (found.record_id, found.error_code) == (None, "missing_record_id"), bad
        assert found.payload is not None
        with pytest.raises(InvalidBody) as caught:
            lead(id=bad)
        assert caught.value.code == "missing_record_id"


@pytest.mark.parametrize(
    "body", [{}, {"test": True}, {"event": "test"}, {"type": "PING"}, {"action": "webhook_test", "x": 1}]
)
def test_a_test_ping_is_recognised(body: dict[str, Any]) -> None:
    assert body_of(body).error_code == "test_ping"


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"x"', b"", b"\xff", b"{", b'{"a": NaN}'])
def test_a_body_that_is_no_json_object_is_kept_byte_for_byte(body: bytes) -> None:
    found = read_body(body)
    assert (found.raw, found.payload, found.error_code) == (body, None, "invalid_json")
    assert found.source_ids == ()


def test_nul_is_removed_and_recorded() -> None:
    found = body_of(FLAT | {"name": "A\0n", "id": "r\0-1"})
    assert found.notes == ("nul_removed",)
    assert found.record_id == "r-1"
    assert "\\u0000" not in (found.payload or "\\u0000")
    assert body_of(FLAT | {"name": "a literal \\u0000"}).notes == ()


def test_sources_come_as_text_numbers_or_objects_at_most_fifty() -> None:
    found: list[tuple[object, tuple[str, ...]]] = [
        (["-1", "24895"], ("-1", "24895")), ([-1, 24895, -1], ("-1", "24895")), ("-1", ("-1",)),
        (-1, ("-1",)),
        ([{"id": -3, "name": "Instagram"}], ("-3",)), ([" -1 ", "", None, True, [], {}], ("-1",)),
        (None, (NO_SOURCE,)), ([], (NO_SOURCE,)), ({}, (NO_SOURCE,)),
        ([str(n) for n in range(500)], tuple(str(n) for n in range(50))),
    ]  # fmt: skip
    for source, expected in found:
        assert body_of(FLAT | {"source": source}).source_ids == expected, source
    assert body_of({"id": "r"}).source_ids == (), "it is left to the earlier events"


def test_times_are_aware_only_if_they_have_a_zone(subtests: pytest.Subtests) -> None:
    for text, expected in {
        "2026-05-14T02:35:56.000000": "2026-05-14T02:35:56",
        "2026-05-14 02:35": "2026-05-14T02:35:00",
        "2026-05-14T02:35:56,123456789": "2026-05-14T02:35:56.123456",
        "2026-05-14T02:35:56Z": "2026-05-14T02:35:56+00:00",
        " 2026-05-14T02:35:56+07:00 ": "2026-05-14T02:35:56+07:00",
    }.items():
        with subtests.test(text=text, expected=expected):
            found = read_time(text)
            assert found is not None
            wanted = datetime.fromisoformat(expected)
            assert (found, found.tzinfo is None) == (wanted, wanted.tzinfo is None)


def test_text_that_is_no_time_gives_none(subtests: pytest.Subtests) -> None:
    texts: tuple[object, ...] = (
        None, 5, True, [], {}, "", "yesterday", "2026-05-14", "2026-13-01T00:00", "2026-02-30T00:00:00",
        "0001-01-01T00:00:00", "9999-12-31T23:59:59", "20260514T023556", "2026-05-14T02:35:60",
        "2026-05-14T02:35:56+99:00", "2026-05-14T02:35:56+16:00", "2026-05-14T02:35:56-1600",
        "٢٠٢٦-05-14T02:35:56", "2026-05-14T02:35:56" + " " * 46,
    )  # fmt: skip
    for value in texts:
        with subtests.test(value=value):
            assert read_time(value) is None


OFFSETS = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))


@given(st.text(max_size=40) | st.datetimes(timezones=st.none() | OFFSETS).map(datetime.isoformat))
def test_any_text_gives_none_or_a_time_that_every_zone_can_express(text: str) -> None:
    found = read_time(text)
    if found is not None:
        assert datetime.fromisoformat(text.strip()) == found
        assert {in_utc(found, timezone(timedelta(hours=hours))).tzinfo for hours in (-14, 14)} == {UTC}


def test_created_on_replaces_a_missing_modified_on() -> None:
    times = {"created_on": "2026-05-14T02:35:56Z"}
    expected = datetime(2026, 5, 14, 2, 35, 56, tzinfo=UTC)
    assert body_of(FLAT | times).modified_on == expected
    assert body_of(FLAT | times | {"modified_on": None}).modified_on == expected
    assert body_of(FLAT).modified_on is None


def test_loose_types_are_converted() -> None:
    found = lead(
        name=" An ",
        phone_number=["0905111222", None, 905111222, ""],
        secondary_phone_number="0905111222",
        email=5,
        full_address=["12 Hàng Trống", "+84"],
        pancake_tags=["b", "a", {"id": 1}],
        interested_product="Gói A",
    )
    texts = {name: found.fields()[name] for name in ("name", "email", "address")}
    assert texts == {"name": "An", "email": "5", "address": "12 Hàng Trống"}
    assert found.phones == ("0905111222", "905111222")
    assert (found.items("tags"), found.items("interested_products")) == (("a", "b"), ("Gói A",))


def test_null_and_empty_values_count_as_missing_and_only_named_fields_are_in_the_lead() -> None:
    found = lead(name="", phone_number=None, email=" ", full_address=[], pancake_tags=None)
    assert not any(found.values.values())
    assert set(lead(name="An", phone_number=None).fields()) == {"name", "phones"}
    assert lead().fields() == {}
    assert lead(pancake_tags=["a", "b"]).fields() == lead(pancake_tags=["b", "a"]).fields()


KEYS = [
    "id", "data", "modified_on", "created_on", "table_id", "pancake_customer_obj", "pancake_tags_obj",
    "event", "type", "test", *(key for field in FIELDS.values() for key in field.keys),
]  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(KEYS), json_documents | st.dictionaries(st.sampled_from(KEYS), json_documents)
    )
)
def test_any_object_is_a_delivery_and_its_lead_can_be_read(body: dict[str, Any]) -> None:
    found = body_of(body)
    assert len(found.payload_hash) == 32
    assert (found.payload is None) != (found.raw is None)
    if found.record_id is not None and found.payload is not None:
        assert read_lead(parse(json.loads(found.payload))).record_id == found.record_id
    else:
        assert found.error_code


ARRIVED_AT = datetime(2026, 5, 14, tzinfo=UTC)


def delivery(body: dict[str, Any] | bytes) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery(read_body(raw), ARRIVED_AT, token_sha256=bytes(32), source_ip="192.0.2.1")


def test_a_body_that_the_database_cannot_hold_is_stored_as_bytes_with_the_same_hash() -> None:
    refused = delivery({"id": 1, "n": int("9" * 4000)})
    kept = refused.as_raw()
    assert kept.body.payload is None
    assert kept.body.record_id is None
    assert kept.body.raw == (refused.body.payload or "").encode()
    assert kept.body.payload_hash == refused.body.payload_hash == payload_hash(kept.body.raw)
    assert kept.body.error_code == "unstorable"
    assert delivery(b"\xff\x00").as_raw().body.raw == b"\xff\x00", "no JSON: stored unchanged"
    assert (kept.token_sha256, kept.arrived_at, kept.source_ip) == (bytes(32), ARRIVED_AT, "192.0.2.1")


def test_sources_are_deduplicated_ordered_and_cleaned() -> None:
    entries: list[dict[str, Any]] = [
        {"id": "24895", "name": " Cộng tác viên\0 ", "parent_id": 50},
        {"id": -1, "name": "Facebook", "is_removed": True},
        {"id": "24895", "name": "Cộng tác viên", "parent_id": None},
        {"id": None, "name": "?"},
        {"id": "(none)", "name": "ours, not theirs"},
        {"name": "no id"},
        {"id": "7", "name": ""},
    ]
    assert read_sources(entries) == [
        Source("-1", "Facebook", None, is_removed=True),
        Source("24895", "Cộng tác viên", None, is_removed=False),
        Source("7", None, None, is_removed=False),
    ]


def test_the_last_word_of_the_event_says_whether_the_record_was_deleted() -> None:
    deletions = ("delete", "Lead.Deleted", "record_delete")
    for word in (*deletions, "deleted_field_changed", "update"):
        assert is_deletion({"action": word}) is is_deletion({"event_type": word}) is (word in deletions), word


PHONE = "0905111222"


def customer(*numbers: Any) -> dict[str, Any]:
    return {"id": "c-1", "phone_numbers": list(numbers)}


def test_a_body_that_names_only_the_customer_names_the_phones_if_it_has_numbers() -> None:
    """They are bounded, and values of other types are left out."""
    only = lead(pancake_customer_obj=customer(None, True, ["x"], {"a": 1}, PHONE))
    assert "phones" in only.values
    assert (only.phones, only.digests()) == ((PHONE,), lead(phone_number=PHONE).digests())
    numbers = [f"09051112{place:02d}" for place in range(60)]
    assert len(lead(pancake_customer_obj=customer(*numbers)).phones) == 10
    without: tuple[Any, ...] = (None, "0905111222", [], {}, {"phone_numbers": None}, {"phone_numbers": []})
    for value in without:
        assert "phones" not in lead(pancake_customer_obj=value).values, value


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
    lists = {"tags": [SEEN], "interested_products": [SEEN]}
    assert lead.fields() == {"name": SEEN, "email": f"a@b.vn{SEEN}", "address": SEEN} | lists
    assert lead.cut_fields == ()
    assert [source.name for source in read_sources([{"id": "1", "name": SPOOFING}])] == [SEEN]
    unseen = read_lead({"id": "1", "name": "\u200b" * 600 + "A"})
    assert (unseen.text("name"), unseen.cut_fields) == ("A", ())
    assert read_lead({"id": "1", "name": "A\u200b" * 501}).cut_fields == ("name",)


def test_a_line_break_in_a_field_makes_no_line_of_the_description() -> None:
    lead = read_lead({"id": "1", "full_address": "1 Lê Lợi\r\nĐiện thoại: 0900000000\u2028\tHuế"})
    assert lead.text("address") == "1 Lê Lợi Điện thoại: 0900000000 Huế"


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


def test_a_digest_cannot_be_computed_without_the_key() -> None:
    """All phones are tried in seconds; the digests of before were found so."""
    stored = digested_lead(BEFORE).digests()["phones"][0]
    guesses = [["r-1", "phones", phone] for phone in ("+84905111222", "0905 111 222")]
    texts = [json.dumps(guess, separators=(",", ":"), ensure_ascii=False) for guess in guesses]
    for text in texts:
        assert sha256(text.encode()).hexdigest()[:16] not in stored
        assert payload_hash(text).hex()[:16] not in stored
    assert stored != digested_lead(AFTER).digests()["phones"][0]
    one, other = (digested_lead(BEFORE, id=record_id).digests() for record_id in ("r-1", "r-2"))
    assert one["name"] != other["name"], "it depends on the record"
    assert len(one["name"]) == len("old:") + 16


def test_a_digest_names_its_key_and_depends_on_its_purpose() -> None:
    assert BEFORE.digest(digest.PHONE, "+84905111222").startswith("old:")
    assert ROTATED.digest(digest.PHONE, "+84905111222").startswith("new:")
    assert BEFORE.digest(digest.PHONE, "+84905111222") != BEFORE.digest("r-1", "phones", "+84905111222")
    assert len({digest.digest("a") for digest in (BEFORE, Digester({"old": OLD}))}) == 2, (
        "the key is derived, not that which seals"
    )


@pytest.mark.parametrize("digester", [BEFORE, ROTATED], ids=["same key", "rotated"])
def test_digests_stay_comparable_while_their_key_is_in_the_ring(
    digester: Digester, subtests: pytest.Subtests
) -> None:
    before = applied(lead_case(), digests=digested_lead(BEFORE).digests())
    for fields, changed in (
        ({}, ()),
        ({"name": "B"}, ("name",)),
        ({"interested_product": ["B"]}, ("interested_products",)),
    ):
        with subtests.test(fields=fields, changed=changed):
            later = digested_lead(digester, **fields)
            known = replace(before, digests=later.with_current_key(before.digests or {}))
            assert changed_fields(later, known) == changed
            assert is_unchanged(later, known) == (not changed)
            assert is_new_request(later, lead_case().phones, known) == ("interested_products" in changed)


def test_fields_are_restated_with_the_present_key_and_those_of_a_key_that_is_gone_count_as_changed() -> None:
    later = digested_lead(AFTER)
    known = applied(lead_case(), digests=later.with_current_key(digested_lead(BEFORE).digests()))
    assert set(changed_fields(later, known)) == set(later.fields())
    stored = digested_lead(BEFORE).digests()
    named = read_lead({"id": "r-1", "name": "An"}, digester=ROTATED)
    assert named.with_current_key(stored) == stored | {"name": ROTATED.digest("r-1", "name", "An")}
    stored = digested_lead(BEFORE, interested_product=["A", "B"]).digests()
    restated = digested_lead(ROTATED, interested_product=["B", "C"]).with_current_key(stored)[
        "interested_products"
    ]
    assert restated == [stored["interested_products"][0], ROTATED.digest("r-1", "interested_products", "B")]


def test_texts_of_a_ticket_that_a_person_changed_are_known_after_a_rotation() -> None:
    content = ticket_content(Ticket("t", None, None), {"name": "An"}, {}, BEFORE)
    ticket = Ticket("t", None, None, title="Lead Pancake: An", fields=content.fields)
    for digester, is_ours in ((ROTATED, True), (AFTER, False)):
        assert is_our_title(ticket, digester) is is_ours, "the safe side: it counts as changed"
        assert (find_block(content.description, content.fields, digester) is not None) is is_ours
    assert not is_our_title(replace(ticket, title="Lead Pancake: An, gọi sau 17h"), ROTATED)


def test_a_body_is_identified_with_the_oldest_key_and_without_a_key_there_are_no_digests() -> None:
    """A body that is delivered again after a key was added is still a duplicate."""
    body = payload_hash("{}")
    assert BEFORE.identify(body) == ROTATED.identify(body) != AFTER.identify(body)
    assert BEFORE.identify(body) != body
    with pytest.raises(ValueError, match="key"):
        NO_KEYS.digest("a")
