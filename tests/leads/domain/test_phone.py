"""Phone numbers as people type them, to E.164."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.phone import (
    MAX_CANDIDATES_PER_RECORD,
    national_parts,
    normalize,
    read_phones,
    stored_digits,
)

# The renumbering of 2018, copied from the ministry's announcement: old prefix, new prefix.
PLAN_OF_2018 = {
    "0120": "070", "0121": "079", "0122": "077", "0126": "076", "0128": "078",
    "0123": "083", "0124": "084", "0125": "085", "0127": "081", "0129": "082",
    "0162": "032", "0163": "033", "0164": "034", "0165": "035", "0166": "036",
    "0167": "037", "0168": "038", "0169": "039",
    "0186": "056", "0188": "058",
    "0199": "059",
}  # fmt: skip
FORMS = (
    "0{0}{1}", "{0}{1}", "84{0}{1}", "+84{0}{1}", "0084{0}{1}", "840{0}{1}", "+840{0}{1}", "00840{0}{1}",
    "+84 (0){0} {1}", "0{0}.{1}", "(0{0}) {1}", "0{0}-{1}", " +84 {0} {1} ",
)  # fmt: skip

national_mobile = st.from_regex(r"(9[0-4678]|3[2-9]|7[06-9]|8[1-68]|56|58)[0-9]{7}", fullmatch=True)


@pytest.mark.parametrize(("old", "new"), PLAN_OF_2018.items())
def test_every_old_prefix_of_2018_is_converted_in_every_form(old: str, new: str) -> None:
    for form in FORMS:
        text = form.format(old[1:], "1234567")
        assert normalize(text) == (f"+84{new[1:]}1234567", ""), text


@pytest.mark.parametrize("new", [*PLAN_OF_2018.values(), "090", "091", "098", "086", "088", "096"])
def test_current_numbers_stay_unchanged_in_every_form(new: str) -> None:
    for form in FORMS:
        text = form.format(new[1:], "1234567")
        assert normalize(text) == (f"+84{new[1:]}1234567", ""), text


@given(national_mobile)
def test_every_notation_of_a_mobile_number_gives_the_same_number(national: str) -> None:
    forms = [f"0{national}", national, f"84{national}", f"+84{national}", f"0084{national}"]
    assert {normalize(form)[0] for form in forms} == {f"+84{national}"}


@given(st.text(max_size=60))
def test_any_text_gives_a_number_or_a_reason(text: str) -> None:
    number, reason = normalize(text)
    assert (number is None) == bool(reason)
    if number:
        assert number[0] == "+"
        assert number[1:].isdecimal()
        assert number.isascii()
        assert normalize(number) == (number, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("không có", "not_a_number"),
        ("0905", "too_short"),
        ("0905111222333444555", "too_long"),
        ("0000000000", "not_a_number"),
        ("0205111222", "invalid"),
    ],
)
def test_text_that_is_no_number_is_refused_with_a_reason(text: str, reason: str) -> None:
    assert normalize(text) == (None, reason)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("02838123456", "+842838123456"),
        ("(028) 3812 3456", "+842838123456"),
        ("+84 24 3825 1234", "+842438251234"),
        ("0236 3822 123", "+842363822123"),
    ],
)
def test_landline_numbers_are_accepted(text: str, number: str) -> None:
    assert normalize(text) == (number, "")


def test_digits_of_other_scripts_and_widths_are_accepted() -> None:
    assert normalize("０９０５１１１２２２") == ("+84905111222", "")
    assert normalize("＋８４ ９０５ １１１ ２２２") == ("+84905111222", "")


def test_a_foreign_number_keeps_its_country() -> None:
    assert normalize("+1 650 253 0000") == ("+16502530000", "")
    assert normalize("0065 9123 4567") == ("+6591234567", "")


@pytest.mark.parametrize(
    ("number", "code", "expected"),
    [
        ("912345678", "84", "+84912345678"),
        ("0987 654 321", "84", "+84987654321"),
        ("01689001002", "+84", "+84389001002"),
        ("912345678", None, "+84912345678"),
        ("91234567", "65", "+6591234567"),
        ("6591234567", "65", "+6591234567"),
        ("65123456", "65", "+6565123456"),
        ("6502530000", "1", "+16502530000"),
    ],
)
def test_a_stored_number_belongs_to_its_country_code(number: str, code: str | None, expected: str) -> None:
    assert normalize(number, code)[0] == expected


@pytest.mark.parametrize(
    "field",
    [
        "0905111222/0912345678",
        "0905 111 222 / 0912 345 678",
        "0905111222, 0912345678",
        "0905111222;0912345678",
        "0905111222 - 0912345678",
        "0905111222-0912345678",
        "0905.111.222 0912.345.678",
        "0905-111-222 0912-345-678",
        "0905111222.0912345678",
        "0905 111 222 0912 345 678",
        "0905111222 hoặc 0912345678",
        "0905111222 (Zalo) 0912345678 (gọi sau 5h)",
        "+84905111222 +84912345678",
        "84905111222 84912345678",
        "0905111222\n0912345678",
    ],
)
def test_two_numbers_in_one_field_are_found_in_order(field: str) -> None:
    assert read_phones([field]).usable == ("+84905111222", "+84912345678")


def test_a_zero_inside_a_number_does_not_split_it() -> None:
    assert read_phones(["0905 011 222 / 0912 034 567"]).usable == ("+84905011222", "+84912034567")
    assert read_phones(["0905 011 222 0912 034 567"]).usable == ("+84905011222", "+84912034567")


def test_text_beside_a_number_is_ignored() -> None:
    reading = read_phones(["0905111222 gọi sau 5h"])
    assert reading.usable == ("+84905111222",)
    assert reading.rejected == (("gọi sau 5h", "too_short"),)


@given(
    st.lists(national_mobile, min_size=1, max_size=4, unique=True),
    st.sampled_from([" / ", ", ", ";", " - ", "\n", " | ", " "]),
    st.sampled_from(["0{}{}{}", "0{} {} {}", "0{}.{}.{}", "+84 {} {} {}", "0{}-{}-{}"]),
)
def test_numbers_in_any_notation_are_all_found(nationals: list[str], between: str, form: str) -> None:
    field = between.join(form.format(n[:2], n[2:5], n[5:]) for n in nationals)
    assert read_phones([field]).usable == tuple(f"+84{n}" for n in nationals)


@given(st.lists(st.text(alphabet="0123456789 +-./,;()ab", max_size=200), max_size=20))
def test_the_number_of_candidates_is_bounded_for_any_input(fields: list[str]) -> None:
    reading = read_phones(fields)
    assert len(reading.usable) + len(reading.rejected) <= MAX_CANDIDATES_PER_RECORD
    assert len(set(reading.usable)) == len(reading.usable)
    assert reading.primary == (reading.usable[0] if reading.usable else None)


def test_the_same_number_twice_is_one_number() -> None:
    assert read_phones(["0905111222", "+84 905 111 222"]).usable == ("+84905111222",)


@given(national_mobile, st.sampled_from(["{}", "0{}", "84{}", "840{}", "+84 {}", "0084{}", "(0){}"]))
def test_a_stored_phone_is_found_by_its_digits_in_any_notation(national: str, form: str) -> None:
    digits = "".join(filter(str.isdigit, form.format(national)))
    assert digits in stored_digits(f"+84{national}")


@pytest.mark.parametrize(("old", "new"), PLAN_OF_2018.items())
def test_a_phone_stored_before_2018_is_found_by_its_new_number(old: str, new: str) -> None:
    found = stored_digits(f"+84{new[1:]}1234567")
    assert {f"{old}1234567", f"{old[1:]}1234567", f"84{old[1:]}1234567"} <= set(found)


def test_a_foreign_phone_is_found_with_and_without_its_country_code() -> None:
    assert {"6591234567", "006591234567", "91234567"} <= set(stored_digits("+6591234567"))


def test_every_stored_form_normalises_to_its_number() -> None:
    for number in ("+84905111222", "+84389001002", "+842838123456"):
        for digits in stored_digits(number):
            assert normalize(digits, "84")[0] == number, digits


def test_the_national_parts_stored_in_accounts() -> None:
    assert national_parts("+84905111222") == ("84", "0905111222")
    assert national_parts("+842838221234") == ("84", "02838221234")
    assert national_parts("+6591234567") == ("65", "91234567")
