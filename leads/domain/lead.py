"""The business content of a record: the mapped fields, cleaned of the loose types that Pancake sends."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from leads.domain.body import MAX_ITEMS_PER_FIELD, is_deletion, read_identifier, read_text, record_of
from leads.domain.canonical_json import JsonValue, read_json
from leads.domain.digest import NO_KEYS, Digester
from leads.domain.errors import InvalidBody
from leads.domain.fields import FIELDS, PHONE_KEYS, FieldName, FieldValue, read_line
from leads.domain.phone import (
    MAX_CANDIDATES_PER_RECORD,
    MAX_PHONE_CHARACTERS,
    PhoneReading,
    read_mobile,
    read_phones,
)

OTHER_TABLES = ("account", "contact")
"""The other tables that Pancake documents."""
MAX_GROUPED_CHARACTERS = 24
"""The longest text that `first_phone` tries as one mobile number in groups of digits."""
CHAT_CUSTOMER = "pancake_customer_obj"
TypedPhones = Mapping[str, tuple[str, ...]]
"""The phones of a record as typed, by the key of the body that names them, PHONE_KEYS or CHAT_CUSTOMER."""
Digests = Mapping[str, str | list[str]]
"""A keyed digest of each mapped field by its name; of a list, a digest of each item."""


@dataclass(frozen=True, slots=True)
class Lead:
    """The mapped fields of one version of a record: `values` holds those that the body named.

    `is_deletion`: the body says that the record was deleted. `cut_fields` were longer than their limit.
    `has_future_time`: `modified_on` is the time of arrival, since the body claims one in the far future.

    The phones of `values` are as typed, those of Pancake's chat customer last; `typed_phones` are the same by
    the key that names them. `tag_texts` are the texts of tags by their id, as far as the body has them.
    `modified_on` is in UTC; it and `table_name` come from the stored row, which knows the connection's time
    zone and tables; both are None for a lead that was read from a body alone.
    """

    record_id: str
    values: Mapping[FieldName, FieldValue] = field(hash=False)
    is_deletion: bool = False
    cut_fields: tuple[str, ...] = ()
    has_future_time: bool = False
    modified_on: datetime | None = None
    table_name: str | None = None
    typed_phones: TypedPhones = field(default_factory=dict, hash=False)
    tag_texts: Mapping[str, str] = field(default_factory=dict, compare=False)
    digester: Digester = field(default=NO_KEYS, compare=False, repr=False)

    @property
    def makes_ticket(self) -> bool:
        """Rows of Pancake's tables `account` and `contact` update account and contact book only."""
        return self.table_name not in OTHER_TABLES

    @property
    def phones(self) -> tuple[str, ...]:
        return self.items("phones")

    def text(self, name: FieldName) -> str | None:
        """Return the value of a field of text; None if the body does not name it."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def items(self, name: FieldName) -> tuple[str, ...]:
        """Return the value of a field that is a list; empty if the body does not name it."""
        value = self.values.get(name)
        return value if isinstance(value, tuple) else ()

    def fields(self) -> dict[str, JsonValue]:
        """Return the mapped fields that the body contained, for comparison and for storage."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in self.values.items()
        }

    def digests(self) -> dict[str, str | list[str]]:
        """Return the same fields as digests, which show a change after retention emptied the body."""
        digest = partial(self.digester.digest, self.record_id)
        return {
            key: [digest(key, item) for item in value] if isinstance(value, list) else digest(key, value)
            for key, value in self._compared_fields()
        }

    def with_current_key(self, before: Digests) -> Digests:
        """Return stored digests, under the current key where they are those of this lead's values."""
        restated = dict(before)
        for key, value in self._compared_fields():
            stored, items = before.get(key), value if isinstance(value, list) else [value]
            values = [(self.record_id, key, item) for item in items]
            if isinstance(stored, str):
                restated[key] = self.digester.restate(stored, values)
            elif stored is not None:
                restated[key] = [self.digester.restate(each, values) for each in stored]
        return restated

    def naming(self, fields: Set[str]) -> "Lead":
        """Return the lead as if its body had named only these fields."""
        values = {name: value for name, value in self.values.items() if name in fields}
        return replace(self, values=values, typed_phones=self.typed_phones if "phones" in fields else {})

    def metadata(self) -> dict[str, JsonValue]:
        """Return what account.pancake_metadata and ticket.data keep of the record."""
        return {
            "record_id": self.record_id,
            "table_name": self.table_name,
            "modified_on": self.modified_on.isoformat() if self.modified_on else None,
            **self.fields(),
        }

    def _compared_fields(self) -> Iterator[tuple[str, JsonValue]]:
        """A phone is compared by its number, in any notation."""
        for key, value in self.fields().items():
            if key == "phones":
                read = read_phones(self.phones)
                yield key, [*read.usable, *(text for text, _ in read.rejected)]
            else:
                yield key, value


def read_stored_lead(
    payload: str | None,
    *,
    corrected_phone: str | None,
    modified_on: datetime | None,
    table_name: str | None,
    digester: Digester = NO_KEYS,
) -> tuple[Lead, PhoneReading]:
    """Read the lead and its phones from an event's row; a corrected phone replaces those of the body.

    Raises InvalidBody if the row holds nothing that could be processed.
    """
    if payload is None:
        raise InvalidBody(
            "The row holds no JSON to process, or its body was emptied.", code="invalid_payload"
        )
    body = read_json(payload.encode(), max_bytes=None)  # PostgreSQL writes it longer than ingest read it
    if not isinstance(body, Mapping):
        raise InvalidBody("The row does not hold a JSON object.", code="invalid_payload")
    lead = read_lead(body, modified_on=modified_on, table_name=table_name, digester=digester)
    typed = {PHONE_KEYS[0]: (corrected_phone,)} if corrected_phone else lead.typed_phones
    return lead, read_typed_phones(typed)


def read_lead(
    body: Mapping[str, JsonValue],
    *,
    modified_on: datetime | None = None,
    table_name: str | None = None,
    digester: Digester = NO_KEYS,
) -> Lead:
    """Read the mapped fields of a stored payload. Raises InvalidBody if it has no record id."""
    record = record_of(body)
    record_id = read_identifier(record.get("id"))
    if record_id is None:
        raise InvalidBody("The body has no record id.", code="missing_record_id")
    typed = typed_phones(record)
    values: dict[FieldName, FieldValue] = {}
    cut_fields: list[str] = []
    for name, mapped in FIELDS.items():
        if came := [record[key] for key in mapped.keys if key in record]:
            values[name] = mapped.read(came[0], mapped.max_characters)
            cut_fields += [name] if any(map(mapped.is_cut, came)) else []
    if typed or "phones" in values:
        values["phones"] = all_phones(typed)
    return Lead(
        record_id=record_id,
        values=values,
        is_deletion=is_deletion(body),
        cut_fields=tuple(sorted(cut_fields)),
        modified_on=modified_on,
        table_name=table_name,
        typed_phones=typed,
        tag_texts=_tag_texts(record.get("pancake_tags_obj")),
        digester=digester,
    )


def _tag_texts(value: JsonValue) -> dict[str, str]:
    """Read the texts of tags by their id; the vendor documents `pancake_tags_obj` for webhooks only."""
    items = value[:MAX_ITEMS_PER_FIELD] if isinstance(value, list) else []
    most = FIELDS["tags"].max_characters
    return {
        tag_id: text
        for item in items
        if isinstance(item, Mapping)
        and (tag_id := read_line(item.get("id"), most))
        and (text := read_line(item.get("text"), most))
    }


def typed_phones(record: Mapping[str, JsonValue]) -> TypedPhones:
    """Return the phones of each key that the record names; it names a chat customer only with a phone."""
    typed = {key: _texts(record[key]) for key in PHONE_KEYS if key in record}
    customer = record.get(CHAT_CUSTOMER)  # its phones Pancake finds in messages
    of_chat = _texts(customer.get("phone_numbers")) if isinstance(customer, Mapping) else ()
    return {**typed, CHAT_CUSTOMER: of_chat[:MAX_CANDIDATES_PER_RECORD]} if of_chat else typed


def _texts(value: JsonValue) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    texts = (read_text(item, MAX_PHONE_CHARACTERS) for item in items[:MAX_ITEMS_PER_FIELD])
    return tuple(text for text in texts if text)


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
