"""What people state about the go-live: an append-only file of records, each with the hash of the one before.

A changed, removed or reordered record breaks the chain. Evidence files are kept beside it under their hash.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from leads.cli.failures import CommandFailed

FILE = "records.jsonl"
EVIDENCE = "evidence"
FIRST = "0" * 64
MAX_EVIDENCE_BYTES = 64 * 1024 * 1024


class RecordsError(CommandFailed):
    """The records cannot be read or written, or their chain is broken."""


class Kind(StrEnum):
    """What a record states."""

    BEGIN = "begin"
    """A wave begins; `value` is its number."""
    ATTEST = "attest"
    WAIVE = "waive"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file that was handed in: its name, and where it is kept."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Record:
    """One statement. `of` is the id of a criterion, or the wave that begins."""

    number: int
    kind: Kind
    of: str
    by: str
    at: datetime
    value: float | None = None
    cases: int | None = None
    """How many were asked, of a survey."""
    reason: str = ""
    until: datetime | None = None
    evidence: tuple[Evidence, ...] = field(default=())
    previous: str = FIRST

    def as_json(self) -> str:
        """Return the record as one line, always the same for the same record."""
        document = asdict(self) | {
            "at": self.at.isoformat(), "until": self.until.isoformat() if self.until else None,
        }  # fmt: skip
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def sha256(self) -> str:
        """Return the hash that the next record names."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()


class Records:
    """The records of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE

    def read(self) -> tuple[Record, ...]:
        """Return all records, the oldest first; none without a file. Raises RecordsError."""
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeError) as error:
            raise RecordsError(f"{self._path} cannot be read: {error}") from error
        records: list[Record] = []
        previous = FIRST
        for number, line in enumerate(lines, start=1):
            record = _parse(line)
            if record is None or record.number != number or record.previous != previous:
                raise RecordsError(
                    f"{self._path}, line {number}: the record was changed, or one before it is missing. "
                    "Restore the file from a copy; the signed reports say which hash it had."
                )
            records.append(record)
            previous = hashlib.sha256(line.encode()).hexdigest()
        return tuple(records)

    def head(self) -> str:
        """Return the hash of the last record, which covers all before it. Raises RecordsError."""
        records = self.read()
        return records[-1].sha256() if records else FIRST

    def add(
        self, kind: Kind, of: str, by: str, at: datetime, *, value: float | None = None,
        cases: int | None = None, reason: str = "", until: datetime | None = None, files: tuple[Path, ...] = (),
    ) -> Record:  # fmt: skip
        """Append a record and keep its evidence; both are on disk when this returns. Raises RecordsError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            evidence = tuple(self._keep(path) for path in files)
            with self._locked():
                records = self.read()
                previous = records[-1].sha256() if records else FIRST
                record = Record(
                    len(records) + 1, kind, of, by, at, value, cases, reason, until, evidence, previous
                )
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(record.as_json() + "\n")
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise RecordsError(f"{self.folder}: {error}") from error
        return record

    def evidence_path(self, evidence: Evidence) -> Path:
        """Return where a file of evidence is kept."""
        return self.folder / EVIDENCE / evidence.sha256

    def read_evidence(self, evidence: Evidence) -> bytes:
        """Return the content. Raises RecordsError if it is gone or was changed."""
        path = self.evidence_path(evidence)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RecordsError(f"The evidence {evidence.name} cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != evidence.sha256:
            raise RecordsError(f"The evidence {evidence.name} was changed: {path} has another hash.")
        return content

    def _keep(self, path: Path) -> Evidence:
        if path.stat().st_size > MAX_EVIDENCE_BYTES:
            raise RecordsError(f"{path} is larger than {MAX_EVIDENCE_BYTES // 1024 // 1024} MB.")
        content = path.read_bytes()
        evidence = Evidence(path.name, hashlib.sha256(content).hexdigest(), len(content))
        kept = self.evidence_path(evidence)
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        if not kept.exists():
            partial = kept.with_suffix(f".{os.getpid()}.partial")
            with partial.open("xb") as file:
                file.write(content)
                os.fsync(file.fileno())
            partial.replace(kept)
        return evidence

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def newest(records: tuple[Record, ...], kind: Kind, of: str, until: datetime) -> Record | None:
    """Return the last record of that kind on `of` that was made up to `until`."""
    found = [record for record in records if record.kind is kind and record.of == of and record.at <= until]
    return found[-1] if found else None


def _parse(line: str) -> Record | None:
    """Read a line; None if it is not exactly what a record is written as."""
    try:
        document: Mapping[str, Any] = json.loads(line)
        record = Record(
            **{
                **document,
                "kind": Kind(document["kind"]),
                "at": datetime.fromisoformat(document["at"]),
                "until": datetime.fromisoformat(document["until"]) if document["until"] else None,
                "evidence": tuple(Evidence(**each) for each in document["evidence"]),
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if record.as_json() == line else None
