"""Vietnamese phone numbers to E.164 (+84…), with the 2018 renumbering of mobile prefixes.

Sources: the Ministry of Information and Communications' plan of 2018 (11-digit mobile numbers became
10-digit ones on 15 November 2018) and Google's libphonenumber through `phonenumbers`, which calls the
old 11-digit numbers invalid, so that they are mapped first.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat

from leads.domain.errors import InvalidPhone

REGION = "VN"
COUNTRY_CODE = "84"
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
MIN_DIGITS = 7  # no subscriber number with its area code is shorter
MAX_DIGITS = 17  # 15 digits of E.164 after the prefix 00
MAX_GROUPS_PER_NUMBER = 6
"""How many groups of digits, at most, one number may be written in."""

# What people type between two numbers of one field; "hoặc" and "và" are "or" and "and".
_BETWEEN_NUMBERS = re.compile(r"[/,;|\n\r\t]|\s+-\s+|\bhoặc\b|\bor\b|\bvà\b", re.IGNORECASE)
# What people type between the groups of digits of one number.
_BETWEEN_GROUPS = re.compile(r"[\s.\-()]+")
_NO_DIGIT = re.compile(r"[^0-9]")
# An 11-digit mobile number of before 2018 with any of its prefixes: 0, 84, 840, 0084, 00840 or none.
_OLD_MOBILE = re.compile(r"(?:(?:00)?840?|0)?(1[2-9][0-9])([0-9]{7})")


def _plain_mobile() -> re.Pattern[str]:
    """Build a shortcut for mobile numbers from the library's own pattern: its parser is slow."""
    metadata = PhoneMetadata.metadata_for_region(REGION)
    assert metadata is not None
    assert metadata.mobile is not None
    pattern = metadata.mobile.national_number_pattern
    return re.compile(rf"(?:\+84|0)(?=[35789]\d{{8}}\Z)({pattern})", re.ASCII)


_MOBILE = _plain_mobile()


@dataclass(frozen=True, slots=True)
class PhoneReading:
    """The phones of one record: usable ones in E.164, in order, and (text, reason) of rejected ones."""

    usable: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...]

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
    for candidate in _candidates(fields):
        number, reason = normalize(candidate)
        if number:
            usable[number] = None
        else:
            rejected.append((candidate[:MAX_REJECTED_CHARACTERS], reason))
    return PhoneReading(tuple(usable), tuple(rejected))


def normalize(text: str, country_code: str | None = None) -> tuple[str | None, str]:
    """Normalize one number to E.164, or return None and why not.

    Reasons: `empty`, `too_short`, `too_long`, `not_a_number`, `invalid`. `country_code` is that of a stored
    account ("84", "+84"), to which a national number belongs.
    """
    text = unicodedata.normalize("NFKC", text)
    digits = _NO_DIGIT.sub("", text)
    if not digits:
        return None, "not_a_number" if text.strip() else "empty"
    if len(digits) < MIN_DIGITS:
        return None, "too_short"
    if len(digits) > MAX_DIGITS:
        return None, "too_long"
    international = text.lstrip(" (").startswith("+") or digits.startswith("00")
    code = _NO_DIGIT.sub("", country_code or "") or COUNTRY_CODE
    if code != COUNTRY_CODE and not international:
        national = _parse(f"+{code}{digits.lstrip('0')}")
        return national if national[0] else _parse(f"+{digits}")
    return _parse(_modern(digits, international=international))


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
    parsed = phonenumbers.parse(number)
    national = phonenumbers.national_significant_number(parsed)
    code = str(parsed.country_code)
    return code, f"0{national}" if code == COUNTRY_CODE else national


def _candidates(fields: Iterable[str]) -> list[str]:
    """Return the texts that may be a number: each field is one, or is split at separators."""
    found: list[str] = []
    for field in fields:
        for part in [field] if normalize(field)[0] else _BETWEEN_NUMBERS.split(field):
            for candidate in [part] if normalize(part)[0] else _numbers_among(_BETWEEN_GROUPS.split(part)):
                if candidate.strip():
                    found.append(candidate.strip())
                if len(found) == MAX_CANDIDATES_PER_RECORD:
                    return found
    return found


def _numbers_among(groups: list[str]) -> Iterator[str]:
    """Join neighbouring groups of digits that make a number, and return what is left between such numbers."""
    start, rest = 0, list[str]()
    while start < len(groups):
        ends = range(start + 1, min(start + MAX_GROUPS_PER_NUMBER, len(groups)) + 1)
        end = next((end for end in ends if normalize(" ".join(groups[start:end]))[0]), None)
        if end is None:
            rest.append(groups[start])
            start += 1
            continue
        yield " ".join(rest)
        yield " ".join(groups[start:end])
        start, rest = end, []
    yield " ".join(rest)


def _modern(digits: str, *, international: bool) -> str:
    """Return the number as `phonenumbers` expects it, old mobile prefixes replaced."""
    if (old := _OLD_MOBILE.fullmatch(digits)) and (new := RENUMBERED_2018.get(old[1])):
        return f"+{COUNTRY_CODE}{new}{old[2]}"
    if digits.startswith("00"):
        return f"+{digits[2:]}"
    if international:
        return f"+{digits}"
    if digits.startswith(COUNTRY_CODE) and len(digits) >= 11:
        return f"+{COUNTRY_CODE}{digits[2:].lstrip('0')}"
    return digits if digits.startswith("0") else f"0{digits}"


def _parse(text: str) -> tuple[str | None, str]:
    if plain := _MOBILE.fullmatch(text):
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
