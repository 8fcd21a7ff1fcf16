"""Read, release and remove the deliveries that the edge keeps on disk.

The files are written by deploy/nginx/lua/pancake/spool.lua: `<arrival in ms>-<random>-<size>.sealed`, with
"PE1" and a ciphertext as leads/adapters/secrets.py describes it.
"""

import base64
import hashlib
import json
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from leads.adapters.secrets import DecryptionError, KeyRing
from ops.failures import WrongUsage, file_reason

MAGIC = b"PE1"
PURPOSE = "delivery"
POLICY = "policy.sealed"
POLICY_PURPOSE = "policy"
MAX_RECORD_LENGTH = 80
MAX_SEALED_BYTES = 768 * 1024
"""As in spool.lua: larger than any sealed delivery."""


class Folder(StrEnum):
    """The edge's folders of deliveries."""

    SPOOL = "spool"
    UNKNOWN = "unknown"
    QUARANTINE = "quarantine"


class Unreadable(Exception):
    """The file is not a sealed delivery, or the keys do not decrypt it; the message says which."""


def read_failure(error: Unreadable | OSError) -> str:
    """Say why a delivery could not be read or moved."""
    return str(error) if isinstance(error, Unreadable) else file_reason(error)


@dataclass(frozen=True)
class SpooledDelivery:
    """One delivery on disk. `body`: the bytes that were posted; times are UTC.

    `denied`: its sender was on the deny list.
    """

    name: str
    arrived_at: str
    source_ip: str
    token_sha256: str
    body: bytes
    denied: bool

    @property
    def record(self) -> str:
        """Return `table/id` of the record in the body, or a dash."""
        try:
            document = json.loads(self.body)
        except ValueError:
            document = None
        if not isinstance(document, dict) or "id" not in document:
            return "-"
        return f"{document.get('table_id', '?')}/{document['id']}"[:MAX_RECORD_LENGTH]

    def as_document(self) -> dict[str, Any]:
        """Return what `show` prints: the body as text, or else in base64."""
        shown: dict[str, Any] = {
            "name": self.name, "arrived_at": self.arrived_at, "source_ip": self.source_ip,
            "token_sha256": self.token_sha256, "record": self.record, "denied": self.denied,
        }  # fmt: skip
        try:
            shown["body"] = self.body.decode()
        except UnicodeDecodeError:
            shown["body_base64"] = base64.b64encode(self.body).decode()
        return shown


class Spool:
    """The three folders below EDGE_STATE_DIR, and the keys of EDGE_STATE_KEYS."""

    def __init__(self, state: Path, keys: KeyRing) -> None:
        self._state, self._keys = state, keys

    def names(self, folder: Folder) -> list[str]:
        """List the file names, oldest first. Raises WrongUsage if the folder cannot be read."""
        try:
            return sorted(
                entry.name
                for entry in os.scandir(self._state / folder)
                if entry.name.endswith(".sealed") and not entry.name.startswith(".")
            )
        except OSError as error:
            raise WrongUsage(
                f"{self._state / folder} cannot be read: {file_reason(error)}. "
                "Check EDGE_STATE_DIR, and run this as root or pancake-edge."
            ) from error

    def read(self, folder: Folder, name: str) -> SpooledDelivery:
        """Read one delivery. Raises Unreadable; OSError if the file no longer exists (delivered)."""
        sealed = _read_untrusted(self._path(folder, name))
        if not sealed.startswith(MAGIC):
            raise Unreadable("not a sealed delivery")
        try:
            kept = json.loads(self._keys.decrypt(sealed[len(MAGIC) :], PURPOSE))
            body = base64.b64decode(kept["raw"], validate=True)
        except (DecryptionError, ValueError, KeyError, IndexError) as error:
            raise Unreadable(str(error)) from error
        return SpooledDelivery(
            name, kept["arrived_at"], kept["source_ip"], _token_sha256(kept), body, kept.get("denied", False)
        )

    def connections(self) -> dict[str, str]:
        """Return the SHA-256 of each token in the edge's policy, and the id of its connection.

        It is empty if there is no policy yet, or none that the keys decrypt.
        """
        try:
            sealed = _read_untrusted(self._state / POLICY)
            policy = json.loads(self._keys.decrypt(sealed.removeprefix(MAGIC), POLICY_PURPOSE))
            return {
                token["sha256"]: connection["id"]
                for connection in policy["connections"]
                for token in connection["token_sha256"]
            }
        except (OSError, DecryptionError, ValueError, KeyError, IndexError, TypeError):
            return {}

    def release(self, name: str, *, even_denied: bool) -> bool:
        """Move one delivery from quarantine to the spool, which the edge delivers at once.

        Return whether it was moved: a delivery of a denied sender is moved only if `even_denied`. Raises what
        `read` raises.
        """
        if self.read(Folder.QUARANTINE, name).denied and not even_denied:
            return False
        self._path(Folder.QUARANTINE, name).rename(self._path(Folder.SPOOL, name))
        return True

    def remove(self, folder: Folder, name: str) -> None:
        """Remove one delivery. A file that no longer exists (delivered) is no error."""
        self._path(folder, name).unlink(missing_ok=True)

    @staticmethod
    def arrived_at(name: str) -> datetime:
        """Return the time of arrival in a file name. Raises ValueError if it is not one of the edge's."""
        try:
            return datetime.fromtimestamp(int(name.partition("-")[0]) / 1000, UTC)
        except (OverflowError, OSError) as error:
            raise ValueError(str(error)) from error

    def _path(self, folder: Folder, name: str) -> Path:
        return self._state / folder / Path(name).name


def _read_untrusted(path: Path) -> bytes:
    """Return the content; empty for a link, a pipe, a folder, or a file larger than any delivery."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_SEALED_BYTES:
        return b""
    return path.read_bytes()


def _token_sha256(kept: dict[str, str]) -> str:
    """Return the digest of the token. Earlier builds stored the token itself."""
    return kept.get("token_sha256") or hashlib.sha256(kept["token"].encode()).hexdigest()
