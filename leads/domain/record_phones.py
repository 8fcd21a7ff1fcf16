"""The phones of a record, as typed."""

from collections.abc import Mapping
from dataclasses import replace

from leads.domain.body import MAX_ITEMS_PER_FIELD, read_text
from leads.domain.canonical_json import JsonValue
from leads.domain.phone import (
    MAX_CANDIDATES_PER_RECORD,
    MAX_PHONE_CHARACTERS,
    PhoneReading,
    read_mobile,
    read_phones,
)

CHAT_CUSTOMER = "pancake_customer_obj"
PHONE_KEYS = ("phone_number", "secondary_phone_number")

TypedPhones = Mapping[str, tuple[str, ...]]
"""The phones of a record as typed, by the key of the body that names them, PHONE_KEYS or CHAT_CUSTOMER."""

MAX_GROUPED_CHARACTERS = 24
"""Of a phone that is tried as one mobile number in groups of digits."""


def typed_phones(record: Mapping[str, JsonValue]) -> TypedPhones:
    """Return the phones of each key that the record names; it names a chat customer only with a phone."""
    typed = {key: _texts(record[key], MAX_PHONE_CHARACTERS) for key in PHONE_KEYS if key in record}
    of_chat = chat_phones(record)
    return {**typed, CHAT_CUSTOMER: of_chat} if of_chat else typed


def all_phones(typed: TypedPhones) -> tuple[str, ...]:
    """Return the record's own phones, then those of its chat customer that are other numbers.

    A body that names the customer is then equal to one that does not, unless it brings a new number.
    """
    phones = dict.fromkeys(text for key in PHONE_KEYS for text in typed.get(key, ()))
    others = [text for text in typed.get(CHAT_CUSTOMER, ()) if text not in phones]
    known = set(read_phones(phones).usable) if others else set()
    for text in others:
        numbers = set(read_phones([text]).usable)
        if numbers - known or not phones:
            phones[text] = None
            known |= numbers
    return tuple(phones)


def read_typed_phones(typed: TypedPhones) -> PhoneReading:
    """Read every number of a record; the reading keeps the phones as typed."""
    return replace(read_phones(all_phones(typed)), typed=typed)


def first_phone(record: Mapping[str, JsonValue]) -> str | None:
    """Return the first usable phone of a record, in E.164, without reading its other fields.

    Ingest reads it of every body, so the usual one, a mobile number in `phone_number`, has a shortcut.
    """
    text = record.get("phone_number")
    if isinstance(text, str) and len(text) <= MAX_GROUPED_CHARACTERS:
        # Spaces, dots and hyphens never end a number, so what is one number without them is that number.
        digits = text.strip().replace(" ", "").replace(".", "").replace("-", "")
        if number := read_mobile(f"+{digits}" if digits.startswith("84") else digits):
            return number
    return read_phones(all_phones(typed_phones(record))).primary


def chat_phones(record: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Return the phones of the record's customer in Pancake's chat, which Pancake finds in messages."""
    customer = record.get(CHAT_CUSTOMER)
    numbers = customer.get("phone_numbers") if isinstance(customer, Mapping) else None
    return _texts(numbers, MAX_PHONE_CHARACTERS)[:MAX_CANDIDATES_PER_RECORD]


def _texts(value: JsonValue, max_characters: int) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(text for item in items[:MAX_ITEMS_PER_FIELD] if (text := read_text(item, max_characters)))
