"""Vietnamese phone numbers to E.164 (+84…), with the 2018 renumbering of mobile prefixes.

Sources: the Ministry of Information and Communications' plan of 2018 (11-digit mobile numbers got 10 digits
on 15 November 2018), and Google's libphonenumber (`phonenumbers`), which calls the old ones invalid.

A field is cut at separators first, then each piece is read as groups of digits, so that digits of two numbers
are never joined.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat

from leads.domain.errors import InvalidPhone

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
MAX_PHONE_CHARACTERS = 200
"""Of one field, which may hold several numbers."""
MAX_CLEAN_CHARACTERS = 2 * MAX_PHONE_CHARACTERS  # NFKC makes up to 18 characters of one
MAX_GROUPS_PER_FIELD = 40  # this and the next bound the time that a field costs
MAX_FOREIGN_PARSES_PER_FIELD = 10  # a call of the library's parser takes 30 to 50 microseconds
MAX_GROUPS_PER_NUMBER = 6
MIN_DIGITS = 7  # no subscriber number with its area code is shorter
MAX_DIGITS = 17  # 15 digits of E.164 after the prefix 00
MAX_NATIONAL_DIGITS = 10  # without the leading 0
MAX_DIGITS_BEFORE_PARENTHESIS = 5  # "0084 (0)…": a later "(" begins an extension: "0283 822 3344 (102)"

_Read = Callable[[str, bool], str | None]
"""Return the E.164 number that digits make, or None; the flag says that a + stands before them."""

_SIGNS = "0123456789+ .()-"  # everything else separates two numbers
_PIECE = re.compile(f"[{_SIGNS}]+")
_DIGITS = re.compile(r"[0-9]+")
_NO_DIGIT = re.compile(r"[^0-9]")
_SPACED_HYPHEN = re.compile(r" -+ ")
_HYPHENS = {0x2010: "-", 0x2011: "-"}  # hyphen and non-breaking hyphen
_LISTED = re.compile(r"[/,;|\n\r\t]")  # splits rejected text for the evidence
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

    `are_from_last_version`: the usable ones are of the version applied last. `typed`: by the key of the body.
    """

    usable: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...]
    are_from_last_version: bool = False
    typed: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def primary(self) -> str | None:
        return self.usable[0] if self.usable else None

    def require_primary(self) -> str:
        """Return the phone that identifies the customer. Raises InvalidPhone if there is none."""
        if self.primary is None:
            reasons = ", ".join(sorted({reason for _, reason in self.rejected})) or "no phone given"
            text = f"The record has no usable phone number ({reasons})."
            raise InvalidPhone(text, is_missing=not self.rejected)
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


def _candidates(fields: Iterable[str]) -> Iterator[tuple[str | None, str, str]]:
    """Yield a number, or None with a text that is no number and why not."""
    for typed in fields:
        if mobile := read_mobile(typed):
            yield mobile, typed, ""
            continue
        (text, cut), end = _clean_field(typed), 0
        with suppress(_TooManyReadings):
            for found in _find_numbers(text, _reader()):
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


def read_mobile(text: str) -> str | None:
    """Return the E.164 number of a text that is a Vietnamese mobile number without signs between its digits.

    None for any other text. Takes 1 µs, where `read_phones` takes 10.
    """
    plain = _MOBILE.fullmatch(text)
    return f"+{COUNTRY_CODE}{plain[1]}" if plain else None


def _clean_field(field: str) -> tuple[str, str]:
    """Clean a field, and split off the end of one that was cut: its last number may be incomplete."""
    text = _clean(field[:MAX_PHONE_CHARACTERS])
    if len(field) < MAX_PHONE_CHARACTERS and len(text) <= MAX_CLEAN_CHARACTERS:
        return text, ""
    text = text[:MAX_CLEAN_CHARACTERS]
    end = len(text.rstrip(_SIGNS))
    return text[:end], text[end:]


def _clean(text: str) -> str:
    """Return the text in NFKC with plain hyphens."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_HYPHENS)


class _Group(NamedTuple):
    """Neighbouring digits and the text before them; `start` is the position of the +, else of the digits."""

    gap: str
    digits: str
    start: int
    end: int

    @property
    def is_international(self) -> bool:
        return "+" in self.gap


class _Found(NamedTuple):
    """A number and its place in the text."""

    start: int
    end: int
    number: str


class _TooManyReadings(Exception):
    """`read` refuses to read more numbers of this field."""


def _find_numbers(text: str, read: _Read) -> Iterator[_Found]:
    """Yield the numbers of a cleaned text in order. Passes on _TooManyReadings that `read` raises."""
    parts = groups_of(text)
    if sum(map(len, parts)) > MAX_GROUPS_PER_FIELD:
        return
    for part in parts:
        if whole := _whole(part, read):
            yield whole
            continue
        for piece in _split_at_hyphens(part):
            whole = _whole(piece, read) if len(piece) < len(part) else None
            yield from [whole] if whole else _several(piece, read)


def groups_of(text: str) -> list[list[_Group]]:
    """Return the groups of digits between two separators; a + separates too, and belongs to what follows."""
    parts: list[list[_Group]] = []
    for piece in _PIECE.finditer(text):
        part: list[_Group] = []
        gap_start = piece.start()
        for match in _DIGITS.finditer(text, *piece.span()):
            gap = text[gap_start : match.start()]
            plus = gap.rfind("+")
            start = gap_start + plus if plus >= 0 else match.start()
            if plus >= 0 and part:
                parts.append(part)
                part = []
            part.append(_Group(gap, match[0], start, match.end()))
            gap_start = match.end()
        if part:
            parts.append(part)
    return parts


def _whole(groups: Sequence[_Group], read: _Read) -> _Found | None:
    """Read all groups as one number."""
    digits = "".join(group.digits for group in groups)
    if not MIN_DIGITS <= len(digits) <= MAX_DIGITS or not are_one_number(groups):
        return None
    number = read(digits, groups[0].is_international)
    return _Found(groups[0].start, groups[-1].end, number) if number else None


def are_one_number(groups: Sequence[_Group]) -> bool:
    """Whether no group begins an extension."""
    before = 0
    for group in groups:
        if _begins_extension(group, before):
            return False
        before += len(group.digits)
    return True


def _split_at_hyphens(groups: list[_Group]) -> list[list[_Group]]:
    pieces = [[groups[0]]]
    for group in groups[1:]:
        if _SPACED_HYPHEN.search(group.gap):
            pieces.append([])
        pieces[-1].append(group)
    return pieces


class _Run(NamedTuple):
    """Groups `first` to `last` (exclusive) as one number; `is_anchored` if a +, a 0 or 84 begins it."""

    first: int
    last: int
    number: str
    is_anchored: bool


class _Choice(NamedTuple):
    """How many digits the best ways to read the groups cover, and the runs that all of these contain."""

    covered: int
    runs: frozenset[_Run]


def _several(groups: Sequence[_Group], read: _Read) -> list[_Found]:
    """Read the groups as several numbers, and return those that stand in every best reading.

    Numbers with a certain start may leave digits over (extensions). A national number without its 0 counts
    only if no digit is left over.
    """
    runs = [list(_runs_from(groups, first, read)) for first in range(len(groups))]
    anchored = [[run for run in starting if run.is_anchored] for starting in runs]
    all_digits = sum(len(group.digits) for group in groups)
    choice = _cover(groups, anchored, may_leave_digits=True) or _Choice(0, frozenset())
    if choice.covered < all_digits:
        choice = _cover(groups, runs, may_leave_digits=False) or _certain(groups, choice)
    return [
        _Found(groups[run.first].start, groups[run.last - 1].end, run.number) for run in sorted(choice.runs)
    ]


def _runs_from(groups: Sequence[_Group], first: int, read: _Read) -> Iterator[_Run]:
    """Yield the numbers that begin at a group."""
    digits, is_international = "", groups[first].is_international
    for last in range(first, min(first + MAX_GROUPS_PER_NUMBER, len(groups))):
        if _begins_extension(groups[last], len(digits)):
            return
        digits += groups[last].digits
        is_anchored = is_international or _has_certain_start(digits)
        if len(digits) > (MAX_DIGITS if is_anchored else MAX_NATIONAL_DIGITS):
            return
        if len(digits) >= MIN_DIGITS and (number := read(digits, is_international)):
            yield _Run(first, last + 1, number, is_anchored)


def _has_certain_start(digits: str) -> bool:
    """A subscriber's number has 9 or 10 digits after its 0 or 84; shorter ones are service numbers."""
    return len(digits) >= (10 if digits[0] == "0" else 11) and digits.startswith(("0", "84"))


def _begins_extension(group: _Group, digits_before: int) -> bool:
    return "(" in group.gap and ")" not in group.gap and digits_before > MAX_DIGITS_BEFORE_PARENTHESIS


def _cover(groups: Sequence[_Group], runs: list[list[_Run]], *, may_leave_digits: bool) -> _Choice | None:
    """Cover as many digits as possible, or all; None if all cannot be covered."""
    best: list[_Choice | None] = [None] * len(groups) + [_Choice(0, frozenset())]
    for first in reversed(range(len(groups))):
        choices = [_taking(run, groups, rest) for run in runs[first] if (rest := best[run.last])]
        if may_leave_digits and (rest := best[first + 1]):
            choices.append(rest)
        best[first] = _best(choices) if choices else None
    return best[0]


def _taking(run: _Run, groups: Sequence[_Group], rest: _Choice) -> _Choice:
    covered = sum(len(group.digits) for group in groups[run.first : run.last])
    return _Choice(rest.covered + covered, rest.runs | {run})


def _best(choices: Sequence[_Choice]) -> _Choice:
    covered = max(choice.covered for choice in choices)
    best = [choice.runs for choice in choices if choice.covered == covered]
    return _Choice(covered, best[0].intersection(*best[1:]))


def _certain(groups: Sequence[_Group], choice: _Choice) -> _Choice:
    """Drop numbers of several groups that follow the unread start of another number.

    "0905 0377 2223 33" has digits too many and holds no number.
    """
    runs, end = set[_Run](), 0
    for run in sorted(choice.runs):
        is_after_start = any(group.digits.startswith("0") for group in groups[end : run.first])
        if run.last == run.first + 1 or not is_after_start:
            runs.add(run)
        end = run.last
    return choice._replace(runs=frozenset(runs))


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
            raise _TooManyReadings
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


def normalize(text: str, country_code: str | None = None) -> tuple[str | None, str]:
    """Normalize one number to E.164, or return None and why not.

    Reasons: `empty`, `too_short`, `too_long`, `not_a_number`, `invalid`. `country_code` is that of a stored
    account ("84", "+84"), to which a national number belongs.
    """
    if country_code in _OWN_CODES and (mobile := read_mobile(text)):
        return mobile, ""
    if len(text) > MAX_PHONE_CHARACTERS or len(text := _clean(text)) > MAX_CLEAN_CHARACTERS:
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


def local_form(number: str) -> str:
    """Return an E.164 number as people in Vietnam write it ("024 3825 5596"); a foreign one stays."""
    code, national = national_parts(number)
    if code == COUNTRY_CODE and len(national) != 10:  # no mobile phone
        return phonenumbers.format_number(phonenumbers.parse(number), PhoneNumberFormat.NATIONAL)
    return f"{national[:4]} {national[4:7]} {national[7:]}" if code == COUNTRY_CODE else number
