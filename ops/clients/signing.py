"""Sign and verify bytes with Ed25519, in a DSSE envelope.

Sources: https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md; of the key files, RFC 8410.
"""

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from leads.domain.errors import Misconfigured
from ops.files import digest_of

MAX_KEY_BYTES = 16 * 1024
MAX_ENVELOPE_BYTES = 16 * 1024 * 1024
HOW_TO_MAKE = "Make one with: openssl genpkey -algorithm ed25519 -out KEY.pem; chmod 600 KEY.pem"


class SignatureRefused(Exception):
    """An envelope is not valid, or was not signed by this key; the message says which."""


class SigningKey:
    """An Ed25519 private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = _key_id(key.public_key())

    @classmethod
    def read(cls, path: Path) -> "SigningKey":
        """Read a PEM file that is for its owner only. Raises Misconfigured, which quotes nothing of it."""
        content = _read(path)
        if path.stat().st_mode & 0o077:
            raise Misconfigured(f"{path} can be read by others: chmod 600 {path}")
        try:
            key = load_pem_private_key(content, password=None)
        except TypeError as error:
            raise Misconfigured(f"{path} has a password; it is not asked for. Give a key without.") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Misconfigured(f"{path} is not a private key in PEM. {HOW_TO_MAKE}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise Misconfigured(f"{path} is not an Ed25519 key. {HOW_TO_MAKE}")
        return cls(key)

    def envelope(self, payload_type: str, payload: bytes) -> dict[str, Any]:
        """Return the DSSE envelope of a payload, as JSON values."""
        signature = self._key.sign(_pre_authentication(payload_type, payload))
        return {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": self.key_id, "sig": base64.b64encode(signature).decode()}],
        }


class VerifyKey:
    """An Ed25519 public key."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.key_id = _key_id(key)

    @classmethod
    def read(cls, path: Path) -> "VerifyKey":
        """Read a PEM file. Raises Misconfigured."""
        how = "Make it with: openssl pkey -in KEY.pem -pubout -out PUBLIC.pem"
        try:
            key = load_pem_public_key(_read(path))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Misconfigured(f"{path} is not a public key in PEM. {how}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise Misconfigured(f"{path} is not an Ed25519 key. {how}")
        return cls(key)

    def open(self, envelope: bytes, payload_type: str) -> bytes:
        """Return the payload of an envelope that this key signed. Raises SignatureRefused."""
        try:
            document = json.loads(envelope)
            found = document["payloadType"]
            payload = base64.b64decode(document["payload"], validate=True)
            signatures = [base64.b64decode(each["sig"], validate=True) for each in document["signatures"]]
        except (ValueError, KeyError, TypeError, binascii.Error, RecursionError) as error:
            raise SignatureRefused("It is not a DSSE envelope.") from error
        if found != payload_type:
            raise SignatureRefused(f"The payload is {str(found)[:80]!r}, not {payload_type!r}.")
        if not any(self._has_signed(payload_type, payload, signature) for signature in signatures):
            raise SignatureRefused(f"It was not signed by the key {self.key_id[:12]}, or was changed.")
        return payload

    def _has_signed(self, payload_type: str, payload: bytes, signature: bytes) -> bool:
        try:
            self._key.verify(signature, _pre_authentication(payload_type, payload))
        except InvalidSignature:
            return False
        return True


def _pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed: PAE of the protocol, which keeps type and payload apart by their lengths."""
    kind = payload_type.encode()
    return b" ".join([b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(payload), payload])


def _key_id(key: Ed25519PublicKey) -> str:
    return digest_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}. {HOW_TO_MAKE}") from error
