"""What people state about the go-live: an append-only file of records, each with the hash of the one before.

A changed, removed or reordered record breaks the chain; a file beside it names the last one. Evidence files
are kept under their hash.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from ops.clients.db_session import login_name
from ops.failures import CommandFailed, WrongUsage
from ops.files import digest_of, private, write_file

FILE = "records.jsonl"
HEAD = "records.head"
EVIDENCE = "evidence"
FIRST = "0" * 64
"""Stands for the hash before the first record."""
MAX_EVIDENCE_BYTES = 64 * 1024 * 1024
MAX_EVIDENCE_FILES = 10
MAX_FILE_BYTES = 64 * 1024 * 1024
LOCK_SECONDS = 10.0
TIMES = ("at", "since", "until")
MAX_NAME_CHARACTERS = 100
MAX_REASON_CHARACTERS = 1000


class RecordsError(CommandFailed):
    """The records cannot be read or written, or their chain is broken."""


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


def make_statement(kind: Kind, of: str, by: str, **values: Any) -> Statement:
    """Make a statement of now. Raises WrongUsage for a name or reason that is empty or too long."""
    name, reason = by.strip(), str(values.pop("reason", "")).strip()
    if not name.isprintable() or not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise WrongUsage(f"--by is a name of 1 to {MAX_NAME_CHARACTERS} characters in one line.")
    if len(reason) > MAX_REASON_CHARACTERS or (kind in (Kind.WAIVE, Kind.NOT_APPLICABLE) and not reason):
        raise WrongUsage(f"--reason is a text of 1 to {MAX_REASON_CHARACTERS} characters.")
    now = datetime.now(UTC)
    return Statement(kind, of, name, login_name(), now, reason=reason, **values)


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
        document = asdict(self)
        statement = document["statement"]
        statement |= {name: statement[name] and statement[name].isoformat() for name in TIMES}
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def sha256(self) -> str:
        """Return the hash that the next record names."""
        return digest_of(self.as_json().encode())


def parse_record(line: bytes) -> Record | None:
    """Read a line; None if it is not exactly what a record is written as."""
    try:
        document: Mapping[str, Any] = json.loads(line)
        statement = document["statement"]
        times = {name: statement[name] and datetime.fromisoformat(statement[name]) for name in TIMES}
        record = Record(
            number=document["number"],
            statement=Statement(**(statement | times | {"kind": Kind(statement["kind"])})),
            evidence=tuple(Evidence(**each) for each in document["evidence"]),
            previous=document["previous"],
        )
        return record if record.as_json().encode() == line else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def newest(records: tuple[Record, ...], kind: Kind, of: str, until: datetime) -> Record | None:
    """Return the last record of that kind on `of` that holds at `until`, an aware time."""
    found = [each for each in records if each.kind is kind and each.of == of and each.holds_at <= until]
    return found[-1] if found else None


class Records:
    """The records of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE

    def read(self) -> tuple[Record, ...]:
        """Return all records, the oldest first; none without a file. Raises RecordsError."""
        try:
            with self.path.open("rb") as file, _locked(file, fcntl.LOCK_SH):
                return self._read(file)[0]
        except FileNotFoundError:
            if (self.folder / HEAD).exists():
                raise RecordsError(f"{self.path} is missing. Restore it from a copy.") from None
            return ()
        except OSError as error:
            raise RecordsError(f"{self.path} cannot be read: {error.strerror}") from error

    def add(self, statement: Statement, files: Sequence[tuple[str, bytes]] = ()) -> Record:
        """Append a record, and keep its evidence: name and content of each file.

        Both are on disk when this returns. Raises RecordsError.
        """
        if len(files) > MAX_EVIDENCE_FILES:
            raise RecordsError(f"{len(files)} files of evidence: at most {MAX_EVIDENCE_FILES} are kept.")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(self.path, "a+b", opener=private) as file, _locked(file, fcntl.LOCK_EX):
                return self._append(file, statement, files)
        except OSError as error:
            raise RecordsError(f"{error.filename or self.folder}: {error.strerror}") from error

    def _append(self, file: BinaryIO, statement: Statement, files: Sequence[tuple[str, bytes]]) -> Record:
        records, end = self._read(file)
        if statement.kind is Kind.BEGIN and newest(records, Kind.BEGIN, statement.of, statement.at):
            raise RecordsError(f"{statement.of} has begun already.")
        evidence = tuple(self._keep(name, content) for name, content in files)
        # What an interrupted append left behind the last full line; it was never confirmed.
        file.truncate(end)
        record = Record(len(records) + 1, statement, evidence, _last_hash(records))
        file.write(record.as_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        write_file(self.folder / HEAD, f"{record.number} {record.sha256()}\n")
        return record

    def _keep(self, name: str, content: bytes) -> Evidence:
        evidence = Evidence(name, digest_of(content), len(content))
        kept = self.evidence_path(evidence)
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        if not kept.is_file() or kept.read_bytes() != content:
            write_file(kept, content)
        return evidence

    def evidence_path(self, evidence: Evidence) -> Path:
        """Return where a file of evidence is kept."""
        return self.folder / EVIDENCE / evidence.sha256

    def read_evidence(self, evidence: Evidence) -> bytes:
        """Return the content. Raises RecordsError if it is gone or was changed."""
        path = self.evidence_path(evidence)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RecordsError(f"The evidence {evidence.name} cannot be read: {error.strerror}") from error
        if digest_of(content) != evidence.sha256:
            raise RecordsError(f"The evidence {evidence.name} was changed: {path} has another hash.")
        return content

    def _read(self, file: BinaryIO) -> tuple[tuple[Record, ...], int]:
        """Return the records, and where the last full line ends."""
        file.seek(0)
        content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise RecordsError(f"{self.path} is larger than {MAX_FILE_BYTES} bytes.")
        full, _, _ = content.rpartition(b"\n")
        records: list[Record] = []
        for number, line in enumerate(full.split(b"\n") if full else [], start=1):
            record = parse_record(line)
            if record is None or record.number != number or record.previous != _last_hash(records):
                raise RecordsError(
                    f"{self.path}, line {number}: the record was changed, or one before it is missing. "
                    "Restore the file from a copy; the signed reports say which hash it had."
                )
            records.append(record)
        self._check_head(records)
        return tuple(records), len(full) + 1 if full else 0

    def _check_head(self, records: Sequence[Record]) -> None:
        """Compare the last record with the file that names it, which is written after the record."""
        try:
            head = (self.folder / HEAD).read_text("ascii").split()
        except FileNotFoundError:
            head = ["0", FIRST]
        except (OSError, UnicodeError) as error:
            raise RecordsError(f"{self.folder / HEAD} cannot be read.") from error
        last = [str(len(records)), _last_hash(records)]
        before = [str(len(records) - 1), _last_hash(records[:-1])]
        if head not in (last, before):
            raise RecordsError(
                f"{self.path} does not end with the record that {HEAD} names: it was changed, or records "
                "were removed. Restore both files from a copy."
            )


def _last_hash(records: Sequence[Record]) -> str:
    return records[-1].sha256() if records else FIRST


def read_limited(path: Path, max_bytes: int) -> bytes:
    """Read a file of at most so many bytes. Raises CommandFailed."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise CommandFailed(f"{path} is larger than {max_bytes // 1024**2} MB.")
    return content


def read_file(path: Path) -> tuple[str, bytes]:
    """Read a file that is handed in as evidence: its name and content. Raises CommandFailed."""
    if not path.is_file():
        raise RecordsError(f"{path} is not a file, or does not exist.")
    return path.name, read_limited(path, MAX_EVIDENCE_BYTES)


@contextmanager
def _locked(file: BinaryIO, mode: int) -> Iterator[None]:
    """Hold a lock on the file, shared or exclusive. Raises RecordsError after LOCK_SECONDS."""
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise RecordsError(f"{file.name} is locked by another process. Try again.") from error
            time.sleep(0.02)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
