"""Backups, and the record of what we applied last: files beside each other, one folder for all engines."""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.metadata.engine import MetadataError
from scripts.metadata.pieces import Json, Key


class Files:
    """The folder's files for one engine, told apart by its URL; readable by their owner only."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._mark = hashlib.sha256(url.encode()).hexdigest()[:12]
        self._url = url

    def back_up(self, step: str, metadata: Json) -> Path:
        """Write a backup; returns its path."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        path = self._folder / f"{moment}-{self._mark}-{step}.json"
        self._write(path, {"url": self._url, "step": step, "metadata": metadata})
        return path

    def newest_backup(self, step: str | None) -> Path:
        """The newest backup, or the one taken before that step. Raises MetadataError if there is none."""
        found = sorted(self._folder.glob(f"*Z-{self._mark}-{step or '*'}.json"))
        if not found:
            raise MetadataError(f"{self._folder} holds no backup {step or ''} of {self._url}")
        return found[-1]

    def read_backup(self, path: Path) -> Json:
        """The metadata in a backup. Raises MetadataError if it is none, or another engine's."""
        try:
            content = json.loads(path.read_text())
            url, metadata = content["url"], content["metadata"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MetadataError(f"{path} is no backup: {type(error).__name__}") from error
        if url != self._url:
            raise MetadataError(f"{path} is a backup of {url}, not of {self._url}")
        return metadata  # type: ignore[no-any-return]

    def record(self, pieces: Mapping[Key, Any]) -> None:
        """Note what of ours the engine holds after a change."""
        self._write(self._record_path, [[*key, piece] for key, piece in pieces.items()])

    def recorded(self) -> dict[Key, Any] | None:
        """What we applied last; None if nothing was, as far as this folder knows."""
        try:
            return {(kind, name): piece for kind, name, piece in json.loads(self._record_path.read_text())}
        except FileNotFoundError:
            return None

    @property
    def _record_path(self) -> Path:
        return self._folder / f"applied-{self._mark}.json"

    def _write(self, path: Path, content: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
