"""Keyed digests: they show whether a personal value is the same, and without the key do not give it back.

A digest of a phone without a key is found by trying all phones, which takes seconds.
"""

import hmac
from collections.abc import Iterable, Mapping

from leads.domain.canonical_json import JsonValue, canonical

DIGEST_HEX_DIGITS = 16
"""64 bits: two values of one record do not collide, and only the key protects against guessing."""

PHONE = "phone"
"""The purpose of digests of phones (E.164) that are compared between records."""
ERASED_PHONE = "erased phone"
ERASED_RECORD = "erased record"
"""The purposes of what is left of an erased customer: they differ from those of digests of events."""


class Digester:
    """Computes digests, `<key id>:<16 hexadecimal digits>`, with HMAC-SHA-256 (RFC 2104).

    `keys` are 32 bytes each by key id, the current one first and the oldest one last. They are derived from
    the key ring for this purpose alone (`KeyRing.digester`).
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self._started = {key_id: hmac.new(key, digestmod="sha256") for key_id, key in keys.items()}
        """An HMAC under each key that nothing was added to: copying it costs less than starting one."""

    def digest(self, *value: JsonValue) -> str:
        """Return the digest of a value under the current key. Raises ValueError without any key."""
        return self._digest(self.key_ids[0], value)

    def digests(self, *value: JsonValue) -> list[str]:
        """Return the digest of a value under each key, the current one first."""
        return [self._digest(key_id, value) for key_id in self.key_ids]

    def matches(self, stored: object, *value: JsonValue) -> bool:
        """Whether a stored digest is that of the value; false if its key is not in the ring any more."""
        if not isinstance(stored, str):
            return False
        key_id, _, _ = stored.rpartition(":")
        return key_id in self._keys and stored == self._digest(key_id, value)

    def find_phone(self, stored: object, phones: Iterable[str]) -> str | None:
        """Return the phone whose digest is stored; None if none of them is."""
        return next((phone for phone in phones if self.matches(stored, PHONE, phone)), None)

    def restate(self, stored: str, values: Iterable[tuple[JsonValue, ...]]) -> str:
        """Return the digest under the current key if `stored` is that of one of the values, else `stored`."""
        if stored.rpartition(":")[0] == self.key_ids[0]:
            return stored
        return next((self.digest(*value) for value in values if self.matches(stored, *value)), stored)

    def identify(self, body_hash: bytes) -> bytes:
        """Return 32 bytes that identify a body.

        They are computed with the oldest key: it stays the same while keys are added, so that a body which is
        delivered again is recognised.
        """
        return hmac.digest(self._keys[self.key_ids[-1]], body_hash, "sha256")

    @property
    def key_ids(self) -> list[str]:
        """The ids of the keys, the current one first. Raises ValueError without any key."""
        if not self._keys:
            raise ValueError("digests need a key")
        return list(self._keys)

    def _digest(self, key_id: str, value: tuple[JsonValue, ...]) -> str:
        of_value = self._started[key_id].copy()
        of_value.update(canonical(list(value)).encode())
        return f"{key_id}:{of_value.hexdigest()[:DIGEST_HEX_DIGITS]}"


NO_KEYS = Digester({})
"""For what is read without comparing it with stored digests."""


def erasure_digests(digester: Digester, phones: Iterable[str], record_id: str | None) -> list[str]:
    """Return the digests, under each key, by which an erasure of a phone (E.164) or record is found."""
    digests = [digest for phone in phones for digest in digester.digests(ERASED_PHONE, phone)]
    return digests + (digester.digests(ERASED_RECORD, record_id) if record_id is not None else [])
