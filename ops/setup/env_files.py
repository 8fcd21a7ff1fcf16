"""The environment files of the services: one each, `KEY=value`, which every tool reads alike."""

import base64
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from ops.failures import CommandFailed, WrongUsage, file_reason
from ops.files import write_file
from ops.metadata.directory import parse
from ops.settings import read_variable

HANDLERS, EDGE, ENGINE, OPS = FILES = ("handlers.env", "edge.env", "engine.env", "ops.env")
TABLES = parse(Path(__file__).with_name("env_files.yaml"))
KEYS: Mapping[str, list[str]] = TABLES["keys"]
OPTIONAL: Mapping[str, list[str]] = TABLES["optional"]

UNSAFE = re.compile(r"[\s'\"$`\\#]")
"""Characters that kubectl, podman, docker, compose and systemd do not read alike."""
LOGINS = {HANDLERS: "handlers", OPS: "operators"}
"""The files with a login of their own, each with the last part of its name and of its role's."""


def new_key(key_id: str) -> str:
    """Return a new key of 32 bytes, as ENCRYPTION_KEYS and EDGE_STATE_KEYS have them."""
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


MADE: Mapping[str, Callable[[], str]] = {
    "HANDLER_SECRET": lambda: secrets.token_urlsafe(32),
    "EDGE_SECRET": lambda: secrets.token_urlsafe(32),
    "ENCRYPTION_KEYS": lambda: new_key(f"{datetime.now(UTC):%Y}a"),
    "EDGE_STATE_KEYS": lambda: new_key("k1"),
}
"""What is made anew, and is the same in every file that has it."""


@dataclass(frozen=True)
class EnvFiles:
    """The files of one folder as they were read. Their values never show in its repr."""

    folder: Path
    values: Mapping[str, Mapping[str, str]] = field(repr=False)

    def get(self, name: str, *files: str) -> str:
        """Return the value of a key in the first of these files, or of all, that has one."""
        return next(
            (found for file in files or FILES if (found := self.values.get(file, {}).get(name))), ""
        )  # fmt: skip

    def missing(self) -> list[str]:
        """Return what the files lack, as `file: KEY`."""
        return [
            f"{file}: {key}" for file, keys in KEYS.items() for key in keys
            if not self.values.get(file, {}).get(key)
        ]  # fmt: skip

    def filled(self, given: Mapping[str, str], per_file: Mapping[str, Mapping[str, str]]) -> "EnvFiles":
        """Return the files with what they lack: secrets are made, the rest is `given`, or for one file.

        Nothing that a file has is changed. A secret that a stopped run wrote into one file is that of all.
        """
        made = {key: self.get(key) or make() for key, make in MADE.items()}
        of_all = {**TABLES["of_engine"], **given, **made}
        filled: dict[str, dict[str, str]] = {}
        for file, keys in KEYS.items():
            values = filled[file] = dict(self.values.get(file, {}))
            for key in (*keys, *(each for each in OPTIONAL[file] if given.get(each))):
                if not values.get(key):
                    values[key] = check_value(key, per_file.get(file, {}).get(key) or of_all.get(key, ""))
        return EnvFiles(self.folder, filled)

    def write(self, former: "EnvFiles") -> list[str]:
        """Write the files that differ from the former ones; return their names. Raises OSError."""
        changed = [file for file in FILES if self.values[file] != former.values.get(file, {})]
        for file in changed:
            lines = (f"{key}={value}\n" for key, value in self.values[file].items())
            write_file(self.folder / file, "".join(lines))
        return changed


def read_env_files(folder: Path) -> EnvFiles:
    """Read the files that are there. Raises CommandFailed for one that cannot be used."""
    values = {file: dict(_lines(folder / file)) for file in FILES if (folder / file).exists()}
    for key in MADE:
        having = [file for file in values if values[file].get(key)]
        if len({values[file][key] for file in having}) > 1:
            raise CommandFailed(
                f"{key} differs between {' and '.join(str(folder / file) for file in having)}: "
                "give them the same value, then run this again."
            )
    return EnvFiles(folder, values)


def belongs_to_another(path: Path) -> bool:
    """Whether another user can change the file, who could name their own engine in it. Raises OSError."""
    of_sudo = read_variable("SUDO_UID")
    return path.stat().st_uid not in {0, os.geteuid(), int(of_sudo) if of_sudo.isdecimal() else 0}


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text("utf-8")
        if path.stat().st_mode & 0o077:
            raise CommandFailed(f"{path} can be read by others: chmod 600 {path}")
        if belongs_to_another(path):
            raise CommandFailed(f"{path} belongs to another user: look at it, then chown it, or remove it")
    except (OSError, UnicodeError) as error:
        raise CommandFailed(f"{path} cannot be read: {file_reason(error)}.") from error
    for number, line in enumerate(text.splitlines(), 1):
        key, is_pair, value = line.partition("=")
        if not line.strip() or line.startswith("#"):
            continue
        if not is_pair or not re.fullmatch(r"\w+", key):
            raise CommandFailed(f"{path}, line {number} is not KEY=value: correct it, then run this again.")
        yield key, value


def check_value(key: str, value: str) -> str:
    """Return a value that every tool reads alike. Raises WrongUsage, which does not quote it."""
    if UNSAFE.search(value):
        raise WrongUsage(
            f"{key} has a blank, a quote or one of $ ` \\ #, which not every tool reads alike in an "
            "environment file: choose another value; in a URL write it as percent code, %23 for #."
        )
    return value


def url_of_login(owner_url: str, login: str, password: str) -> str:
    """Return the URL of the owner's database for another login."""
    parts = urlsplit(owner_url)
    host = parts.netloc.rpartition("@")[2]
    credentials = ":".join(quote(each, safe="") for each in (login, password))
    return urlunsplit(parts._replace(netloc=f"{credentials}@{host}"))


def login_of(url: str) -> tuple[str, str]:
    """Return name and password of a database URL, as PostgreSQL reads them."""
    parts = urlsplit(url)
    return unquote(parts.username or ""), unquote(parts.password or "")
