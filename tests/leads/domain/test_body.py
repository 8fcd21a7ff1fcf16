"""Reading what Pancake sends: three shapes, loose types, times with and without a zone."""

import json
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.body import NO_SOURCE, Body, read_body
from leads.domain.canonical_json import JsonObject, read_json
from leads.domain.errors import InvalidBody
from leads.domain.lead import Lead, read_lead
from leads.domain.timestamps import in_utc, read_time
from tests.support.builders import DIGESTER

RECORD: dict[str, Any] = {"id": "r-1", "name": "An", "phone_number": "0905111222", "source": ["-1"]}
FLAT = RECORD
TYPED = {"type": "records", "event_type": "insert", "workspace_id": 123, "table_id": "lead", **RECORD}
ENVELOPED = {"event": "record", "action": "created", "data": {"table_id": "lead", **RECORD}}


def body_of(value: Any) -> Body:
    return read_body(json.dumps(value).encode())


def parse(value: Any) -> JsonObject:
    parsed = read_json(json.dumps(value).encode())
    assert isinstance(parsed, dict)
    return parsed


def lead(**fields: Any) -> Lead:
    return read_lead(parse({"id": "r-1"} | fields))


@pytest.mark.parametrize(("body", "table"), [(FLAT, None), (TYPED, "lead"), (ENVELOPED, "lead")])
def test_the_three_shapes_hold_the_same_record(body: dict[str, Any], table: str | None) -> None:
    found = body_of(body)
    assert (found.record_id, found.source_ids, found.table_name) == ("r-1", ("-1",), table)
    assert found.error_code is None
    assert read_lead(parse(body)).name == "An"


def test_unknown_keys_are_kept() -> None:
    stored = body_of(RECORD | {"utm": {"a": [1, None]}}).payload
    assert stored is not None
    assert json.loads(stored)["utm"] == {"a": [1, None]}


def test_a_record_with_a_data_field_of_its_own_is_flat() -> None:
    assert body_of(RECORD | {"data": {"id": "other"}}).record_id == "r-1"


@pytest.mark.parametrize(("given_id", "expected"), [(7, "7"), (" r ", "r"), (2**70, str(2**70))])
def test_an_id_may_be_text_or_a_number(given_id: object, expected: str) -> None:
    assert body_of({"id": given_id}).record_id == expected
    assert lead(id=given_id).record_id == expected


@pytest.mark.parametrize("bad", [None, "", "  ", [], {}, True, "x" * 201])
def test_without_a_usable_id_the_body_is_stored_as_a_dead_letter(bad: object) -> None:
    found = body_of({"id": bad, "name": "An"})
    assert (found.record_id, found.error_code) == (None, "missing_record_id")
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


def test_equal_bodies_have_equal_identities_and_different_bodies_different_ones() -> None:
    assert body_of(RECORD).payload_hash == body_of(dict(reversed(RECORD.items()))).payload_hash
    assert body_of(RECORD).payload_hash != body_of(RECORD | {"name": "Anh"}).payload_hash


def test_nul_is_removed_and_recorded() -> None:
    found = body_of(RECORD | {"name": "A\0n", "id": "r\0-1"})
    assert found.notes == ("nul_removed",)
    assert found.record_id == "r-1"
    assert "\\u0000" not in (found.payload or "\\u0000")
    assert body_of(RECORD | {"name": "a literal \\u0000"}).notes == ()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (["-1", "24895"], ("-1", "24895")),
        ([-1, 24895, -1], ("-1", "24895")),
        ("-1", ("-1",)),
        (-1, ("-1",)),
        ([{"id": -3, "name": "Instagram"}], ("-3",)),
        ([" -1 ", "", None, True, [], {}], ("-1",)),
        (None, (NO_SOURCE,)),
        ([], (NO_SOURCE,)),
        ({}, (NO_SOURCE,)),
    ],
)
def test_sources_come_as_text_numbers_or_objects(source: object, expected: tuple[str, ...]) -> None:
    assert body_of(RECORD | {"source": source}).source_ids == expected


def test_a_record_without_sources_belongs_to_the_pseudo_source() -> None:
    assert body_of({"id": "r", "source": []}).source_ids == (NO_SOURCE,)


def test_a_record_that_names_no_source_leaves_it_to_the_earlier_events() -> None:
    assert body_of({"id": "r"}).source_ids == ()


def test_sources_are_limited() -> None:
    assert len(body_of(RECORD | {"source": [str(n) for n in range(500)]}).source_ids) == 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-14T02:35:56.000000", datetime(2026, 5, 14, 2, 35, 56)),  # noqa: DTZ001 - naive on purpose
        ("2026-05-14 02:35", datetime(2026, 5, 14, 2, 35)),  # noqa: DTZ001 - naive on purpose
        ("2026-05-14T02:35:56,123456789", datetime(2026, 5, 14, 2, 35, 56, 123456)),  # noqa: DTZ001 - naive
        ("2026-05-14T02:35:56Z", datetime(2026, 5, 14, 2, 35, 56, tzinfo=UTC)),
        (
            " 2026-05-14T02:35:56+07:00 ",
            datetime(2026, 5, 14, 2, 35, 56, tzinfo=timezone(timedelta(hours=7))),
        ),
    ],
)
def test_times_are_aware_only_if_they_have_a_zone(text: str, expected: datetime) -> None:
    found = read_time(text)
    assert found == expected
    assert found is not None
    assert (found.tzinfo is None) == (expected.tzinfo is None)


@pytest.mark.parametrize(
    "value",
    [None, 5, True, [], {}, "", "yesterday", "2026-05-14", "2026-13-01T00:00", "2026-02-30T00:00:00",
     "0001-01-01T00:00:00", "9999-12-31T23:59:59", "20260514T023556", "2026-05-14T02:35:60",
     "2026-05-14T02:35:56+99:00", "2026-05-14T02:35:56+16:00", "2026-05-14T02:35:56-1600",
     "٢٠٢٦-05-14T02:35:56", "2026-05-14T02:35:56" + " " * 46],
)  # fmt: skip
def test_text_that_is_no_time_gives_none(value: object) -> None:
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
    assert body_of(RECORD | times).modified_on == expected
    assert body_of(RECORD | times | {"modified_on": None}).modified_on == expected
    assert body_of(RECORD).modified_on is None


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
    assert found.name == "An"
    assert found.phones == ("0905111222", "905111222")
    assert found.email == "5"
    assert found.address == "12 Hàng Trống"
    assert found.tags == ("a", "b")
    assert found.interested_products == ("Gói A",)


def test_null_and_empty_values_count_as_missing() -> None:
    found = lead(name="", phone_number=None, email=" ", full_address=[], pancake_tags=None)
    assert (found.name, found.phones, found.email, found.address, found.tags) == (None, (), None, None, ())


def test_only_fields_in_the_body_are_in_the_lead() -> None:
    assert set(lead(name="An", phone_number=None).fields()) == {"name", "phones"}
    assert lead().fields() == {}


def test_the_order_of_tags_and_products_does_not_matter() -> None:
    assert lead(pancake_tags=["a", "b"]).fields() == lead(pancake_tags=["b", "a"]).fields()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["id", "data", "source", "modified_on", "created_on", "name", "phone_number", "email", "table_id",
        "full_address", "pancake_tags", "interested_product", "pancake_customer_obj",
        "event", "type", "test"]  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(KEYS), json_values | st.dictionaries(st.sampled_from(KEYS), json_values))
)
def test_any_object_is_a_delivery_and_its_lead_can_be_read(body: dict[str, Any]) -> None:
    found = body_of(body)
    assert len(found.payload_hash) == 32
    assert (found.payload is None) != (found.raw is None)
    if found.record_id is not None and found.payload is not None:
        assert read_lead(parse(json.loads(found.payload))).record_id == found.record_id
    else:
        assert found.error_code


def test_digests_show_that_a_field_changed_but_not_its_text() -> None:
    read = partial(read_lead, digester=DIGESTER)
    one, other = read(RECORD), read(RECORD | {"name": "Bình"})
    assert one.digests().keys() == one.fields().keys()
    assert {key for key, digest in one.digests().items() if other.digests()[key] != digest} == {"name"}
    assert read(RECORD | {"id": "r-2"}).digests()["name"] != one.digests()["name"]
    texts = one.digests()["name"], *one.digests()["sources"]
    assert {len(digest) for digest in texts} == {len("test:") + 16}
