"""The versions of a record: their order, what one changes, which phones it has.

List and webhook do not name the same fields of a version. A field that it does not name keeps its value.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from leads.domain.facts import Applied
from leads.domain.lead import PHONE_KEYS, Lead, all_phones
from leads.domain.phone import PhoneReading, read_phones

MAX_FUTURE = timedelta(hours=48)
"""How far ahead of its arrival a version may say that it was modified: more than any time zone is wrong."""
FIELDS_OF_A_NEW_TICKET = ("sources", "interested_products")
"""Together with the phones: a new value of one of them is a new request of a customer."""


def is_stale(lead: Lead, arrived_at: datetime, applied: Applied) -> bool:
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


def not_stale_part(lead: Lead, arrived_at: datetime, applied: Applied) -> Lead | None:
    """Return the lead, or what is left of a version that is stale, or None.

    Of two copies of a version, the one that arrived first may name fields that the other left out.
    """
    if not is_stale(lead, arrived_at, applied):
        return lead
    if lead.modified_on is None or lead.modified_on != applied.newest_modified_on:
        return None
    part = lead.naming(set(_new_fields(lead, applied)))
    return part if part.named_fields else None


def is_unchanged(lead: Lead, applied: Applied) -> bool:
    """Whether every mapped field that the lead names is as it was applied last."""
    if applied.outcome == "record_deleted":
        return False
    if applied.digests is None:
        return lead.modified_on is not None and lead.modified_on == applied.newest_modified_on
    return not changed_fields(lead, applied)


def changed_fields(lead: Lead, applied: Applied | None) -> tuple[str, ...]:
    """Return the fields that the lead names with another value than was applied last.

    The order of a list does not matter. A field that no version named before is a change if it has a value.
    """
    new = tuple(_new_fields(lead, applied))
    before = applied.digests if applied else None
    if not before:
        return new
    now = lead.digests()
    return tuple(
        name for name in now if name in new or (name in before and not _equal(before[name], now[name]))
    )


def with_kept_phones(lead: Lead, applied: Applied | None) -> Lead:
    """Return the lead with the phones of the keys that its body does not name, as they were applied.

    A body without any usable phone is left as it is: it keeps them all (phones_of_version). After retention
    all phones that are known again count as those of the first key.
    """
    if applied is None or not lead.typed_phones:
        return lead
    before = applied.typed_phones or {PHONE_KEYS[0]: applied.usable_phones}
    kept = {key: phones for key, phones in before.items() if phones and key not in lead.typed_phones}
    if not kept or not read_phones(lead.phones).usable:
        return lead
    typed = {**lead.typed_phones, **kept}
    return replace(lead, typed_phones=typed, phones=all_phones(typed))


def phones_of_version(read: PhoneReading, applied: Applied | None) -> PhoneReading:
    """Return the phones of a version: those applied before, corrected ones too, if it has no usable one."""
    if read.usable or applied is None:
        return read
    return _applied_phones(read, applied)


def phones_for_matching(
    lead: Lead, phones: PhoneReading, arrived_at: datetime, applied: Applied | None, *, force: bool
) -> PhoneReading:
    """Return the phones of a version, or of what is left of it if it is stale."""
    if applied is None or force or lead.is_deletion:
        return phones
    part = not_stale_part(lead, arrived_at, applied)
    return phones if part is None or part is lead else phones_of_part(part, phones, applied)


def phones_of_part(part: Lead, read: PhoneReading, applied: Applied) -> PhoneReading:
    """Return the phones of what is left of a stale version: those applied, unless it names phones at last."""
    if "phones" in part.named_fields or not applied.usable_phones:
        return read
    return _applied_phones(read, applied)


def _applied_phones(read: PhoneReading, applied: Applied) -> PhoneReading:
    return PhoneReading(
        applied.usable_phones, read.rejected, are_from_last_version=True, typed=applied.typed_phones
    )


def applied_phone_first(phones: PhoneReading, applied: Applied | None) -> PhoneReading:
    """Return the phones with the one that was applied first: it decides as long as Pancake names it."""
    if applied is None or applied.phone is None or is_phone_changed(phones, applied):
        return phones
    return replace(phones, usable=tuple(dict.fromkeys([applied.phone, *phones.usable])))


def is_phone_changed(phones: PhoneReading, applied: Applied | None) -> bool:
    """Whether the phone that the record had is no longer among those that Pancake names."""
    if applied is not None and applied.is_phone_forgotten:
        return not phones.are_from_last_version
    return applied is not None and applied.phone is not None and applied.phone not in phones.usable


def is_new_request(lead: Lead, phones: PhoneReading, applied: Applied) -> bool:
    """Whether a phone, an interested product or a source is new, so that a closed ticket needs a new one."""
    if not set(phones.usable) <= set(applied.usable_phones):
        return True
    before, now = applied.digests or {}, lead.digests()
    return any(not set(now.get(name, ())) <= set(before.get(name, ())) for name in FIELDS_OF_A_NEW_TICKET)


def with_capped_time(lead: Lead, arrived_at: datetime) -> Lead:
    """Return the lead, with the time of its arrival if it claims one that would block all later versions."""
    time = cap_future_time(lead.modified_on, arrived_at)
    return lead if time == lead.modified_on else replace(lead, modified_on=time, has_future_time=True)


def cap_future_time(modified_on: datetime | None, arrived_at: datetime) -> datetime | None:
    """Return the time of a version, which is that of its arrival if it claims one too far in the future."""
    is_possible = modified_on is None or modified_on <= arrived_at + MAX_FUTURE
    return modified_on if is_possible else arrived_at


def _arrived_after(other: datetime | None, arrived_at: datetime) -> bool:
    return other is not None and other > arrived_at


def _equal(before: str | list[str], now: str | list[str]) -> bool:
    if isinstance(before, str) or isinstance(now, str):
        return before == now
    return set(before) == set(now)


def _new_fields(lead: Lead, applied: Applied | None) -> Iterator[str]:
    before = (applied.digests if applied else None) or {}
    return (name for name, value in lead.fields().items() if value and name not in before)
