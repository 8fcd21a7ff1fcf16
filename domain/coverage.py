"""What of a listed day or page we already hold, by identity and version, and where each record stands.

A listed version is covered if we hold a row of that record that is not older. The payload hash plays no part:
the bodies of webhook and list differ in keys for one and the same version.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from domain.window import Version


@dataclass(frozen=True, slots=True)
class Held:
    """A version that stands in our table, with its state there."""

    version: Version
    status: str
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where every listed record stands with us; each list holds record ids, `rejected` also the reason."""

    processed: tuple[str, ...]
    held: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...]
    pending: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def closed(self) -> bool:
        """Whether nothing is left to wait for: every listed id is processed, held or rejected."""
        return not self.pending and not self.missing


def truncated(moment: datetime) -> datetime:
    """To the millisecond, in UTC: webhook and list do not always write the same precision."""
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def covers(held: Version, listed: Version) -> bool:
    """Whether a version we hold makes fetching the listed one needless: same record, and not older.

    If either has no time, the mapped fields decide.
    """
    if held.record_id != listed.record_id:
        return False
    if held.modified_on is None or listed.modified_on is None:
        return same_fields(held.mapped, listed.mapped)
    return truncated(held.modified_on) >= truncated(listed.modified_on)


def same_fields(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two bodies say the same about every mapped field that both mention, and share one at least."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[field] == other[field] for field in shared)


def uncovered(listed: Iterable[Version], held: Iterable[Version]) -> list[Version]:
    """The listed versions that nothing we hold covers, in the order of the list."""
    ours: dict[str, list[Version]] = {}
    for version in held:
        ours.setdefault(version.record_id, []).append(version)
    return [v for v in listed if not any(covers(h, v) for h in ours.get(v.record_id, ()))]


def standing(held: Iterable[Held]) -> str:
    """The word for a record by its covering rows: `missing` without any, else the best of them.

    A row that was processed settles the record even if another version of it waits or was refused.
    """
    states = {row.status for row in held}
    for status, word in (("processed", "processed"), ("received", "pending"), ("ingested", "pending")):
        if status in states:
            return word
    if "failed" in states:
        return "pending"
    if states & {"skipped_kill_switch", "skipped_source_disabled"}:
        return "held"
    return "rejected" if states else "missing"


def reckon(listed: Iterable[Version], rows: Iterable[Held]) -> Ledger:
    """The ledger of a day: for each listed id the word that its covering rows deserve."""
    ours: dict[str, list[Held]] = {}
    for row in rows:
        ours.setdefault(row.version.record_id, []).append(row)
    words: dict[str, list[str]] = {}
    rejected: list[tuple[str, str]] = []
    for version in listed:
        covering = [row for row in ours.get(version.record_id, ()) if covers(row.version, version)]
        word = standing(covering)
        words.setdefault(word, []).append(version.record_id)
        if word == "rejected":
            rejected.append((version.record_id, covering[-1].error_code or "unknown"))
    names = {word: tuple(sorted(set(ids))) for word, ids in words.items()}
    return Ledger(
        processed=names.get("processed", ()),
        held=names.get("held", ()),
        rejected=tuple(sorted(set(rejected))),
        pending=names.get("pending", ()),
        missing=names.get("missing", ()),
    )
