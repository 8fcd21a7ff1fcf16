"""The versions of a record: their order, what one changes, which part of it and which phones count.

List and webhook do not name the same fields of a version. A field that it does not name keeps its value.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from leads.domain.canonical_json import JsonValue
from leads.domain.fields import FIELDS, PHONE_KEYS, FieldName
from leads.domain.lead import Digests, Lead, TypedPhones, all_phones, read_typed_phones
from leads.domain.phone import PhoneReading, read_phones

MAX_FUTURE = timedelta(hours=48)
"""How far ahead of its arrival a version may say that it was modified: more than any time zone is wrong."""


@dataclass(frozen=True, slots=True)
class LastApplied:
    """What was applied of a record before this version.

    The times are those of all its applied versions: `newest_modified_on` is the newest, `newest_arrived_at`
    when that one arrived; `untimed_arrived_at` is the newest arrival of a version without a time, and
    `last_arrived_at` that of any version. Everything else is of the version that was applied last.
    `digests` are those of every mapped field that a version has named so far. `typed_phones` are the phones
    of each key that a version has named; retention empties them.

    After retention a phone is known again if the lead or its customer in Diva has one with its digest;
    `is_phone_forgotten` says that `phone` is not. `phone_digests` are as they are stored.
    """

    newest_modified_on: datetime | None
    newest_arrived_at: datetime | None
    untimed_arrived_at: datetime | None
    last_arrived_at: datetime
    had_future_time: bool
    outcome: str
    digests: Digests | None
    ticket_id: str | None
    account_id: str | None
    phone: str | None
    usable_phones: tuple[str, ...]
    typed_phones: TypedPhones = field(default_factory=dict, hash=False)
    phone_digests: Mapping[str, JsonValue] | None = None
    is_phone_forgotten: bool = False


def with_capped_time(lead: Lead, arrived_at: datetime) -> Lead:
    """Return the lead; if it claims a time in the far future, with the time of its arrival instead."""
    time = cap_future_time(lead.modified_on, arrived_at)
    return lead if time == lead.modified_on else replace(lead, modified_on=time, has_future_time=True)


def cap_future_time(modified_on: datetime | None, arrived_at: datetime) -> datetime | None:
    """Return a version's time, or that of its arrival: one in the far future would block later versions."""
    is_possible = modified_on is None or modified_on <= arrived_at + MAX_FUTURE
    return modified_on if is_possible else arrived_at


@dataclass(frozen=True, slots=True)
class VersionPart:
    """What counts of a version: the lead as it is applied, with the phones that find its customer.

    `is_stale`: nothing counts, since a newer version was applied; the lead is then the whole version.
    """

    lead: Lead
    phones: PhoneReading
    is_stale: bool = False


def part_to_apply(
    lead: Lead,
    read: PhoneReading,
    arrived_at: datetime,
    applied: LastApplied | None,
    *,
    is_corrected: bool = False,
    force: bool = False,
) -> VersionPart:
    """Return what counts of a version; `read` are its phones, or the one that a person corrected.

    Phones of keys that it does not name stay. Without a usable phone it has those applied last, corrected
    ones too. Of two copies of a version, the one that arrived first may name fields that the other left out:
    these count though it is stale. Phones of a partly stale version: its own if it names phones for the first
    time, else those applied last.
    """
    if applied is None:
        return VersionPart(lead, read)
    if not is_corrected and (whole := _with_kept_phones(lead, applied)):
        lead, read = whole, read_typed_phones(whole.typed_phones)
    phones = read if read.usable else _phones_applied(read, applied)
    if phones.are_from_last_version:
        lead = lead.naming(lead.values.keys() - {"phones"})
    if force or not is_older_than_applied(lead, arrived_at, applied):
        return VersionPart(lead, phones)
    part = lead.naming(set(_new_fields(lead, applied)))
    is_copy = lead.modified_on is not None and lead.modified_on == applied.newest_modified_on
    if lead.is_deletion or not is_copy or not part.values:
        return VersionPart(lead, phones, is_stale=True)
    if "phones" not in part.values and applied.usable_phones:
        phones = _phones_applied(read, applied)
    return VersionPart(part, phones)


def _with_kept_phones(lead: Lead, applied: LastApplied) -> Lead | None:
    """Return the lead with the phones of the keys that its body does not name, as they were applied.

    None if there are none, or if the body has no usable phone: then it keeps them all. After retention all
    phones that are known again count as those of the first key.
    """
    if not lead.typed_phones:
        return None
    before = applied.typed_phones or {PHONE_KEYS[0]: applied.usable_phones}
    kept = {key: phones for key, phones in before.items() if phones and key not in lead.typed_phones}
    if not kept or not read_phones(lead.phones).usable:
        return None
    typed = {**lead.typed_phones, **kept}
    return replace(lead, typed_phones=typed, values={**lead.values, "phones": all_phones(typed)})


def _phones_applied(read: PhoneReading, applied: LastApplied) -> PhoneReading:
    return PhoneReading(
        applied.usable_phones, read.rejected, are_from_last_version=True, typed=applied.typed_phones
    )


def is_older_than_applied(lead: Lead, arrived_at: datetime, applied: LastApplied) -> bool:
    """Whether a version is older than one that was applied.

    Two versions with a time are ordered by it. Versions of equal or no time are ordered by their arrival.
    """
    time, newest = lead.modified_on, applied.newest_modified_on
    if time is None:
        return applied.last_arrived_at > arrived_at
    if newest is not None and newest > time:
        return True
    if _arrived_after(applied.untimed_arrived_at, arrived_at):
        return True
    return newest == time and _arrived_after(applied.newest_arrived_at, arrived_at)


def _arrived_after(other: datetime | None, arrived_at: datetime) -> bool:
    return other is not None and other > arrived_at


def _new_fields(lead: Lead, applied: LastApplied | None) -> Iterator[FieldName]:
    before = (applied.digests if applied else None) or {}
    return (name for name, value in lead.values.items() if value and name not in before)


def applied_phone_first(phones: PhoneReading, applied: LastApplied | None) -> PhoneReading:
    """Return the phones, the one applied last before all: it decides as long as Pancake names it."""
    if applied is None or applied.phone is None or is_phone_changed(phones, applied):
        return phones
    return replace(phones, usable=tuple(dict.fromkeys([applied.phone, *phones.usable])))


def is_phone_changed(phones: PhoneReading, applied: LastApplied | None) -> bool:
    """Whether the phone that the record had is no longer among those that Pancake names."""
    if applied is not None and applied.is_phone_forgotten:
        return not phones.are_from_last_version
    return applied is not None and applied.phone is not None and applied.phone not in phones.usable


def is_unchanged(lead: Lead, applied: LastApplied) -> bool:
    """Whether every mapped field that the lead names is as it was applied last."""
    if applied.outcome == "record_deleted":
        return False
    if applied.digests is None:
        return lead.modified_on is not None and lead.modified_on == applied.newest_modified_on
    return not changed_fields(lead, applied)


def changed_fields(lead: Lead, applied: LastApplied | None) -> tuple[FieldName, ...]:
    """Return the fields that the lead names with another value than was applied last.

    The order of a list does not matter. A field that no version named before is a change if it has a value.
    """
    new = tuple(_new_fields(lead, applied))
    before = applied.digests if applied else None
    if not before:
        return new
    now = lead.digests()
    return tuple(
        name
        for name in lead.values
        if name in new or (name in before and not _equal(before[name], now[name]))
    )


def new_items(lead: Lead, applied: LastApplied | None, name: FieldName) -> tuple[str, ...]:
    """Return the items (the text) of a field other than phones that the version applied last did not have."""
    text, stored = lead.text(name), ((applied.digests if applied else None) or {}).get(name)
    items, before = (text,) if text else lead.items(name), [stored] if isinstance(stored, str) else stored
    digest = lead.digester.digest
    return tuple(item for item in items if not before or digest(lead.record_id, name, item) not in before)


def _equal(before: str | list[str], now: str | list[str]) -> bool:
    if isinstance(before, str) or isinstance(now, str):
        return before == now
    return set(before) == set(now)


def is_new_request(lead: Lead, phones: PhoneReading, applied: LastApplied) -> bool:
    """Whether a phone, an interested product or a source is new, so that a closed ticket needs a new one."""
    if not set(phones.usable) <= set(applied.usable_phones):
        return True
    return any(field.opens_ticket and new_items(lead, applied, name) for name, field in FIELDS.items())
