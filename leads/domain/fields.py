"""The mapped fields of a lead: one table says how each is read, compared, stored, worded and told."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from leads.domain.body import ICT, MAX_ID_CHARACTERS, MAX_ITEMS_PER_FIELD, read_text, read_time, source_ids
from leads.domain.canonical_json import JsonValue
from leads.domain.phone import MAX_PHONE_CHARACTERS
from leads.domain.visible_text import without_unseen

FieldName = Literal[
    "interested_products", "sources", "tags", "utm_campaign", "utm_source", "ref", "name", "phones", "email",
    "address", "birthday", "gender", "page_id", "conversation_id",
]  # fmt: skip
FieldValue = str | tuple[str, ...] | None
PHONE_KEYS = ("phone_number", "secondary_phone_number")
_TAG_ID = re.compile(r"\w*\d{6,}_\d+", re.ASCII)
_GENDERS = {"female": "Nữ", "male": "Nam"}


def read_line(value: JsonValue, max_characters: int) -> str | None:
    """Read text of one line that people see, in NFC and with spaces folded: it is compared as it is seen."""
    if not isinstance(value, str):
        return None
    return _seen(value, max_characters) or None


def fold(text: str) -> str:
    """Return a name as it is compared with one that a person types: without regard to case."""
    return unicodedata.normalize("NFC", _seen(text, len(text)).casefold())


def _seen(text: str, most: int) -> str:
    # NFC sorts a run of marks in quadratic time, and makes one character of at most four.
    return unicodedata.normalize("NFC", " ".join(without_unseen(text).split())[: 4 * most])[:most]


def _lines(value: JsonValue, max_characters: int) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    found = (read_line(item, max_characters) for item in items[:MAX_ITEMS_PER_FIELD])
    return tuple(sorted(text for text in found if text))


def _first_line(value: JsonValue, max_characters: int) -> str | None:
    """Some clients send `full_address` as `["text", "<dial code>"]`."""
    return read_line(value[0] if isinstance(value, list) and value else value, max_characters)


def _sources(value: JsonValue, _: int) -> tuple[str, ...]:
    return source_ids({"source": value})


def _date(value: JsonValue, _: int) -> str | None:
    """Read a date, or the date of a time in Vietnam, as ISO 8601."""
    text = read_text(value, MAX_ID_CHARACTERS) or ""
    time = read_time(text) or read_time(f"{text}T00:00")
    return (time.astimezone(ICT) if time and time.tzinfo else time).date().isoformat() if time else None


def _read_elsewhere(_value: JsonValue, _max_characters: int) -> None:
    """Phones are read from several keys together (`typed_phones` in lead.py)."""


def _shown_date(value: str) -> str:
    year, month, day = value.split("-")
    return f"{day}/{month}/{year}"


def _shown_gender(value: str) -> str:
    return _GENDERS.get(value.lower(), value)


def _shown_tag(value: str) -> str:
    """An id without its text says nothing to people: "104943019063372_20"."""
    return "" if _TAG_ID.fullmatch(value) else value


@dataclass(frozen=True, slots=True)
class MappedField:
    """A field of a lead, and what follows from a value of it.

    `keys` are those of Pancake's record that name it; `read` accepts any JSON. `label`: the name that
    telesales see, in the ticket and in notifications; a field without one is not shown. `shown` words a
    text; it is empty if people are not to read it.

    `is_of_request`: it says what the customer asked for, and when and where, so that the ticket holds it for
    each request; else it says who the customer is. `is_told`: the ticket's owner is notified of a change.
    `opens_ticket`: a new value after the ticket was closed opens another one.
    """

    keys: tuple[str, ...]
    label: str
    max_characters: int
    read: Callable[[JsonValue, int], FieldValue] = read_line
    shown: Callable[[str], str] = str
    is_of_request: bool = False
    is_told: bool = False
    opens_ticket: bool = False

    def is_cut(self, value: JsonValue) -> bool:
        """Whether more came than is kept."""
        if self.read is _sources or (isinstance(value, str) and len(value) <= self.max_characters):
            return False
        items = value if isinstance(value, list) else [value]
        if self.read is _first_line:
            items = items[:1]
        is_phone = self.read is _read_elsewhere
        return len(items) > MAX_ITEMS_PER_FIELD or any(
            isinstance(item, str)
            and len(item) > self.max_characters
            and len(item.strip() if is_phone else _seen(item, self.max_characters + 1)) > self.max_characters
            for item in items
        )


FIELDS: Mapping[FieldName, MappedField] = {
    "interested_products": MappedField(
        ("interested_product",), "Quan tâm", 500, _lines, is_of_request=True, is_told=True, opens_ticket=True
    ),
    "sources": MappedField(
        ("source",), "Nguồn", MAX_ID_CHARACTERS, _sources, is_of_request=True, is_told=True, opens_ticket=True
    ),
    "tags": MappedField(("pancake_tags",), "Thẻ", 200, _lines, _shown_tag, is_of_request=True, is_told=True),
    "utm_campaign": MappedField(("utm_campaign",), "Chiến dịch", 200, is_of_request=True),
    "utm_source": MappedField(("utm_source",), "Kênh quảng cáo", 200, is_of_request=True),
    "ref": MappedField(("ref",), "Mã giới thiệu", 200, is_of_request=True),
    "name": MappedField(("name",), "Tên", 500, is_told=True),
    "phones": MappedField(PHONE_KEYS, "Điện thoại", MAX_PHONE_CHARACTERS, _read_elsewhere, is_told=True),
    # 64 characters before the @, 255 after it (RFC 5321).
    "email": MappedField(("email",), "Email", 320, is_told=True),
    "address": MappedField(("full_address",), "Địa chỉ", 2000, _first_line, is_told=True),
    "birthday": MappedField(("birthday",), "Ngày sinh", MAX_ID_CHARACTERS, _date, _shown_date),
    "gender": MappedField(("gender",), "Giới tính", 50, shown=_shown_gender),
    "page_id": MappedField(("page_id",), "", MAX_ID_CHARACTERS, is_of_request=True),
    "conversation_id": MappedField(("conversation_id",), "", MAX_ID_CHARACTERS, is_of_request=True),
}
"""In the order in which people are told of them."""
