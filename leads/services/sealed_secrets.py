"""Seal the secrets of connections with the key ring, each for one use, and open them for that use only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from leads.adapters.secrets import DecryptionError, KeyRing
from leads.domain.errors import SecretUnreadable

Secret = Literal["api_key", "webhook_secret", "header_secret"]
"""The kind of a secret."""

CIPHERTEXTS: Mapping[str, Secret] = {
    "api_key_encrypted": "api_key",
    "webhook_secret_encrypted": "webhook_secret",
    "previous_webhook_secret_encrypted": "webhook_secret",
    "header_secret_encrypted": "header_secret",
    "previous_header_secret_encrypted": "header_secret",
}
"""The columns of pancake_connection that hold sealed secrets."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a secret is sealed for. It opens for nothing else, wherever its ciphertext is stored.

    An API key is also sealed for the base URL of its connection: a changed URL does not get it.
    """

    kind: Secret
    connection_id: str
    base_url: str = ""

    @property
    def text(self) -> str:
        """The associated data of the encryption."""
        url = [self.base_url] if self.kind == "api_key" else []
        return json.dumps([self.kind, self.connection_id, *url])


def stored_uses(connection_id: str, base_url: str) -> list[tuple[str, Use]]:
    """Return every column of CIPHERTEXTS, and what its secret is sealed for."""
    return [(column, Use(secret, connection_id, base_url)) for column, secret in CIPHERTEXTS.items()]


def seal(ring: KeyRing, value: str, use: Use) -> bytes:
    """Encrypt a secret with the current key."""
    return ring.encrypt(value, use.text)


def open_sealed(ring: KeyRing, ciphertext: bytes, use: Use) -> str:
    """Return the secret. Raises SecretUnreadable."""
    try:
        return ring.decrypt(ciphertext, use.text)
    except DecryptionError as error:
        raise _unreadable(use, error) from error


def reseal(ring: KeyRing, ciphertext: bytes, use: Use) -> bytes:
    """Return the secret sealed with the current key: unchanged if it is. Raises SecretUnreadable."""
    try:
        value = ring.decrypt(ciphertext, use.text)
    except DecryptionError as error:
        try:
            # Before secrets were sealed for a connection, their kind was the whole use.
            return seal(ring, ring.decrypt(ciphertext, use.kind), use)
        except DecryptionError:
            raise _unreadable(use, error) from error
    return ciphertext if ring.key_id(ciphertext) == ring.current else seal(ring, value, use)


def _unreadable(use: Use, error: DecryptionError) -> SecretUnreadable:
    url = " and the base URL" if use.kind == "api_key" else ""
    return SecretUnreadable(
        f"The {use.kind} of connection {use.connection_id} cannot be opened: {error}. "
        f"Check ENCRYPTION_KEYS{url}."
    )
