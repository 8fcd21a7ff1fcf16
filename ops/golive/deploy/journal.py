"""The journal of the deployment: one JSON object a line, on disk before the next action begins."""

import getpass
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.failures import CommandFailed, file_reason

FILE = "deploy.jsonl"
HIDDEN = "(hidden)"
LAST_WORDS = ("verify", "confirmed", "undone")
MIN_SECRET_CHARACTERS = 6
"""A shorter value would hide parts of ordinary words."""


class JournalError(CommandFailed):
    """The journal cannot be read or written."""


@dataclass
class Journal:
    """The journal of one folder; `secrets` never get into it, wherever they stand."""

    folder: Path
    by: str
    commit: str
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def write(self, event: str, step: str, **details: Any) -> None:
        """Append an entry, and return when it is on disk. Raises JournalError."""
        entry = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, "step": step,
            "by": self.by, "login": getpass.getuser(), "host": socket.gethostname(), "commit": self.commit,
            **details,
        }  # fmt: skip
        line = self._without_secrets(json.dumps(entry, ensure_ascii=False, sort_keys=False)) + "\n"
        try:
            self._append(line.encode())
        except OSError as error:
            raise JournalError(f"{self.path} cannot be written: {file_reason(error)}") from error

    def _append(self, line: bytes) -> None:
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                file.write(b"\n")  # the machine stopped in the middle of the last entry
            file.write(line)
            file.flush()
            os.fsync(descriptor)
        if is_new:
            folder = os.open(self.folder, os.O_RDONLY)
            os.fsync(folder)  # the name of the new file is part of the folder
            os.close(folder)

    def _without_secrets(self, line: str) -> str:
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= MIN_SECRET_CHARACTERS:
                line = line.replace(json.dumps(secret, ensure_ascii=False)[1:-1], HIDDEN)
        return line

    def entries(self) -> Iterator[Mapping[str, Any]]:
        """Yield the entries, the oldest first; one that was cut off by a stop is left out.

        Raises JournalError.
        """
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise JournalError(f"{self.path} cannot be read: {file_reason(error)}") from error
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "event" in entry:
                yield entry

    def confirmation(self, step: str) -> Mapping[str, Any] | None:
        """Return by whom and when a step was confirmed; None if it was undone since."""
        entries = [
            e for e in self.entries() if e.get("step") == step and e["event"] in ("confirmed", "undone")
        ]
        return entries[-1] if entries and entries[-1]["event"] == "confirmed" else None

    def is_undone(self, step: str) -> bool:
        """Whether the last thing done to a step was its undo."""
        events = [e["event"] for e in self.entries() if e.get("step") == step and e["event"] in LAST_WORDS]
        return bool(events) and events[-1] == "undone"

    def interrupted(self) -> tuple[str, datetime] | None:
        """Return the step and the time of an action that began last and has no end."""
        open_action = None
        for entry in self.entries():
            if entry.get("event") == "begin":
                open_action = (str(entry["step"]), datetime.fromisoformat(entry["at"]))
            elif entry.get("event") == "end":
                open_action = None
        return open_action


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
