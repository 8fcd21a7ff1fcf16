"""`leads edge-spool`: show the deliveries that the edge keeps on disk, and release quarantined ones."""

import base64
import errno
import json
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from leads.adapters.secrets import DecryptionError, KeyRing
from ops.daily.erase_target import Phone, Record, Target, read_target
from ops.failures import CommandFailed, WrongUsage, fail_if, file_reason
from ops.output import (
    AsJson,
    examples,
    one_line,
    print_json,
    print_line,
    print_result,
    progress_bar,
    say,
    times,
    verb_group,
)
from ops.settings import read_operator_settings

MAGIC = b"PE1"
PURPOSE = "delivery"
POLICY = "policy.sealed"
POLICY_PURPOSE = "policy"
MAX_RECORD_LENGTH = 80
MAX_SEALED_BYTES = 768 * 1024
"""As in spool.lua: larger than any sealed delivery."""
DEFAULT_MAX_FILES = 200
DEFAULT_MAX_DAYS = 30


class Folder(StrEnum):
    SPOOL = "spool"
    UNKNOWN = "unknown"
    QUARANTINE = "quarantine"


class Unreadable(Exception):
    """The file is not a sealed delivery, or the keys do not decrypt it; the message says which."""


def read_failure(error: Unreadable | OSError) -> str:
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
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or "id" not in document:
            return "-"
        return f"{document.get('table_id', '?')}/{document['id']}"[:MAX_RECORD_LENGTH]

    def values(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}


class Spool:
    """The three folders below EDGE_STATE_DIR, and the keys of EDGE_STATE_KEYS."""

    def __init__(self, state: Path, keys: KeyRing) -> None:
        self._state, self._keys = state, keys

    def names(self, folder: Folder) -> list[str]:
        """List the file names, oldest first. Raises WrongUsage if the folder cannot be read."""
        try:
            names = os.listdir(self._state / folder)
        except OSError as error:
            raise WrongUsage(
                f"{self._state / folder} cannot be read: {file_reason(error)}. "
                "Check EDGE_STATE_DIR, and run this as root or pancake-edge."
            ) from error
        return sorted(name for name in names if name.endswith(".sealed") and not name.startswith("."))

    def read(self, folder: Folder, name: str) -> SpooledDelivery:
        """Read one delivery. Raises Unreadable; OSError if the file no longer exists (delivered)."""
        sealed = _read_untrusted(self._path(folder, name))
        if not sealed.startswith(MAGIC):
            raise Unreadable("not a sealed delivery")
        try:
            kept = json.loads(self._keys.decrypt(sealed[len(MAGIC) :], PURPOSE))
            body = base64.b64decode(kept["raw"], validate=True)
            arrived_at, source_ip, token_sha256 = kept["arrived_at"], kept["source_ip"], kept["token_sha256"]
        except (DecryptionError, ValueError, KeyError, IndexError) as error:
            raise Unreadable(str(error)) from error
        return SpooledDelivery(name, arrived_at, source_ip, token_sha256, body, kept.get("denied", False))

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
    """Return the content; empty for a link, a pipe, a folder, or a file larger than any delivery.

    What is looked at is what is read, also if another process puts something else there meanwhile.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return b""
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_SEALED_BYTES:
            return b""
        return os.read(descriptor, MAX_SEALED_BYTES)
    finally:
        os.close(descriptor)


def erase_deliveries(spool: Spool, target: Target, *, dry_run: bool) -> tuple[int, list[str]]:
    """Remove a customer's deliveries; return how many, and the names of files that cannot be read.

    A record's delivery stays if its token is of another connection; one whose token is of none is removed.
    Raises WrongUsage if a folder cannot be read.
    """
    erased, unreadable = 0, []
    connections = spool.connections() if target.record_id else {}
    wanted = str(target.connection_id)
    for folder in Folder:
        for name in spool.names(folder):
            try:
                delivery = spool.read(folder, name)
            except FileNotFoundError:
                continue
            except Unreadable:
                unreadable.append(f"{folder}/{name}")
                continue
            if target.is_of(delivery.body) and connections.get(delivery.token_sha256, wanted) == wanted:
                erased += 1
                if not dry_run:
                    spool.remove(folder, name)
    return erased, unreadable


app = verb_group(
    "Show and release deliveries kept by the edge.",
    "Run it on the edge's machine, as root or pancake-edge, with the edge's own EDGE_STATE_KEYS (purge needs "
    "none), and with EDGE_STATE_DIR if it is not /var/lib/pancake-edge.",
    examples("edge-spool list", "edge-spool release --all"),
)
Where = Annotated[Folder, typer.Option(help="Which of the edge's folders.")]


@app.command("list", epilog=examples("edge-spool list", "edge-spool list --folder spool"))
def list_folder(
    folder: Where = Folder.QUARANTINE,
    max_files: Annotated[int, typer.Option(help="Maximum number of files.", min=1)] = DEFAULT_MAX_FILES,
    as_json: AsJson = False,
) -> None:
    """List deliveries, oldest first: name, arrival (UTC), sender, record; no customer's data.

    With --json a list of objects; `error` says why a delivery is unreadable.
    """
    spool = _open_spool()
    names = spool.names(folder)
    entries = [_describe(spool, folder, name) for name in names[:max_files]]
    if as_json:
        print_json(entries)
    else:
        for entry in entries:
            print_line(one_line(f"{entry['name']}  {_line(entry)}"))
    if len(names) > max_files:
        say(f"{len(names) - max_files} more are not shown. Show them with --max-files {len(names)}.")
    if not names:
        say(f"{folder} is empty.")


@app.command(epilog=examples("edge-spool show 1778752800000-5f2c-312.sealed"))
def show(
    name: Annotated[str, typer.Argument(help="File name, as `list` prints it.")],
    folder: Where = Folder.QUARANTINE,
) -> None:
    """Print one delivery with its body as JSON. This is a customer's data: do not share it."""
    spool = _open_spool()
    try:
        delivery = spool.read(folder, name)
    except (Unreadable, OSError) as error:
        raise CommandFailed(
            f"{name} in {folder} cannot be read: {read_failure(error)}. "
            f"See the names with: leads edge-spool list --folder {folder}"
        ) from error
    shown = delivery.values("name", "arrived_at", "source_ip", "token_sha256", "record", "denied")
    try:
        shown["body"] = delivery.body.decode()
    except UnicodeDecodeError:
        shown["body_base64"] = base64.b64encode(delivery.body).decode()
    print_json(shown)


@app.command(epilog=examples("edge-spool release 1778752800000-5f2c-312.sealed", "edge-spool release --all"))
def release(
    names: Annotated[list[str] | None, typer.Argument(help="File names, as `list` prints them.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every readable delivery except those of denied senders.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Move quarantined deliveries back to the spool, which the edge delivers within a second.

    Exit code 1: one of them could not be released.
    """
    if bool(names) == every:
        raise WrongUsage("Give the file names, or --all.")
    spool = _open_spool()
    chosen = names or spool.names(Folder.QUARANTINE)
    released: list[str] = []
    failed: dict[str, str] = {}
    with progress_bar() as progress:
        for name in progress.track(chosen, description="releasing"):
            try:
                if spool.release(name, even_denied=not every):
                    released.append(name)
            except (Unreadable, OSError) as error:
                failed[name] = read_failure(error)
    for name, reason in failed.items():
        say(f"{name}: {reason}")
    kept = [name for name in chosen if name not in released]
    shown = {"released": released, "kept": kept, "errors": failed}
    print_result(shown, f"{len(released)} released, {len(kept)} kept", as_json=as_json)
    fail_if(failed)


@app.command(epilog=examples("edge-spool purge --days 30", "edge-spool purge --days 30 --dry-run"))
def purge(
    days: Annotated[int, typer.Option(help="Remove what arrived more days ago.", min=1)] = DEFAULT_MAX_DAYS,
    folder: Where = Folder.QUARANTINE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove deliveries that no operator handled in time: they are customers' data.

    It reads file names only and needs no keys. Run it daily (docs/security.md).
    Exit code 1: there is something else in the folder, or it could not be removed.
    """
    spool = _open_spool(needs_keys=False)
    limit = datetime.now(UTC) - timedelta(days=days)
    older = removed = 0
    failed: list[str] = []
    for name in spool.names(folder):
        try:
            if Spool.arrived_at(name) >= limit:
                continue
            older += 1
            if not dry_run:
                spool.remove(folder, name)
                removed += 1
        except (ValueError, OSError):
            failed.append(name)
    done = "." if dry_run else f", {removed} removed."
    print_result(
        {"removed": removed, "older": older}, f"{older} older than {days} days{done}", as_json=as_json
    )
    for name in failed:
        say(f"{name} in {folder} is no delivery of the edge, or cannot be removed. Look at it.")
    fail_if(failed)


@app.command(epilog=examples("edge-spool erase --phone -", "edge-spool erase --phone - --dry-run"))
def erase(
    phone: Phone = None,
    record: Record = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a customer's deliveries from all folders: the edge's part of `leads erase`.

    --record has the connection's id here. Exit code 1: a delivery could not be read.
    """
    target = read_target(phone, record).with_connection_id()
    erased, unreadable = erase_deliveries(_open_spool(), target, dry_run=dry_run)
    shown = {"erased": erased, "unreadable": unreadable}
    done = "." if dry_run else ", removed."
    print_result(shown, f"{times(erased, 'delivery', 'deliveries')} of the customer{done}", as_json=as_json)
    for name in unreadable:
        say(f"{name} is unreadable: it may be the customer's. Remove it, or see: leads edge-spool list")
    fail_if(unreadable)


def _open_spool(*, needs_keys: bool = True) -> Spool:
    settings = read_operator_settings(*(["EDGE_STATE_KEYS"] if needs_keys else []))
    return Spool(settings.edge_state_dir, settings.edge_state_keys)


def _describe(spool: Spool, folder: Folder, name: str) -> dict[str, Any]:
    try:
        delivery = spool.read(folder, name)
    except (Unreadable, OSError) as error:
        return {"name": name, "error": read_failure(error)}
    return delivery.values("name", "arrived_at", "source_ip", "record", "denied")


def _line(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"unreadable: {entry['error']}"
    denied = "  denied" if entry["denied"] else ""
    return f"{entry['arrived_at']}  {entry['source_ip']}  {entry['record']}{denied}"
