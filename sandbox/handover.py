"""Hand the logs and secrets of a sandbox over to the test run that started it, directly or by a command."""

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from ops.files import write_file

FOLDER = "SANDBOX_HANDOVER"
"""The environment variable that names a folder; without it, or if there is none, nothing is handed over."""
LOGS = ("*.log", "log", "access.json")
SECRETS = "secrets-*.json"


def hand_over_logs(directory: Path) -> None:
    """Move the logs of a directory that is about to be removed, into a folder of the same name."""
    if (folder := _folder()) is None:
        return
    found = {path for pattern in LOGS for path in directory.glob(f"**/{pattern}")}
    for path in sorted(path for path in found if path.is_file()):
        kept = folder / directory.name / path.relative_to(directory)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, kept)


def hand_over_secrets(values: Mapping[str, str]) -> None:
    """Write new secrets by name, so that they can be searched for."""
    if (folder := _folder()) is None:
        return
    name = SECRETS.replace("*", secrets.token_hex(8))
    write_file(folder / name, json.dumps(dict(values)))


def _folder() -> Path | None:
    name = os.environ.get(FOLDER)
    return Path(name) if name and Path(name).is_dir() else None
