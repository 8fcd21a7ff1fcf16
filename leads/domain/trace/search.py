"""What a person looks for: an event, a record, a ticket or a phone, given as one text."""

import re
from dataclasses import dataclass

from leads.domain.errors import BadRequest
from leads.domain.lead import PHONE_KEYS
from leads.domain.phone import read_phones

MAX_SEARCH_CHARACTERS = 200
_EVENT_ID = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
"""Every such number is within PostgreSQL's bigint."""
_TYPED_PHONE = re.compile(r"[0-9+ ().-]+", re.ASCII)
MIN_TYPED_DIGITS = 3
MIN_TYPED_DIGITS_OF_A_NUMBER = 8
"""A shorter text than this is no phone that somebody mistyped. A number may also be the id of an event."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a text can name. Each of these that exists is found.

    `event_id` is None unless the text is one. `phones` are in E.164. `typed` is the text itself if it looks
    like a phone that cannot be read; a lead may have been typed with it.
    """

    text: str
    event_id: int | None
    phones: tuple[str, ...]
    typed: str | None

    def typed_bodies(self) -> list[dict[str, object]]:
        """Return what a body contains, as JSON objects, if one of its phones was typed like this."""
        if self.typed is None:
            return []
        values: list[object] = [self.typed]
        if self.event_id is not None:
            values.append(self.event_id)
        records: list[dict[str, object]] = [{key: value} for key in PHONE_KEYS for value in values]
        records += [{"pancake_customer_obj": {"phone_numbers": [value]}} for value in values]
        return records + [{"data": record} for record in records]


def read_search(value: object) -> Search:
    """Read what to search for. Raises BadRequest for anything but a text of 1 to 200 characters."""
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > MAX_SEARCH_CHARACTERS or "\0" in text:
        raise BadRequest(
            f"Give a phone, a record id, a ticket code or an event id, of at most {MAX_SEARCH_CHARACTERS}"
            " characters."
        )
    phones = read_phones([text]).usable
    digits = sum(character.isdigit() for character in text)
    event_id = int(text) if _EVENT_ID.fullmatch(text) else None
    least = MIN_TYPED_DIGITS if event_id is None else MIN_TYPED_DIGITS_OF_A_NUMBER
    is_typed = not phones and digits >= least and _TYPED_PHONE.fullmatch(text)
    return Search(
        text=text,
        event_id=event_id,
        phones=phones,
        typed=text if is_typed else None,
    )
