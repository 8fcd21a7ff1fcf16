"""Read the configuration of a process from environment variables. `.env.example` explains each of them."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from leads.adapters.caller_secret import CallerSecret, read_caller_secret
from leads.adapters.clear_text import ClearText, Hop
from leads.adapters.clock import Clock
from leads.adapters.secrets import KeyRing
from leads.adapters.url_variables import is_http, read_base_url
from leads.adapters.variables import VARIABLES
from leads.domain.base_url import DEFAULT_HOSTS, read_hosts

SET_VARIABLES = """\
Set the variables in the environment, or in .env of the clone for {script}.
The file .env.example explains each of them."""


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
    ops_port: int | None = None
    """The port of /readyz and /metrics; None: they are on the port of the other routes."""
    version: str = "unknown"
    commit: str = "unknown"


def read_settings(environment: Mapping[str, str] = os.environ, now: datetime | None = None) -> Settings:
    """Read and check the environment. Raises SettingsError, which lists every problem.

    `now`, an aware time, is the present without it.
    """
    problems: list[str] = []

    def required(name: str) -> str:
        value = environment.get(name, "").strip()
        if not value:
            problems.append(f"{name} is not set: give it {VARIABLES[name]}")
        return value

    def number(name: str, default: int) -> int:
        text = environment.get(name, str(default))
        if not text.isdecimal() or not 1 <= int(text) <= 100:
            problems.append(f"{name} is not a number from 1 to 100")
            return default
        return int(text)

    def caller_secret(name: str) -> CallerSecret:
        return read_caller_secret(name, required(name), environment, now or Clock().now(), problems)

    database_url = required("DATABASE_URL")
    metadata_database_url = environment.get("METADATA_DATABASE_URL", "").strip() or database_url
    clear_text = ClearText(environment, problems)
    _check_database_url("DATABASE_URL", database_url, clear_text, problems)
    if metadata_database_url != database_url:
        _check_database_url("METADATA_DATABASE_URL", metadata_database_url, clear_text, problems)
    key_ring = KeyRing({})
    try:
        key_ring = KeyRing.parse(required("ENCRYPTION_KEYS"))
    except ValueError as error:
        problems.append(f"ENCRYPTION_KEYS: {error}")
    ops_bind = None
    try:
        ops_bind = read_ops_bind(environment)
    except SettingsError as error:
        problems += error.problems
    settings = Settings(
        database_url=database_url,
        metadata_database_url=metadata_database_url,
        hasura_url=read_base_url("HASURA_URL", required("HASURA_URL"), problems),
        hasura_service_token=required("HASURA_SERVICE_TOKEN"),
        handler_secret=caller_secret("HANDLER_SECRET"),
        edge_secret=caller_secret("EDGE_SECRET"),
        key_ring=key_ring,
        pancake_api_hosts=_allowed_hosts(environment, problems),
        ingest_connections=number("INGEST_CONNECTIONS", 2),
        work_connections=number("WORK_CONNECTIONS", 8),
        clear_text=clear_text.allowed,
        log_level=environment.get("LOG_LEVEL", "INFO"),
        ops_port=ops_bind[1] if ops_bind else None,
        version=environment.get("VERSION", "unknown"),
        commit=environment.get("COMMIT", "unknown"),
    )
    _check_urls(clear_text, settings.hasura_url, settings.pancake_api_hosts)
    if problems:
        raise SettingsError(*problems)
    return settings


# What the operators' command `leads` reads.


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The variables that one verb needs; the others are empty. Secrets never show in its repr."""

    database_url: str = field(repr=False)
    key_ring: KeyRing = field(repr=False)
    hasura_url: str
    hasura_admin_secret: str = field(repr=False)
    hasura_other_admin_secret: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    edge_state_keys: KeyRing = field(repr=False)
    edge_state_dir: Path
    pancake_api_hosts: frozenset[str]
    public_url: str
    handlers_url: str
    handler_secret: str = field(repr=False)
    edge_status_url: str
    alertmanager_url: str
    hasura_service_token: str = field(repr=False)
    prometheus_url: str = field(repr=False)
    """It may hold a user and a password."""
    commit: str
    """The commit that is installed; empty if it is unknown."""


def read_operator_settings(
    *needs: str, may_have: Collection[str] = (), environment: Mapping[str, str] = os.environ
) -> OperatorSettings:
    """Read and check the variables that a verb names; those that it `may_have` are empty if not set.

    Raises SettingsError that lists every problem.
    """
    named = {*needs, *may_have}
    values = {name: environment.get(name, "").strip() if name in named else "" for name in VARIABLES}
    problems = [f"{name} is not set: give it {VARIABLES[name]}" for name in needs if not values[name]]
    clear_text = ClearText(environment, problems)
    _check_database_url("DATABASE_URL", values["DATABASE_URL"], clear_text, problems)
    settings = OperatorSettings(
        database_url=values["DATABASE_URL"],
        hasura_url=read_base_url("HASURA_URL", values["HASURA_URL"], problems),
        key_ring=_key_ring("ENCRYPTION_KEYS", values, problems),
        hasura_admin_secret=values["HASURA_ADMIN_SECRET"],
        hasura_other_admin_secret=values["HASURA_OTHER_ADMIN_SECRET"],
        jwt_secret=values["HASURA_GRAPHQL_JWT_SECRET"],
        edge_state_keys=_key_ring("EDGE_STATE_KEYS", values, problems),
        edge_state_dir=Path(environment.get("EDGE_STATE_DIR", "").strip() or "/var/lib/pancake-edge"),
        pancake_api_hosts=_allowed_hosts(environment, problems),
        public_url=values["PUBLIC_URL"],
        handlers_url=read_base_url("HANDLERS_URL", values["HANDLERS_URL"], problems),
        handler_secret=values["HANDLER_SECRET"],
        edge_status_url=read_base_url("EDGE_STATUS_URL", values["EDGE_STATUS_URL"], problems),
        alertmanager_url=read_base_url("ALERTMANAGER_URL", values["ALERTMANAGER_URL"], problems),
        hasura_service_token=values["HASURA_SERVICE_TOKEN"],
        prometheus_url=read_base_url("PROMETHEUS_URL", values["PROMETHEUS_URL"], problems),
        commit=environment.get("COMMIT", "").strip(),
    )
    _check_urls(clear_text, settings.hasura_url, settings.pancake_api_hosts)
    clear_text.check_urls("HANDLERS_URL", "handlers", filter(is_http, [settings.handlers_url]))
    clear_text.check_urls("PUBLIC_URL", "edge", filter(None, [settings.public_url]))
    if problems:
        raise SettingsError(*problems)
    return settings


def read_bind(environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Read the address and the port of BIND. Raises SettingsError."""
    return _address("BIND", environment.get("BIND", "127.0.0.1:8000"))


def read_ops_bind(environment: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Read the address and the port of OPS_BIND; None without it. Raises SettingsError."""
    text = environment.get("OPS_BIND", "").strip()
    return _address("OPS_BIND", text) if text else None


def _address(name: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{name} is not an address and a port: {text!r}. Write it as 127.0.0.1:8000")
    return host, int(port)


def read_variable(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Read the variable that an operator named as the source of a secret; empty if it is not set."""
    return environment.get(name, "")


def _check_database_url(name: str, url: str, clear_text: ClearText, problems: list[str]) -> None:
    try:
        conninfo_to_dict(url)
    except (psycopg.ProgrammingError, UnicodeError):
        problems.append(f"{name} is not a PostgreSQL URL: give it {VARIABLES[name]}")
        return
    if url:
        clear_text.check_database(name, url)


def check_url(variable: str, hop: Hop, url: str, environment: Mapping[str, str] = os.environ) -> None:
    """Check a URL that an option gives in place of a variable. Raises SettingsError."""
    problems: list[str] = []
    ClearText(environment, problems).check_urls(variable, hop, [url])
    if problems:
        raise SettingsError(*problems)


def _check_urls(clear_text: ClearText, hasura_url: str, pancake_api_hosts: frozenset[str]) -> None:
    clear_text.check_urls("HASURA_URL", "hasura", [hasura_url] if is_http(hasura_url) else [])
    clear_text.check_urls("PANCAKE_API_HOSTS", "pancake", pancake_api_hosts)


def _allowed_hosts(environment: Mapping[str, str], problems: list[str]) -> frozenset[str]:
    """Read the hosts to which an API key may be sent; the vendor's without the variable."""
    text = environment.get("PANCAKE_API_HOSTS", "")
    try:
        return read_hosts(filter(None, (entry.strip() for entry in text.split(",")))) or DEFAULT_HOSTS
    except ValueError as error:
        problems.append(
            f"PANCAKE_API_HOSTS: {error}. Give it host[:port] or, without TLS, http://host[:port]"
        )
        return frozenset()


def _key_ring(name: str, values: Mapping[str, str], problems: list[str]) -> KeyRing:
    try:
        return KeyRing.parse(values[name])
    except ValueError as error:
        problems.append(f"{name}: {error}: give it {VARIABLES[name]}")
        return KeyRing({})
