"""A record: one statement about the go-live, with its evidence and the hash of the record before it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

FIRST = "0" * 64
"""Stands for the hash before the first record."""
MAX_NAME_CHARACTERS = 100
MAX_REASON_CHARACTERS = 1000


class Kind(StrEnum):
    """What a record states."""

    BEGIN = "begin"
    """A wave begins."""
    ATTEST = "attest"
    WAIVE = "waive"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file that was handed in: its name, and the hash under which it is kept."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What a person states at `at`. `of` is the id of a criterion, or the wave that begins.

    `login` is the user of the operating system, `cases` how many were asked in a survey, `since` when a wave
    began, `until` when a waiver ends.
    """

    kind: Kind
    of: str
    by: str
    login: str
    at: datetime
    value: float | None = None
    cases: int | None = None
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A statement in the chain: `previous` is the hash of the record before it."""

    number: int
    statement: Statement
    evidence: tuple[Evidence, ...] = ()
    previous: str = FIRST

    @property
    def kind(self) -> Kind:
        return self.statement.kind

    @property
    def of(self) -> str:
        return self.statement.of

    @property
    def holds_at(self) -> datetime:
        """From when on the statement holds."""
        return self.statement.since or self.statement.at

    def as_json(self) -> str:
        """Return the record as one line, always the same for the same record."""
        statement = asdict(self.statement)
        for name in ("at", "since", "until"):
            statement[name] = statement[name].isoformat() if statement[name] else None
        document = {
            "number": self.number,
            "statement": statement,
            "evidence": [asdict(each) for each in self.evidence],
            "previous": self.previous,
        }
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def sha256(self) -> str:
        """Return the hash that the next record names."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()


def parse_record(line: bytes) -> Record | None:
    """Read a line; None if it is not exactly what a record is written as."""
    try:
        document: Mapping[str, Any] = json.loads(line)
        statement = dict(document["statement"])
        for name in ("at", "since", "until"):
            statement[name] = datetime.fromisoformat(statement[name]) if statement[name] else None
        record = Record(
            number=document["number"],
            statement=Statement(**(statement | {"kind": Kind(statement["kind"])})),
            evidence=tuple(Evidence(**each) for each in document["evidence"]),
            previous=document["previous"],
        )
        return record if record.as_json().encode() == line else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
