"""`scripts/edge_spool`: what the edge keeps on disk, readable; and the way back from quarantine.

Files are what deploy/nginx/lua/pancake/spool.lua writes: `<arrival in ms>-<random>-<size>.sealed`, in it
"PE1" and a ciphertext as leads/adapters/secrets.py describes it.
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from leads.adapters.secrets import DecryptionError, KeyRing

MAGIC = b"PE1"
PURPOSE = "delivery"
LISTED = 200
Result = TypeVar("Result")


class Folder(StrEnum):
    """Where the edge keeps deliveries."""

    SPOOL = "spool"
    UNKNOWN = "unknown"
    QUARANTINE = "quarantine"


class Unreadable(Exception):
    """The file is no sealed delivery, or none that these keys open; the message says which."""


@dataclass(frozen=True)
class Spooled:
    """One delivery on disk. `body`: the bytes that were posted; times are UTC.

    `denied`: its sender was on the deny list.
    """

    name: str
    arrived_at: str
    source_ip: str
    token: str
    body: bytes
    denied: bool

    @property
    def record(self) -> str:
        """`table/id` of the record inside, or a dash where the body names none."""
        try:
            document = json.loads(self.body)
        except ValueError:
            document = None
        if not isinstance(document, dict) or "id" not in document:
            return "-"
        return f"{document.get('table_id', '?')}/{document['id']}"[:80]

    def as_document(self) -> dict[str, Any]:
        """For a person: the token by its digest alone; the body as text, or in base64 if it is none."""
        shown: dict[str, Any] = {
            "name": self.name, "arrived_at": self.arrived_at, "source_ip": self.source_ip,
            "token_sha256": hashlib.sha256(self.token.encode()).hexdigest(), "record": self.record,
            "denied": self.denied,
        }  # fmt: skip
        try:
            shown["body"] = self.body.decode()
        except UnicodeDecodeError:
            shown["body_base64"] = base64.b64encode(self.body).decode()
        return shown


class Store:
    """The three folders below EDGE_STATE_DIR, opened with the keys of EDGE_STATE_KEYS."""

    def __init__(self, state: Path, keys: KeyRing) -> None:
        self._state, self._keys = state, keys

    def names(self, folder: Folder) -> list[str]:
        """Oldest first. Raises OSError if the folder cannot be read."""
        return sorted(
            entry.name
            for entry in os.scandir(self._state / folder)
            if entry.name.endswith(".sealed") and not entry.name.startswith(".")
        )

    def read(self, folder: Folder, name: str) -> Spooled:
        """Raises Unreadable; FileNotFoundError if it is gone, handed over for instance."""
        sealed = self._path(folder, name).read_bytes()
        if not sealed.startswith(MAGIC):
            raise Unreadable("not a sealed delivery")
        try:
            kept = json.loads(self._keys.decrypt(sealed[len(MAGIC) :], PURPOSE))
            body = base64.b64decode(kept["raw"], validate=True)
        except (DecryptionError, ValueError, KeyError, IndexError) as error:
            raise Unreadable(str(error)) from error
        return Spooled(
            name, kept["arrived_at"], kept["source_ip"], kept["token"], body, kept.get("denied", False)
        )

    def release(self, name: str, *, even_denied: bool) -> bool:
        """Move one from quarantine to the spool, where the edge takes it at once; whether it was moved.

        Raises as `read`.
        """
        if self.read(Folder.QUARANTINE, name).denied and not even_denied:
            return False
        self._path(Folder.QUARANTINE, name).rename(self._path(Folder.SPOOL, name))
        return True

    def _path(self, folder: Folder, name: str) -> Path:
        return self._state / folder / Path(name).name


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Deliveries that the edge keeps on disk. Run it on the edge's machine, as root or www-data, with "
    "the edge's own environment: EDGE_STATE_KEYS, and EDGE_STATE_DIR if it is not /var/lib/pancake-edge.",
)
Where = Annotated[Folder, typer.Option(help="Which of the edge's folders.")]


@app.callback()
def main() -> None:
    """Commands of their own."""


@app.command("list")
def list_folder(
    folder: Where = Folder.QUARANTINE,
    most: Annotated[int, typer.Option(help="How many lines at the most.", min=1)] = LISTED,
) -> None:
    """A line for each delivery, oldest first: name, arrival (UTC), sender, record. No customer's data."""
    store = _store()
    names = _opened(lambda: store.names(folder))
    for name in names[:most]:
        typer.echo(f"{name}  {_line(store, folder, name)}")
    if len(names) > most:
        typer.echo(f"and {len(names) - most} more")
    if not names:
        typer.echo(f"{folder} is empty", err=True)


@app.command()
def show(name: str, folder: Where = Folder.QUARANTINE) -> None:
    """One delivery as JSON, with its body: customers' data, for your eyes alone."""
    store = _store()
    delivery = _opened(lambda: store.read(folder, name))
    typer.echo(json.dumps(delivery.as_document(), ensure_ascii=False, indent=2))


@app.command()
def release(
    names: Annotated[list[str] | None, typer.Argument(help="File names, as `list` prints them.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Everything readable but what came from denied senders.")
    ] = False,
) -> None:
    """Hand quarantined deliveries over again. Exit code 1 if one of them could not be released."""
    if bool(names) == every:
        raise typer.BadParameter("name the files, or say --all")
    store = _store()
    chosen = names or _opened(lambda: store.names(Folder.QUARANTINE))
    released = failed = 0
    for name in chosen:
        try:
            released += store.release(name, even_denied=not every)
        except (Unreadable, OSError) as error:
            failed += 1
            typer.echo(f"{name}: {error}", err=True)
    typer.echo(f"{released} released, {len(chosen) - released} kept")
    if failed:
        raise typer.Exit(1)


def _store() -> Store:
    state = Path(os.environ.get("EDGE_STATE_DIR") or "/var/lib/pancake-edge")
    keys = os.environ.get("EDGE_STATE_KEYS", "")
    if not keys:
        _fail("EDGE_STATE_KEYS is not set: give it the edge's own value")
    try:
        return Store(state, KeyRing.parse(keys))
    except ValueError as error:
        _fail(f"EDGE_STATE_KEYS: {error}")


def _opened(read: Callable[[], Result]) -> Result:
    """What `read` returns; where it cannot, a sentence and exit code 1."""
    try:
        return read()
    except (Unreadable, OSError) as error:
        _fail(str(error))


def _line(store: Store, folder: Folder, name: str) -> str:
    try:
        delivery = store.read(folder, name)
    except (Unreadable, OSError) as error:
        return f"unreadable: {error}"
    denied = "  denied" if delivery.denied else ""
    return f"{delivery.arrived_at}  {delivery.source_ip}  {delivery.record}{denied}"


def _fail(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="scripts/edge_spool")
