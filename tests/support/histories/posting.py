"""A version as Pancake posts it: small numbers in, a body out."""

import json
from dataclasses import dataclass
from datetime import datetime

from tests.support.histories.state import Fields, RecordKey, Version
from tests.support.histories.vocabulary import (
    CHAT_PHONE,
    FAR,
    KEYS,
    MINUTE,
    PHONES_OF,
    RECORDS,
    SECOND_PHONE,
    TABLES,
    WORKSPACES,
    as_compared,
    flattened,
    usable,
)


@dataclass(frozen=True)
class Posting:
    """What to post. Only workspace 0 has a table besides lead.

    It was modified `minutes` after the start of the history; None: it names no time. `far`: in the far
    future. Postings that differ in `noise` alone have equal mapped fields and are no duplicates.
    """

    fields: Fields
    record: int = 0
    workspace: int = 0
    table: int = 0
    minutes: int | None = 0
    far: bool = False
    deletion: bool = False
    noise: int = 0

    @property
    def key(self) -> RecordKey:
        table = TABLES[self.table] if self.workspace == 0 else TABLES[0]
        return WORKSPACES[self.workspace], table, RECORDS[self.record]

    def modified_at(self, start: datetime) -> datetime | None:
        if self.minutes is None:
            return None
        return start + self.minutes * MINUTE + (FAR if self.far else 0 * FAR)

    def body(self, start: datetime) -> bytes:
        """Return the bytes; equal bytes are the same delivery."""
        modified_at = self.modified_at(start)
        body = {
            "id": RECORDS[self.record],
            "workspace_id": self.workspace + 1,
            "table_id": self.key[1],
            "event_type": "delete" if self.deletion else "update",
            "modified_on": f"{modified_at:%Y-%m-%dT%H:%M:%S}" if modified_at else None,
            "noise": self.noise or None,
        } | {KEYS[name]: value for name, value in self.fields.items() if name in KEYS}
        if SECOND_PHONE in self.fields:
            body[PHONES_OF[SECOND_PHONE]] = self.fields[SECOND_PHONE]
        if CHAT_PHONE in self.fields:
            body[PHONES_OF[CHAT_PHONE]] = {"phone_numbers": self.fields[CHAT_PHONE]}
        named = {key: value for key, value in body.items() if value is not None}
        return json.dumps(named, ensure_ascii=False, sort_keys=True).encode()

    def version(self, event: int, start: datetime, arrived_at: datetime) -> Version:
        """Return the version of the event that it became."""
        posted = {key: tuple(self.fields[name]) for name, key in PHONES_OF.items() if name in self.fields}
        typed = {key: phones for key, phones in posted.items() if phones or key != PHONES_OF[CHAT_PHONE]}
        fields = {name: as_compared(value) for name, value in self.fields.items() if name not in PHONES_OF}
        phones = flattened(typed)
        return Version(
            event,
            self.key,
            {**fields, "phones": phones} if typed else fields,
            usable(phones),
            self.modified_at(start),
            arrived_at,
            self.deletion,
            typed,
        )

    def __str__(self) -> str:
        time = "no time" if self.minutes is None else f"+{self.minutes} min{' far ahead' if self.far else ''}"
        named = ", ".join(f"{name}={value!r}" for name, value in self.fields.items()) or "no field"
        noise = f", noise {self.noise}" if self.noise else ""
        kind = "deletion" if self.deletion else "version"
        return f"{kind} of {' '.join(self.key)}, {time}{noise}: {named}"
