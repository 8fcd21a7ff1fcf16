"""Backups and the record of what was applied last, in one folder for all engines."""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.failures import file_reason
from ops.metadata.engine import MetadataError
from ops.metadata.pieces import Json, Key


class Files:
    """The files of one engine, with a hash of its URL in their names; only their owner may read them."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._engine_hash = hashlib.sha256(url.encode()).hexdigest()[:12]
        self._url = url

    def back_up(self, step: str, metadata: Json) -> Path:
        """Write a backup; return its path."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        path = self._folder / f"{moment}-{self._engine_hash}-{step}.json"
        self._write(path, {"url": self._url, "step": step, "metadata": metadata})
        return path

    def newest_backup(self, step: str | None) -> Path:
        """Find the newest backup, or the newest from before that step. Raises MetadataError."""
        found = sorted(self._folder.glob(f"*Z-{self._engine_hash}-{step or '*'}.json"))
        if not found:
            raise MetadataError(
                f"{self._folder} has no backup {f'of step {step} ' if step else ''}of {self._url}. "
                "Give one with --backup."
            )
        return found[-1]

    def read_backup(self, path: Path) -> Json:
        """Return the metadata in a backup. Raises MetadataError for another file or engine."""
        try:
            content = json.loads(path.read_text())
            url, metadata = content["url"], content["metadata"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MetadataError(
                f"{path} is not a backup: {file_reason(error)}. Give another with --backup."
            ) from error
        if url != self._url:
            raise MetadataError(
                f"{path} is a backup of {url}, not of {self._url}. Give another with --backup."
            )
        return metadata  # type: ignore[no-any-return]

    def record(self, pieces: Mapping[Key, Any]) -> None:
        """Record our pieces that the engine holds after a change."""
        self._write(self._record_path, [[*key, piece] for key, piece in pieces.items()])

    def recorded(self) -> dict[Key, Any] | None:
        """Return the pieces that were applied last; None if this folder has no record."""
        try:
            return {(kind, name): piece for kind, name, piece in json.loads(self._record_path.read_text())}
        except FileNotFoundError:
            return None

    @property
    def _record_path(self) -> Path:
        return self._folder / f"applied-{self._engine_hash}.json"

    def _write(self, path: Path, content: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
