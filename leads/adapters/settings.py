"""The configuration of a process, from environment variables. `.env.example` explains each of them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import conninfo_to_dict

from leads.adapters.secrets import KeyRing


class SettingsError(ValueError):
    """One or more environment variables are missing or invalid; the message names them all."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that differ between installations. Secrets do not show in its repr."""

    database_url: str = field(repr=False)
    metadata_database_url: str = field(repr=False)
    hasura_url: str
    hasura_service_token: str = field(repr=False)
    handler_secrets: tuple[str, ...] = field(repr=False)
    edge_secrets: tuple[str, ...] = field(repr=False)
    key_ring: KeyRing = field(repr=False)
    ingest_connections: int = 2
    work_connections: int = 8
    log_level: str = "INFO"
    version: str = "unknown"
    commit: str = "unknown"


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read and check the environment. Raises SettingsError, which lists every problem."""
    problems: list[str] = []

    def required(name: str) -> str:
        value = environment.get(name, "").strip()
        if not value:
            problems.append(f"{name} is not set")
        return value

    def number(name: str, default: int) -> int:
        text = environment.get(name, str(default))
        if not text.isdecimal() or not 1 <= int(text) <= 100:
            problems.append(f"{name} is not a number from 1 to 100")
            return default
        return int(text)

    def secrets(name: str) -> tuple[str, ...]:
        found = (required(name), environment.get(f"{name}_PREVIOUS", "").strip())
        if any(value and len(value) < 16 for value in found):
            problems.append(f"{name} is shorter than 16 characters")
        return tuple(value for value in found if value)

    database_url = required("DATABASE_URL")
    metadata_database_url = environment.get("METADATA_DATABASE_URL", "").strip() or database_url
    problems.extend(
        f"{name} is not a PostgreSQL connection URL"
        for name, url in (("DATABASE_URL", database_url), ("METADATA_DATABASE_URL", metadata_database_url))
        if not _is_conninfo(url) and environment.get(name)
    )
    key_ring = KeyRing({})
    try:
        key_ring = KeyRing.parse(required("ENCRYPTION_KEYS"))
    except ValueError as error:
        problems.append(f"ENCRYPTION_KEYS: {error}")
    settings = Settings(
        database_url=database_url,
        metadata_database_url=metadata_database_url,
        hasura_url=required("HASURA_URL").rstrip("/"),
        hasura_service_token=required("HASURA_SERVICE_TOKEN"),
        handler_secrets=secrets("HANDLER_SECRET"),
        edge_secrets=secrets("EDGE_SECRET"),
        key_ring=key_ring,
        ingest_connections=number("INGEST_CONNECTIONS", 2),
        work_connections=number("WORK_CONNECTIONS", 8),
        log_level=environment.get("LOG_LEVEL", "INFO"),
        version=environment.get("VERSION", "unknown"),
        commit=environment.get("COMMIT", "unknown"),
    )
    if problems:
        raise SettingsError("; ".join(problems))
    return settings


def _is_conninfo(text: str) -> bool:
    try:
        conninfo_to_dict(text)
    except (psycopg.ProgrammingError, UnicodeError):
        return False
    return True
