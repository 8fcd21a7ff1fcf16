"""Find where the numbers of a phone field begin and end, without joining digits of two numbers.

Text is cut at separators first, then each piece is read as a sequence of groups of digits. What the digits
mean is decided by the `read` function that the caller passes.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

MAX_PHONE_CHARACTERS = 200
"""Of one field, which may hold several numbers."""

MAX_CLEAN_CHARACTERS = 2 * MAX_PHONE_CHARACTERS
"""NFKC makes up to 18 characters of one."""

MIN_DIGITS = 7  # no subscriber number with its area code is shorter
MAX_DIGITS = 17  # 15 digits of E.164 after the prefix 00
MAX_GROUPS_PER_NUMBER = 6
MAX_GROUPS_PER_FIELD = 40
"""Bounds the time that a field costs."""

MAX_NATIONAL_DIGITS = 10  # without the leading 0
MAX_DIGITS_BEFORE_PARENTHESIS = 5  # "0084 (0)…": a later "(" begins an extension: "0283 822 3344 (102)"

Read = Callable[[str, bool], str | None]
"""Return the E.164 number that digits make, or None; the flag says that a + stands before them."""

# Everything else separates two numbers.
_SIGNS = "0123456789+ .()-"
_PIECE = re.compile(f"[{_SIGNS}]+")
_DIGITS = re.compile(r"[0-9]+")
_SPACED_HYPHEN = re.compile(r" -+ ")
_HYPHENS = {0x2010: "-", 0x2011: "-"}  # hyphen and non-breaking hyphen


class Group(NamedTuple):
    """Neighbouring digits and the text before them; `start` is the position of the +, else of the digits."""

    gap: str
    digits: str
    start: int
    end: int

    @property
    def is_international(self) -> bool:
        return "+" in self.gap


class TooManyReadings(Exception):
    """`read` refuses to read more numbers of this field."""


class Found(NamedTuple):
    """A number and its place in the text."""

    start: int
    end: int
    number: str


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


def clean(text: str) -> str:
    """Return the text in NFKC with plain hyphens."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_HYPHENS)


def clean_field(field: str) -> tuple[str, str]:
    """Clean a field, and split off the end of one that was cut: its last number may be incomplete."""
    text = clean(field[:MAX_PHONE_CHARACTERS])
    if len(field) < MAX_PHONE_CHARACTERS and len(text) <= MAX_CLEAN_CHARACTERS:
        return text, ""
    text = text[:MAX_CLEAN_CHARACTERS]
    end = len(text.rstrip(_SIGNS))
    return text[:end], text[end:]


def groups_of(text: str) -> list[list[Group]]:
    """Return the groups of digits between two separators; a + separates too, and belongs to what follows."""
    parts: list[list[Group]] = []
    for piece in _PIECE.finditer(text):
        part: list[Group] = []
        gap_start = piece.start()
        for match in _DIGITS.finditer(text, *piece.span()):
            gap = text[gap_start : match.start()]
            plus = gap.rfind("+")
            start = gap_start + plus if plus >= 0 else match.start()
            if plus >= 0 and part:
                parts.append(part)
                part = []
            part.append(Group(gap, match[0], start, match.end()))
            gap_start = match.end()
        if part:
            parts.append(part)
    return parts


def find_numbers(text: str, read: Read) -> Iterator[Found]:
    """Yield the numbers of a cleaned text in order. Passes on TooManyReadings that `read` raises."""
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


def are_one_number(groups: Sequence[Group]) -> bool:
    """Whether no group begins an extension."""
    before = 0
    for group in groups:
        if _begins_extension(group, before):
            return False
        before += len(group.digits)
    return True


def _whole(groups: Sequence[Group], read: Read) -> Found | None:
    """Read all groups as one number."""
    digits = "".join(group.digits for group in groups)
    if not MIN_DIGITS <= len(digits) <= MAX_DIGITS or not are_one_number(groups):
        return None
    number = read(digits, groups[0].is_international)
    return Found(groups[0].start, groups[-1].end, number) if number else None


def _split_at_hyphens(groups: list[Group]) -> list[list[Group]]:
    pieces = [[groups[0]]]
    for group in groups[1:]:
        if _SPACED_HYPHEN.search(group.gap):
            pieces.append([])
        pieces[-1].append(group)
    return pieces


def _several(groups: Sequence[Group], read: Read) -> list[Found]:
    """Read the groups as several numbers, and return those that stand in every best reading.

    Numbers with a certain start may leave digits over (extensions). A national number without its 0 counts
    only if no digit is left over.
    """
    runs = [list(_runs_from(groups, first, read)) for first in range(len(groups))]
    anchored = [[run for run in starting if run.is_anchored] for starting in runs]
    all_digits = sum(len(group.digits) for group in groups)
    choice = _with_rest(groups, anchored)
    if choice.covered < all_digits:
        choice = _without_rest(groups, runs) or _certain(groups, choice)
    return [
        Found(groups[run.first].start, groups[run.last - 1].end, run.number) for run in sorted(choice.runs)
    ]


def _certain(groups: Sequence[Group], choice: _Choice) -> _Choice:
    """Drop numbers of several groups that stand after the start of another number left over.

    "0905 0377 2223 33" has digits too many and holds no number.
    """
    runs, end = set[_Run](), 0
    for run in sorted(choice.runs):
        is_after_start = any(group.digits.startswith("0") for group in groups[end : run.first])
        if run.last == run.first + 1 or not is_after_start:
            runs.add(run)
        end = run.last
    return choice._replace(runs=frozenset(runs))


def _runs_from(groups: Sequence[Group], first: int, read: Read) -> Iterator[_Run]:
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


def _begins_extension(group: Group, digits_before: int) -> bool:
    return "(" in group.gap and ")" not in group.gap and digits_before > MAX_DIGITS_BEFORE_PARENTHESIS


def _with_rest(groups: Sequence[Group], runs: list[list[_Run]]) -> _Choice:
    """Cover as many digits as possible."""
    best = [_Choice(0, frozenset())] * (len(groups) + 1)
    for first in reversed(range(len(groups))):
        best[first] = _best([best[first + 1], *(_taking(run, groups, best[run.last]) for run in runs[first])])
    return best[0]


def _without_rest(groups: Sequence[Group], runs: list[list[_Run]]) -> _Choice | None:
    """Cover all digits."""
    best: list[_Choice | None] = [None] * len(groups) + [_Choice(0, frozenset())]
    for first in reversed(range(len(groups))):
        choices = [_taking(run, groups, rest) for run in runs[first] if (rest := best[run.last])]
        best[first] = _best(choices) if choices else None
    return best[0]


def _taking(run: _Run, groups: Sequence[Group], rest: _Choice) -> _Choice:
    covered = sum(len(group.digits) for group in groups[run.first : run.last])
    return _Choice(rest.covered + covered, rest.runs | {run})


def _best(choices: Sequence[_Choice]) -> _Choice:
    covered = max(choice.covered for choice in choices)
    best = [choice.runs for choice in choices if choice.covered == covered]
    return _Choice(covered, best[0].intersection(*best[1:]))
