"""Vietnamese phone numbers to E.164 (+84…), with the 2018 renumbering of mobile prefixes.

Sources: the Ministry of Information and Communications' plan of 2018 (11-digit mobile numbers became
10-digit ones on 15 November 2018) and Google's libphonenumber through `phonenumbers`, which calls the
old 11-digit numbers invalid, so that they are mapped first.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat

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

MAX_CANDIDATES = 10
_SEPARATORS = re.compile(
    r"[/,;|\n\r\t]|\s+-\s+|\bhoặc\b|\bor\b|\bvà\b|(?<=\d)\s+(?=(?:\+|00)?84\d|0\d{2})", re.IGNORECASE
)
_DIGITS = re.compile(r"\D")
_OLD_MOBILE = re.compile(r"(?:\+?84|0084|0)?(1[2-9]\d)(\d{7})", re.ASCII)


@dataclass(frozen=True, slots=True)
class PhoneReading:
    """What one record's phone fields came to: usable numbers in their order, the rest with a reason."""

    usable: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...]

    @property
    def primary(self) -> str | None:
        return self.usable[0] if self.usable else None


def read_phones(fields: Iterable[str]) -> PhoneReading:
    """Every number in the fields; one field may hold several ("0912… / 0287…")."""
    usable: dict[str, None] = {}
    rejected: list[tuple[str, str]] = []
    for candidate in _candidates(fields):
        number, reason = normalize(candidate)
        if number:
            usable[number] = None
        else:
            rejected.append((candidate[:40], reason))
    return PhoneReading(tuple(usable), tuple(rejected))


def normalize(text: str, country_code: str | None = None) -> tuple[str | None, str]:
    """One number to E.164, or None and why not: `empty`, `too_short`, `too_long`, `not_a_number`, `invalid`.

    `country_code` is that of a stored account ("84", "+84"); a national number belongs to it.
    """
    digits = _DIGITS.sub("", text)
    if not digits:
        return None, "not_a_number" if text.strip() else "empty"
    if len(digits) < 7:
        return None, "too_short"
    if len(digits) > 17:
        return None, "too_long"
    international = text.lstrip(" (").startswith("+") or digits.startswith("00")
    code = _DIGITS.sub("", country_code or "") or COUNTRY_CODE
    if code != COUNTRY_CODE and not international and not digits.startswith(code):
        return _parse(f"+{code}{digits.lstrip('0')}")
    return _parse(_modern(digits, international=international))


def stored_digits(number: str) -> tuple[str, ...]:
    """How an E.164 number may stand in `account.phone_number`, digits only, old prefixes included."""
    if not number.startswith(f"+{COUNTRY_CODE}"):
        digits = number.removeprefix("+")
        return (digits, f"00{digits}")
    national = number.removeprefix(f"+{COUNTRY_CODE}")
    nationals = [national] + [
        old + national[2:]
        for old, new in RENUMBERED_2018.items()
        if len(national) == 9 and national.startswith(new)
    ]
    return tuple(
        f"{prefix}{form}"
        for form in nationals
        for prefix in ("", "0", COUNTRY_CODE, f"{COUNTRY_CODE}0", "0084")
    )


def national_parts(number: str) -> tuple[str, str]:
    """Country code and national form of an E.164 number, as accounts store them: ("84", "0912345678")."""
    parsed = phonenumbers.parse(number)
    national = phonenumbers.national_significant_number(parsed)
    code = str(parsed.country_code)
    return code, f"0{national}" if code == COUNTRY_CODE else national


def _candidates(fields: Iterable[str]) -> list[str]:
    pieces: list[str] = []
    for field in fields:
        if normalize(field)[0]:
            pieces.append(field)
        else:
            for piece in _SEPARATORS.split(field):
                pieces.extend([piece] if normalize(piece)[0] else piece.split("-"))
    return [piece.strip() for piece in pieces if piece.strip()][:MAX_CANDIDATES]


def _modern(digits: str, *, international: bool) -> str:
    """The number as `phonenumbers` wants it, after the renumbering."""
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
    try:
        number = phonenumbers.parse(text, REGION)
    except NumberParseException:
        return None, "not_a_number"
    if not phonenumbers.is_valid_number(number):
        return None, "invalid"
    return phonenumbers.format_number(number, PhoneNumberFormat.E164), ""
