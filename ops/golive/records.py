"""What people state about the go-live: an append-only file of records, each with the hash of the one before.

A changed, removed or reordered record breaks the chain; a file beside it names the last one. Evidence files
are kept under their hash.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from ops.failures import CommandFailed
from ops.golive.record import FIRST, Evidence, Kind, Record, Statement, parse_record

FILE = "records.jsonl"
HEAD = "records.head"
EVIDENCE = "evidence"
MAX_EVIDENCE_BYTES = 64 * 1024 * 1024
MAX_EVIDENCE_FILES = 10
MAX_FILE_BYTES = 64 * 1024 * 1024
LOCK_SECONDS = 10.0

__all__ = ["FIRST", "Evidence", "Kind", "Record", "Records", "RecordsError", "Statement", "newest"]


class RecordsError(CommandFailed):
    """The records cannot be read or written, or their chain is broken."""


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
            evidence = tuple(self._keep(name, content) for name, content in files)
            with open(self.path, "a+b", opener=_private) as file, _locked(file, fcntl.LOCK_EX):
                return self._append(file, statement, evidence)
        except OSError as error:
            raise RecordsError(f"{error.filename or self.folder}: {error.strerror}") from error

    def _append(self, file: BinaryIO, statement: Statement, evidence: tuple[Evidence, ...]) -> Record:
        records, end = self._read(file)
        if statement.kind is Kind.BEGIN and newest(records, Kind.BEGIN, statement.of, statement.at):
            raise RecordsError(f"{statement.of} has begun already.")
        # What an interrupted append left behind the last full line; it was never confirmed.
        file.truncate(end)
        record = Record(len(records) + 1, statement, evidence, _last_hash(list(records)))
        file.write(record.as_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        self._write(self.folder / HEAD, f"{record.number} {record.sha256()}\n".encode())
        return record

    def _keep(self, name: str, content: bytes) -> Evidence:
        evidence = Evidence(name, hashlib.sha256(content).hexdigest(), len(content))
        kept = self.evidence_path(evidence)
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        if not kept.is_file() or kept.read_bytes() != content:
            self._write(kept, content)
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
        if hashlib.sha256(content).hexdigest() != evidence.sha256:
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

    def _check_head(self, records: list[Record]) -> None:
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
                "were removed. "
                "Restore both files from a copy."
            )

    def _write(self, path: Path, content: bytes) -> None:
        """Replace a file at once; it is on disk when this returns."""
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        with open(partial, "wb", opener=_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def newest(records: tuple[Record, ...], kind: Kind, of: str, until: datetime) -> Record | None:
    """Return the last record of that kind on `of` that holds at `until`, an aware time."""
    found = [each for each in records if each.kind is kind and each.of == of and each.holds_at <= until]
    return found[-1] if found else None


def _last_hash(records: list[Record]) -> str:
    return records[-1].sha256() if records else FIRST


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_file(path: Path) -> tuple[str, bytes]:
    """Read a file that is handed in as evidence: its name and content. Raises RecordsError."""
    try:
        if not path.is_file():
            raise RecordsError(f"{path} is not a file, or does not exist.")
        with path.open("rb") as file:
            content = file.read(MAX_EVIDENCE_BYTES + 1)
    except OSError as error:
        raise RecordsError(f"{path}: {error.strerror}") from error
    if len(content) > MAX_EVIDENCE_BYTES:
        raise RecordsError(f"{path} is larger than {MAX_EVIDENCE_BYTES // 1024 // 1024} MB.")
    return path.name, content


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
