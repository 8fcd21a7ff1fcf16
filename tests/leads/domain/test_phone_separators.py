"""Two numbers in one field, generated: both are found, and never a third one made of their digits."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from leads.domain.phone import read_phones
from tests.support.suites import IS_FULL

PAIRS_PER_SEPARATOR = 100_000 if IS_FULL else 600
SEED = 20260514
SEPARATORS = (
    "&", " & ", "+", " + ", "_", "\\", "、", "，", "；", "／", "–", " – ", "—", " — ", "•", "·", "~", "*",
    ":", "<br>", " và ", "và", "zalo", " zalo ", "/", " / ", ",", ", ", ";", "|", "\n", "\r\n", "\t",
    " - ", "-", ".", " ", "   ", " hoặc ", " or ", "…", "=", "?", "!", "#", "'", '"', "→", "%", "@",
    "^", "[", "]", "{", "}", "<", ">", "\u00a0", "\u200b", "\u2028", "\x00", "()", " (", ") ", ". ",
    " ; zalo: ", " -- ", "ｏｒ", "٣", "㎏",
)  # fmt: skip
"""What people type between two numbers; the last ones are hostile."""

MOBILE_PREFIXES = ("32", "39", "522", "56", "58", "59", "70", "76", "79", "81", "86", "896", "90", "93", "98")
OLD_PREFIXES = {"120": "70", "123": "83", "168": "38", "186": "56", "199": "59"}
AREA_CODES = ("28", "24", "236", "203", "254", "296")
GROUPINGS = ((3, 3), (4, 3), (3, 4), (5,), (2, 4, 2), (4, 2, 2), (1, 3, 3), (2, 2, 2, 2))
"""Lengths of the groups of a national number, with its 0; the rest is the last group."""


@dataclass(frozen=True)
class Written:
    """A number as a customer types it, and its E.164 form."""

    text: str
    number: str


def number(chance: random.Random, *, grouped: bool) -> Written:
    """Return a random valid number of Vietnam in a random notation."""
    kind = chance.random()
    if kind < 0.7:
        typed = real = filled(chance, chance.choice(MOBILE_PREFIXES), 9)
    elif kind < 0.85:
        old = chance.choice(list(OLD_PREFIXES))
        typed = filled(chance, old, 10)
        real = OLD_PREFIXES[old] + typed[3:]
    else:
        typed = real = filled(chance, chance.choice(AREA_CODES) + "3", 10)
    trunk = chance.choice(("0", "0", "0", "+84", "84", "0084", "+840"))
    return Written(grouping(chance, trunk, typed) if grouped else trunk + typed, f"+84{real}")


def filled(chance: random.Random, start: str, length: int) -> str:
    """Return random digits after `start`, up to `length` digits in all."""
    count = length - len(start)
    return f"{start}{chance.randrange(10**count):0{count}}"


def grouping(chance: random.Random, trunk: str, national: str) -> str:
    between = chance.choice((" ", " ", ".", "-", ". "))
    rest, groups = f"0{national}", []
    for length in chance.choice(GROUPINGS if trunk == "0" else GROUPINGS[:4]):
        groups.append(rest[:length])
        rest = rest[length:]
    groups.append(rest)
    if trunk == "0":
        return f"({groups[0]}) {between.join(groups[1:])}" if chance.random() < 0.1 else between.join(groups)
    groups[0] = groups[0][1:] or groups.pop(1)
    zero = chance.choice(("", "(0)")) if trunk in ("+84", "0084") else ""
    return f"{trunk}{between}{zero}{between.join(groups)}"


def pairs(separator: str, *, grouped: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield fields of two numbers, and the numbers that have to be found in them, in order."""
    chance = random.Random(f"{SEED} {separator} {grouped}")
    for _ in range(PAIRS_PER_SEPARATOR // 2):
        one, two = (number(chance, grouped=grouped) for _ in range(2))
        yield f"{one.text}{separator}{two.text}", tuple(dict.fromkeys([one.number, two.number]))


@pytest.mark.parametrize("grouped", [False, True], ids=["ungrouped", "grouped"])
@pytest.mark.parametrize("separator", SEPARATORS, ids=ascii)
def test_both_numbers_are_found_and_no_other(separator: str, grouped: bool) -> None:
    for field, expected in pairs(separator, grouped=grouped):
        assert read_phones([field]).usable == expected, field
