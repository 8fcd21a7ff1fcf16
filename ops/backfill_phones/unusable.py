"""A CSV file of the accounts with an unusable phone, for correction. Only its owner may read it."""

import csv
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.backfill_phones.accounts import Account
from ops.backfill_phones.parsing import Reading

MAX_AGE = timedelta(days=30)
"""How long the file of an earlier run is kept: it holds customers' phones (docs/privacy.md)."""


def remove_old_file(path: Path, now: datetime) -> bool:
    """Remove the file of a run that ended more than MAX_AGE ago; return whether there was one."""
    if not path.exists() or datetime.fromtimestamp(path.stat().st_mtime, UTC) > now - MAX_AGE:
        return False
    path.unlink()
    return True


class UnusableFile:
    """Context manager: the file at `path` is replaced when the block ends without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fresh = path.with_name(path.name + ".new")

    def add(self, accounts: Iterable[Account], readings: Iterable[Reading]) -> None:
        for account, (phone, reason) in zip(accounts, readings, strict=True):
            if phone is None:
                self._rows.writerow([account.id, account.phone_code, account.phone_number, reason])

    def __enter__(self) -> Self:
        descriptor = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(["account_id", "phone_code", "phone_number", "reason"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._fresh, self._path)
        else:
            self._fresh.unlink()
