"""The record of a merge, `leads-merge.json` in the project: our pieces, and texts to be restored."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops.failures import file_reason
from ops.metadata.pieces import Key
from ops.metadata.project.edit_error import ProjectRefused

FILE = "leads-merge.json"


@dataclass(frozen=True)
class Before:
    """The text of a file before the merge (None: no file), and the SHA-256 of it afterwards.

    A merge that was interrupted leaves the texts of two versions, so there may be two digests.
    """

    text: str | None
    digests: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """What a merge put into a project."""

    pieces: frozenset[Key] = frozenset()
    """Kind and name of our pieces, the migrations too."""

    before: Mapping[str, Before] = field(default_factory=dict)
    """By path: the files that lose or change more than our lines when our part is taken out."""

    is_permission_theirs: bool = False
    """Whether the project had the permission for sendNotifications before."""

    def text_before(self, name: str, current: str | None) -> Before | None:
        """Return the text before the merge, if no one changed the file since."""
        before = self.before.get(name)
        return before if before and digest(current) in before.digests else None


def digest(text: str | None) -> str:
    return hashlib.sha256(b"" if text is None else text.encode()).hexdigest()


def read_record(root: Path) -> Record | None:
    """Return the record of a project, or None. Raises ProjectRefused if it cannot be read."""
    path = root / FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        return Record(
            frozenset((kind, str(name)) for kind, names in content["pieces"].items() for name in names),
            {name: Before(each["text"], tuple(each["sha256"])) for name, each in content["before"].items()},
            bool(content["permission_was_there"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProjectRefused(
            f"{path} is not a record of a merge: {file_reason(error)}. Restore it from your repository."
        ) from error


def record_text(record: Record) -> str:
    """Return the record as the text of its file."""
    kinds = sorted({kind for kind, _ in record.pieces})
    content = {
        "pieces": {kind: sorted(name for of, name in record.pieces if of == kind) for kind in kinds},
        "before": {
            name: {"text": before.text, "sha256": list(before.digests)}
            for name, before in sorted(record.before.items())
        },
        "permission_was_there": record.is_permission_theirs,
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
