"""Read the configuration of a process from environment variables. `.env.example` explains each of them."""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, get_args

import psycopg
from psycopg.conninfo import conninfo_to_dict

from leads.adapters.clock import Clock
from leads.adapters.secrets import MIN_SECRET_CHARACTERS, KeyRing, matches
from leads.domain.body import read_time
from leads.domain.hosts import DEFAULT_HOSTS, is_clear_text, is_private, read_hosts

VARIABLES: Mapping[str, str] = {
    "DATABASE_URL": "the URL of Diva's database, postgresql://user:password@host:5432/database",
    "METADATA_DATABASE_URL": "the URL of the database of Hasura's metadata, in the form of DATABASE_URL",
    "ENCRYPTION_KEYS": "the keys of the handlers, the same for leads, id:base64[,id:base64]",
    "HASURA_SERVICE_TOKEN": "a JWT of role pancake_service, made by: leads token pancake_service",
    "HANDLER_SECRET": "the same value as that of Hasura, at least 32 characters",
    "EDGE_SECRET": "the same value as that of the edge, at least 32 characters",
    "HASURA_URL": "the base URL of Hasura, for example http://hasura.internal:8080",
}
"""Those that have no default, each with the value to give it."""
NEEDS = (
    "DATABASE_URL", "ENCRYPTION_KEYS", "HASURA_URL", "HASURA_SERVICE_TOKEN", "HANDLER_SECRET", "EDGE_SECRET",
)  # fmt: skip
"""Those without which the handlers do not start."""

SET_VARIABLES = """\
Set the variables in the environment, or in .env of the clone for {script}.
The file .env.example explains each of them."""

Hop = Literal["postgres", "hasura", "pancake", "edge", "handlers"]
"""To PostgreSQL, to Hasura, to Pancake's API; from Pancake to the edge, from Hasura to the handlers."""
HOPS: tuple[Hop, ...] = get_args(Hop)
TLS_MODES = frozenset({"require", "verify-ca", "verify-full"})
"""The values of libpq's sslmode with which the password is never sent without TLS."""
MAX_OVERLAP = timedelta(days=90)
"""How far ahead the end of a previous secret may be: as long as a token of `leads token` is valid."""


class SettingsError(ValueError):
    """One or more environment variables are missing or invalid; the message names them all."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems

    def report(self, script: str) -> str:
        """Return the text for the person who started the command: the problems, and where to set variables.

        `script` is the command in a clone, which reads .env.
        """
        problems = [f"  {problem}" for problem in self.problems]
        return "\n".join(["The configuration is incomplete:", *problems, SET_VARIABLES.format(script=script)])


@dataclass(frozen=True, slots=True)
class CallerSecret:
    """The present secret of a caller, and in a rotation the previous one until its end. Neither is shown."""

    current: str = field(repr=False)
    previous: str = field(default="", repr=False)
    previous_until: datetime | None = None
    """An aware time; None without a previous secret."""

    def accepts(self, given: str | None, now: datetime) -> bool:
        """Whether it is the present secret, or the previous one before its end; compares in constant time."""
        has_previous = self.previous_until is not None and now < self.previous_until
        return matches(given, (self.current, self.previous) if has_previous else (self.current,))


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that differ between installations. Secrets do not show in its repr."""

    database_url: str = field(repr=False)
    metadata_database_url: str = field(repr=False)
    hasura_url: str
    hasura_service_token: str = field(repr=False)
    handler_secret: CallerSecret
    edge_secret: CallerSecret
    key_ring: KeyRing = field(repr=False)
    pancake_api_hosts: frozenset[str] = DEFAULT_HOSTS
    clear_text: frozenset[str] = frozenset()
    """The hops on which secrets may be sent without TLS over a public network: ALLOW_CLEAR_TEXT."""

    ingest_connections: int = 2
    work_connections: int = 8
    log_level: str = "INFO"
    bind: tuple[str, int] = ("127.0.0.1", 8000)
    ops_bind: tuple[str, int] | None = None
    """The address of /readyz and /metrics; None: they are on that of the other routes."""
    forwarded_allow_ips: str = ""
    """The proxies whose X-Forwarded-* headers are believed, as uvicorn reads them; none without it."""
    version: str = "unknown"
    commit: str = "unknown"


def read_settings(environment: Mapping[str, str] | None = None, now: datetime | None = None) -> Settings:
    """Read and check the environment. Raises SettingsError, which lists every problem.

    `now`, an aware time, is the present without it.
    """
    read = Environment(VARIABLES, NEEDS, ["METADATA_DATABASE_URL"], environment)
    now = now or Clock().now()
    database_url = read.database_url("DATABASE_URL")
    settings = Settings(
        bind=read.address("BIND", "127.0.0.1:8000"),
        ops_bind=read.address("OPS_BIND") if read.text("OPS_BIND") else None,
        forwarded_allow_ips=read.text("FORWARDED_ALLOW_IPS"),
        database_url=database_url,
        metadata_database_url=read.database_url("METADATA_DATABASE_URL") or database_url,
        key_ring=read.key_ring("ENCRYPTION_KEYS"),
        hasura_url=read.base_url("HASURA_URL", "hasura"),
        hasura_service_token=read.text("HASURA_SERVICE_TOKEN"),
        handler_secret=read.caller_secret("HANDLER_SECRET", now),
        edge_secret=read.caller_secret("EDGE_SECRET", now),
        pancake_api_hosts=read.pancake_api_hosts(),
        ingest_connections=read.number("INGEST_CONNECTIONS", 2),
        work_connections=read.number("WORK_CONNECTIONS", 8),
        clear_text=read.clear_text,
        log_level=read.text("LOG_LEVEL", "INFO"),
        version=read.text("VERSION", "unknown"),
        commit=read.text("COMMIT", "unknown"),
    )
    read.raise_problems()
    return settings


class Environment:
    """Reads environment variables, and gathers what is wrong with their values, for one SettingsError.

    `described` are those without a default. Only those of them that a program `needs` or `may_have` are read.
    """

    def __init__(
        self,
        described: Mapping[str, str],
        needs: Collection[str] = (),
        may_have: Collection[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        unread = described.keys() - {*needs, *may_have}
        given = os.environ if environment is None else environment
        self._values = {name: value for name, value in given.items() if name not in unread}
        self._described = described
        self._problems = [
            f"{name} is not set: give it {described[name]}" for name in needs if not self.text(name)
        ]
        named = {word.strip() for word in self.text("ALLOW_CLEAR_TEXT").split(",")} - {""}
        self.clear_text: frozenset[str] = frozenset(named & set(HOPS))
        """The hops that ALLOW_CLEAR_TEXT allows."""
        if named - self.clear_text:
            self._problems.append(f"ALLOW_CLEAR_TEXT has names other than {', '.join(HOPS)}")

    def raise_problems(self) -> None:
        """Raise SettingsError if a value that was read is wrong, or one is missing."""
        if self._problems:
            raise SettingsError(*self._problems)

    def text(self, name: str, default: str = "") -> str:
        return self._values.get(name, default).strip()

    def number(self, name: str, default: int) -> int:
        text = self._values.get(name, str(default))
        if text.isdecimal() and 1 <= int(text) <= 100:
            return int(text)
        self._problems.append(f"{name} is not a number from 1 to 100")
        return default

    def address(self, name: str, default: str = "") -> tuple[str, int]:
        text = self._values.get(name, default).strip()
        host, _, port = text.rpartition(":")
        if host and port.isdecimal() and int(port) <= 65535:
            return host, int(port)
        self._problems.append(f"{name} is not an address and a port: {text!r}. Write it as 127.0.0.1:8000")
        return "", 0

    def database_url(self, name: str) -> str:
        """Require sslmode=require or better, or hosts of a private network."""
        url = self.text(name)
        try:
            given = conninfo_to_dict(url)
        except (psycopg.ProgrammingError, UnicodeError):
            self._add(name, "is not a PostgreSQL URL")
            return url
        mode = given.get("sslmode") or self._values.get("PGSSLMODE", "prefer")
        hosts = str(given.get("hostaddr") or given.get("host") or self._values.get("PGHOST", ""))
        # Without a host, or with a path, libpq takes a socket of this machine.
        remote = [host for host in hosts.split(",") if host and not host.startswith(("/", "@"))]
        if any("@" in host for host in remote):  # the end of a password, which libpq would quote
            self._add(name, "has an @ in the password that is not written as %40")
        is_safe = mode in TLS_MODES or all(is_private(host) for host in remote)
        if url and not is_safe and "postgres" not in self.clear_text:
            self._problems.append(
                f"{name} has a public host and no sslmode=require or better: add it,"
                f" or {_opt_out('postgres')}"
            )
        return url

    def base_url(self, name: str, hop: Hop | None = None) -> str:
        """Read a URL, without a slash at its end; for a `hop`, require https or a private host."""
        url = self.text(name)
        if url and not re.match(r"https?://[^/]", url):
            self._add(name, "is not an http or https URL")
        elif hop and url:
            self.check_clear_text(name, hop, [url])
        return url.rstrip("/")

    def check_clear_text(self, name: str, hop: Hop, urls: Iterable[str]) -> None:
        """Require https, or a host of a private network, of the URLs in a variable."""
        if hop not in self.clear_text and any(is_clear_text(url) for url in urls):
            self._problems.append(f"{name} is http to a public host: use https, or {_opt_out(hop)}")

    def pancake_api_hosts(self) -> frozenset[str]:
        """Read the hosts to which an API key may be sent; the vendor's without the variable."""
        entries = (entry.strip() for entry in self.text("PANCAKE_API_HOSTS").split(","))
        try:
            hosts = read_hosts(filter(None, entries)) or DEFAULT_HOSTS
        except ValueError as error:
            self._problems.append(
                f"PANCAKE_API_HOSTS: {error}. Give it host[:port] or, without TLS, http://host[:port]"
            )
            return frozenset()
        self.check_clear_text("PANCAKE_API_HOSTS", "pancake", hosts)
        return hosts

    def key_ring(self, name: str) -> KeyRing:
        try:
            return KeyRing.parse(self.text(name))
        except ValueError as error:
            self._add(f"{name}:", str(error))
            return KeyRing({})

    def caller_secret(self, name: str, now: datetime) -> CallerSecret:
        """Read a secret, NAME_PREVIOUS, and NAME_PREVIOUS_UNTIL: a process may start again after that."""
        current, previous = self.text(name), self.text(f"{name}_PREVIOUS")
        if any(value and len(value) < MIN_SECRET_CHARACTERS for value in (current, previous)):
            self._problems.append(f"{name} is shorter than {MIN_SECRET_CHARACTERS} characters")
        if not previous:
            return CallerSecret(current)
        until = read_time(self._values.get(f"{name}_PREVIOUS_UNTIL"))
        if until is None or until.tzinfo is None:
            self._problems.append(
                f"{name}_PREVIOUS_UNTIL is not a time with a zone: give it the end of {name}_PREVIOUS,"
                " for example 2026-03-04T12:00+07:00"
            )
            return CallerSecret(current)
        if until > now + MAX_OVERLAP:
            self._problems.append(f"{name}_PREVIOUS_UNTIL is more than {MAX_OVERLAP.days} days ahead")
        return CallerSecret(current, previous, until)

    def _add(self, name: str, problem: str) -> None:
        self._problems.append(f"{name} {problem}: give it {self._described[name.rstrip(':')]}")


def _opt_out(hop: Hop) -> str:
    return f"allow clear text with ALLOW_CLEAR_TEXT={hop}"
