"""Read Pancake's list of a workspace's sources."""

from collections.abc import Iterable
from dataclasses import dataclass

from leads.domain.body import NO_SOURCE
from leads.domain.canonical_json import JsonObject
from leads.domain.visible_text import without_unseen

MAX_TEXT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Source:
    """A source of a workspace; `is_removed`: removed in Pancake."""

    id: str
    name: str | None
    parent_id: str | None
    is_removed: bool


def read_sources(entries: Iterable[JsonObject]) -> list[Source]:
    """Read each source once, ordered by id, which Pancake sends as text or number."""
    sources: dict[str, Source] = {}
    for entry in entries:
        source_id = str(entry.get("id") or "").strip()
        if source_id and source_id != NO_SOURCE:
            sources[source_id] = Source(
                id=source_id,
                name=_text(without_unseen(str(entry.get("name") or ""))),
                parent_id=_text(entry.get("parent_id")),
                is_removed=entry.get("is_removed") is True,
            )
    return [sources[source_id] for source_id in sorted(sources)]


def _text(value: object) -> str | None:
    text = "" if value is None else str(value).replace("\0", "").strip()
    return text[:MAX_TEXT_CHARACTERS] or None
