"""The position of an interrupted run. Without it the next run reads all accounts again."""

import json
import os
from pathlib import Path
from uuid import UUID

from ops.backfill_phones.accounts import FIRST_ID


class State:
    """A small file that is replaced after each batch. It is valid for one database only."""

    def __init__(self, path: Path, database: str) -> None:
        self._path = path
        self._database = database

    def load(self) -> UUID | None:
        """Return the id to continue from; None if the first pass was finished."""
        try:
            content = json.loads(self._path.read_text())
            if content["database"] != self._database:
                return FIRST_ID
            return UUID(content["from_id"]) if content["from_id"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return FIRST_ID

    def save(self, from_id: UUID | None) -> None:
        """Record that everything before `from_id` is written; None if that is all."""
        fresh = self._path.with_name(self._path.name + ".new")
        content = {"database": self._database, "from_id": str(from_id) if from_id else None}
        fresh.write_text(json.dumps(content))
        os.replace(fresh, self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
