"""Pancake's list of sources, as rows."""

from collections.abc import Iterable, Mapping
from typing import Any

from leads.domain.body import NO_SOURCE

MAX_NAME_LENGTH = 200


def source_columns(connection_id: str, entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Parameters of sync_sources/store_sources: each source once, by id, which is text or number."""
    sources: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        source_id = str(entry.get("id") or "").strip()
        if source_id and source_id != NO_SOURCE:
            sources[source_id] = entry
    ids = sorted(sources)
    return {
        "connection_id": connection_id,
        "ids": ids,
        "names": [_text(sources[i].get("name")) for i in ids],
        "parents": [_text(sources[i].get("parent_id")) for i in ids],
        "removed": [sources[i].get("is_removed") is True for i in ids],
    }


def _text(value: object) -> str | None:
    text = "" if value is None else str(value).replace("\0", "").strip()
    return text[:MAX_NAME_LENGTH] or None
