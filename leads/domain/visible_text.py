"""Text for people: without characters that are not seen, and spans of time in their largest unit."""

import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pkgutil import get_data
from typing import Any

# Controls (C0, DEL, C1); soft hyphen, marks, embeddings, overrides, isolates of the writing direction; what
# has no width, the two joiners too, which Vietnamese names do not need; separators of lines and paragraphs;
# annotations; half surrogates; tags. No letter: all are of Unicode's categories Cc, Cf, Cs, Zl and Zp.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
UNSEEN_CHARACTER = re.compile(f"[{_UNSEEN}]")
_SPACING = re.compile("[\t-\r\x85\u2028\u2029]+")
CUT = "…"
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
VIETNAMESE_UNITS = {"d": "ngày", "h": "giờ", "min": "phút", "s": "giây"}


def read_texts(file: str, package: str = __package__) -> Mapping[str, Mapping[str, Any]]:
    """Return the texts of a TOML file that belongs to a package."""
    found = get_data(package, file)
    assert found is not None
    return tomllib.loads(found.decode())


def without_unseen(text: str) -> str:
    """Return a text of one line without what is not seen; a tab or a line break becomes a space."""
    if text.isprintable():
        return text
    return UNSEEN_CHARACTER.sub("", _SPACING.sub(" ", text))


def cut(text: str, max_characters: int) -> str:
    """Return at most so many characters of a text; one that is cut ends in CUT."""
    return text if len(text) <= max_characters else text[: max_characters - 1] + CUT


def duration(time: timedelta, *, in_vietnamese: bool = False) -> str:
    """Return a span of time in a whole unit that it has twice, or once a minute: 40 s, 119 min, 47 h, 3 d."""
    seconds = max(int(time.total_seconds()), 0)
    size, unit = next(
        (each for each in UNITS if seconds >= (1 if each[1] == "min" else 2) * each[0]), UNITS[-1]
    )
    return f"{seconds // size} {VIETNAMESE_UNITS[unit] if in_vietnamese else unit}"
