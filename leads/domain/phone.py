"""Vietnamese phone numbers to E.164 (+84…), with the 2018 renumbering of mobile prefixes.

Sources: the Ministry of Information and Communications' plan of 2018 (11-digit mobile numbers got 10 digits
on 15 November 2018), and Google's libphonenumber (`phonenumbers`), which calls the old ones invalid.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat

from leads.domain.errors import InvalidPhone
from leads.domain.phone_text import (
    MAX_CLEAN_CHARACTERS,
    MAX_DIGITS,
    MAX_PHONE_CHARACTERS,
    MIN_DIGITS,
    TooManyReadings,
    are_one_number,
    clean,
    clean_field,
    find_numbers,
    groups_of,
)

REGION = "VN"
COUNTRY_CODE = "84"
_OWN_CODES = (None, COUNTRY_CODE, f"+{COUNTRY_CODE}")
RENUMBERED_2018 = {
    "120": "70", "121": "79", "122": "77", "126": "76", "128": "78",  # MobiFone
    "123": "83", "124": "84", "125": "85", "127": "81", "129": "82",  # VinaPhone
    "162": "32", "163": "33", "164": "34", "165": "35", "166": "36",  # Viettel
    "167": "37", "168": "38", "169": "39",
    "186": "56", "188": "58",  # Vietnamobile
    "199": "59",  # Gmobile
}  # fmt: skip
"""Old mobile prefix → new one, both without the leading 0."""

MAX_CANDIDATES_PER_RECORD = 10
MAX_REJECTED_CHARACTERS = 40
MAX_FOREIGN_PARSES_PER_FIELD = 10
"""Bounds the time that a field costs: a call of the library's parser takes 30 to 50 microseconds."""

# Splits rejected text for the evidence; the numbers are found by `phone_text`.
_LISTED = re.compile(r"[/,;|\n\r\t]")
_NO_DIGIT = re.compile(r"[^0-9]")
# An 11-digit mobile number of before 2018 with any of its prefixes: 0, 84, 840, 0084, 00840 or none.
_OLD_MOBILE = re.compile(r"(?:(?:00)?840?|0)?(1[2-9][0-9])([0-9]{7})")


def _shortcuts() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Build patterns of mobile and of all Vietnamese numbers from the library's own: its parser is slow."""
    metadata = PhoneMetadata.metadata_for_region(REGION)
    assert metadata is not None
    assert metadata.general_desc is not None
    kinds = [metadata.mobile, metadata.fixed_line, metadata.toll_free, metadata.premium_rate]
    kinds += [metadata.shared_cost, metadata.voip, metadata.personal_number, metadata.pager]
    kinds += [metadata.uan, metadata.voicemail]
    patterns = [kind.national_number_pattern for kind in kinds if kind and kind.national_number_pattern]
    mobile = re.compile(rf"(?:\+84|0)(?=[35789]\d{{8}}\Z)({patterns[0]})", re.ASCII)
    general = metadata.general_desc.national_number_pattern
    return mobile, re.compile(rf"(?:\+840?|0)(?=(?:{general})\Z)({'|'.join(patterns)})", re.ASCII)


_MOBILE, _VIETNAMESE = _shortcuts()


@dataclass(frozen=True, slots=True)
class PhoneReading:
    """The phones of one record: usable ones in E.164, in order, and (text, reason) of rejected ones.

    `are_applied`: the usable ones are those of the version applied before. `typed`: by the key of the body.
    """

    usable: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...]
    are_applied: bool = False
    typed: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def primary(self) -> str | None:
        return self.usable[0] if self.usable else None

    def require_primary(self) -> str:
        """Return the phone that identifies the customer. Raises InvalidPhone if there is none."""
        if self.primary is None:
            reasons = ", ".join(sorted({reason for _, reason in self.rejected})) or "no phone given"
            raise InvalidPhone(f"The record has no usable phone number ({reasons}).")
        return self.primary


def read_phones(fields: Iterable[str]) -> PhoneReading:
    """Read every number in the fields; one field may hold several ("0912… / 0287…")."""
    usable: dict[str, None] = {}
    rejected: list[tuple[str, str]] = []
    for count, (number, text, reason) in enumerate(_candidates(fields), start=1):
        if number:
            usable[number] = None
        else:
            rejected.append((text[:MAX_REJECTED_CHARACTERS], reason))
        if count == MAX_CANDIDATES_PER_RECORD:
            break
    return PhoneReading(tuple(usable), tuple(rejected))


def read_mobile(text: str) -> str | None:
    """Return the E.164 number of a text that is a Vietnamese mobile number without signs between its digits.

    None for any other text. Takes 1 µs, where `read_phones` takes 10.
    """
    plain = _MOBILE.fullmatch(text)
    return f"+{COUNTRY_CODE}{plain[1]}" if plain else None


def normalize(text: str, country_code: str | None = None) -> tuple[str | None, str]:
    """Normalize one number to E.164, or return None and why not.

    Reasons: `empty`, `too_short`, `too_long`, `not_a_number`, `invalid`. `country_code` is that of a stored
    account ("84", "+84"), to which a national number belongs.
    """
    if country_code in _OWN_CODES and (mobile := read_mobile(text)):
        return mobile, ""
    if len(text) > MAX_PHONE_CHARACTERS or len(text := clean(text)) > MAX_CLEAN_CHARACTERS:
        return None, "too_long"
    parts = groups_of(text)
    digits = "".join(group.digits for part in parts for group in part)
    if reason := _unreadable(text, digits):
        return None, reason
    if len(parts) > 1 or not are_one_number(parts[0]):
        return None, "not_a_number"
    is_international = parts[0][0].is_international
    international = is_international or digits.startswith("00")
    code = _NO_DIGIT.sub("", (country_code or "")[:MAX_PHONE_CHARACTERS]) or COUNTRY_CODE
    if code != COUNTRY_CODE and not international:
        national = _parse(f"+{code}{digits.lstrip('0')}")
        return national if national[0] else _parse(f"+{digits}")
    return _parse(_modern(digits, international=is_international))


def stored_digits(number: str) -> tuple[str, ...]:
    """Return the digits that `account.phone_number` may hold for an E.164 number, old prefixes included."""
    if not number.startswith(f"+{COUNTRY_CODE}"):
        digits, national = number.removeprefix("+"), national_parts(number)[1]
        return (digits, f"00{digits}", national, f"0{national}")
    national = number.removeprefix(f"+{COUNTRY_CODE}")
    nationals = [national] + [
        old + national[2:]
        for old, new in RENUMBERED_2018.items()
        if len(national) == 9 and national.startswith(new)
    ]
    return tuple(
        f"{prefix}{form}"
        for form in nationals
        for prefix in ("", "0", COUNTRY_CODE, f"{COUNTRY_CODE}0", f"00{COUNTRY_CODE}", f"00{COUNTRY_CODE}0")
    )


def national_parts(number: str) -> tuple[str, str]:
    """Split an E.164 number as accounts store it: country code and national form ("84", "0912345678")."""
    if number.startswith(f"+{COUNTRY_CODE}"):  # parsing costs as much as a statement
        return COUNTRY_CODE, number.replace(f"+{COUNTRY_CODE}", "0", 1)
    parsed = phonenumbers.parse(number)
    return str(parsed.country_code), phonenumbers.national_significant_number(parsed)


def _candidates(fields: Iterable[str]) -> Iterator[tuple[str | None, str, str]]:
    """Yield a number, or None with a text that is no number and why not."""
    for typed in fields:
        if mobile := read_mobile(typed):
            yield mobile, typed, ""
            continue
        (text, cut), end = clean_field(typed), 0
        with suppress(TooManyReadings):
            for found in find_numbers(text, _reader()):
                yield from _rejected(text[end : found.start])
                yield found.number, text[found.start : found.end], ""
                end = found.end
        yield from _rejected(text[end:], is_all=end == 0)
        if cut:
            yield None, cut, "too_long"


def _rejected(text: str, *, is_all: bool = False) -> Iterator[tuple[None, str, str]]:
    """Yield the parts of a text without a number; words count only if the field holds nothing else."""
    for part in _LISTED.split(text):
        digits, words = _NO_DIGIT.sub("", part), part.strip(" .-()")
        if digits or (is_all and words):
            yield None, words, _unreadable(part, digits) or "invalid"


def _unreadable(text: str, digits: str) -> str:
    """Return why the digits of a text cannot be a number of any country, or an empty text."""
    if not digits:
        return "not_a_number" if text.strip() else "empty"
    if len(digits) < MIN_DIGITS:
        return "too_short"
    return "too_long" if len(digits) > MAX_DIGITS else ""


def _reader() -> Callable[[str, bool], str | None]:
    """Return a function that reads the digits of one number, for the numbers of one field."""
    parses_left = MAX_FOREIGN_PARSES_PER_FIELD

    def read(digits: str, is_international: bool) -> str | None:
        nonlocal parses_left
        text = _modern(digits, international=is_international)
        if vietnamese := _VIETNAMESE.fullmatch(text):
            return f"+{COUNTRY_CODE}{vietnamese[1]}"
        if text.startswith(("0", f"+{COUNTRY_CODE}")):
            return None
        if not parses_left:
            raise TooManyReadings
        parses_left -= 1
        return parse_fully(text)[0]

    return read


def _modern(digits: str, *, international: bool) -> str:
    """Return the number as `phonenumbers` expects it, old mobile prefixes replaced."""
    is_foreign = international and not digits.startswith(("0", COUNTRY_CODE))  # "+1 201 234 567"
    if not is_foreign and (old := _OLD_MOBILE.fullmatch(digits)) and (new := RENUMBERED_2018.get(old[1])):
        return f"+{COUNTRY_CODE}{new}{old[2]}"
    if digits.startswith("00"):
        return f"+{digits[2:]}"
    if international and not digits.startswith("0"):  # no country code begins with 0: "0905… + 0912…"
        return f"+{digits}"
    if digits.startswith(COUNTRY_CODE) and len(digits) >= 11:
        return f"+{COUNTRY_CODE}{digits[2:].lstrip('0')}"
    return digits if digits.startswith("0") else f"0{digits}"


def _parse(text: str) -> tuple[str | None, str]:
    if plain := _VIETNAMESE.fullmatch(text):
        return f"+{COUNTRY_CODE}{plain[1]}", ""
    return parse_fully(text)


def parse_fully(text: str) -> tuple[str | None, str]:
    """Parse one number with the library's parser, region Vietnam: E.164, or None and why not."""
    try:
        number = phonenumbers.parse(text, REGION)
    except NumberParseException:
        return None, "not_a_number"
    if not phonenumbers.is_valid_number(number):
        return None, "invalid"
    return phonenumbers.format_number(number, PhoneNumberFormat.E164), ""
