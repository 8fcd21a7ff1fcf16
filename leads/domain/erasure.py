"""What is left of an erased customer: keyed digests of phones and records."""

from collections.abc import Iterable

from leads.domain.digest import Digester

ERASED_PHONE = "erased phone"
ERASED_RECORD = "erased record"
"""The purposes of these digests: they cannot be compared with those of events."""


def erasure_digests(digester: Digester, phones: Iterable[str], record_id: str | None) -> list[str]:
    """Return the digests, under each key, by which an erasure of a phone (E.164) or record is found."""
    digests = [digest for phone in phones for digest in digester.digests(ERASED_PHONE, phone)]
    return digests + (digester.digests(ERASED_RECORD, record_id) if record_id is not None else [])
