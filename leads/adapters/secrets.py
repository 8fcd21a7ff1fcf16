"""Secrets at rest: AES-256-GCM with a key ring, each sealed for one use. Comparison in constant time."""

import base64
import binascii
import hmac
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from leads.domain.digest import Digester
from leads.domain.errors import SecretUnreadable

HEADER_NAME = "X-Pancake-Secret"
"""The request header with the shared secret; the admin enters it in Pancake's form "Request Headers"."""
NONCE_BYTES = 12
DIGESTS = b"digests of personal data"
"""The purpose for which the keys of digests are derived from those that seal."""
MIN_SECRET_CHARACTERS = 32
"""Of a secret that a person or a program chooses: 32 hexadecimal digits are 128 random bits."""

Secret = Literal["api_key", "webhook_secret", "header_secret"]
"""The kind of a secret."""


class DecryptionError(ValueError):
    """The ciphertext was sealed with another key or for another use, or was changed. Names the key's id."""


class KeyRing:
    """The current key, first, and previous ones that can still decrypt. A key is 32 bytes with an id.

    Ciphertext: one byte with the length of the key id, the key id, a nonce of 12 bytes, AES-GCM output.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        """Read `id:base64[,id:base64…]`. Raises ValueError without quoting any key."""
        keys: dict[str, bytes] = {}
        for position, item in enumerate(filter(None, text.split(",")), start=1):
            key_id, _, encoded = item.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error as error:
                raise ValueError(f"key {position} is not base64") from error
            if not key_id or len(key_id.encode()) > 255 or len(key) != 32:
                raise ValueError(f"key {position} is not an id with 32 bytes in base64")
            if key_id in keys:
                raise ValueError(f"key {position} has the id of an earlier key")
            keys[key_id] = key
        return cls(keys)

    @property
    def is_empty(self) -> bool:
        return not self._keys

    @property
    def current(self) -> str:
        """Return the id of the key that encrypts. Raises ValueError if the ring is empty."""
        if not self._keys:
            raise ValueError("the key ring is empty")
        return next(iter(self._keys))

    def encrypt(self, plaintext: str, use: str) -> bytes:
        """Encrypt with the current key; decryption needs the same `use` (AES-GCM's associated data)."""
        key_id = self.current.encode()
        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(self._keys[self.current]).encrypt(nonce, plaintext.encode(), use.encode())
        return bytes([len(key_id)]) + key_id + nonce + sealed

    def decrypt(self, ciphertext: bytes, use: str) -> str:
        """Return the plaintext. Raises DecryptionError."""
        rest = ciphertext[1 + ciphertext[0] :] if ciphertext else b""
        key_id = self.key_id(ciphertext)
        key = self._keys.get(key_id)
        if key is None:
            raise DecryptionError(f"key {key_id!r} is not in the key ring")
        try:
            return AESGCM(key).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], use.encode()).decode()
        except (InvalidTag, ValueError) as error:
            # AES-GCM does not tell which of these it is.
            raise DecryptionError(
                f"it was not sealed for this use, or key {key_id!r} of the key ring is another one"
            ) from error

    def digester(self) -> Digester:
        """Return what computes digests, with a key derived from each of the ring (HKDF, RFC 5869)."""
        return Digester({key_id: _derive(key) for key_id, key in self._keys.items()})

    @staticmethod
    def key_id(ciphertext: bytes) -> str:
        """Return the id of the key that a ciphertext was encrypted with."""
        return ciphertext[1 : 1 + ciphertext[0]].decode(errors="replace") if ciphertext else ""


def _derive(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=DIGESTS).derive(key)


@dataclass(frozen=True, slots=True)
class SecretScope:
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


def open_sealed(ring: KeyRing, ciphertext: bytes, scope: SecretScope) -> str:
    """Return the secret. Raises SecretUnreadable."""
    try:
        return ring.decrypt(ciphertext, scope.text)
    except DecryptionError as error:
        url = " and the base URL" if scope.kind == "api_key" else ""
        raise SecretUnreadable(
            f"The {scope.kind} of connection {scope.connection_id} cannot be opened: {error}. "
            f"Check ENCRYPTION_KEYS{url}."
        ) from error


def matches(given: str | None, secrets: Iterable[str]) -> bool:
    """Whether the given secret is one of `secrets`; compares in constant time."""
    candidate = (given or "").encode()
    found = False
    for secret in secrets:
        found |= hmac.compare_digest(candidate, secret.encode())
    return found
