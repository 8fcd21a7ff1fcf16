"""The configuration: `HASURA_GRAPHQL_*` variables, read once, with the engine's defaults.

Facts: the engine's flag reference (deployment/graphql-engine-flags).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = "HASURA_GRAPHQL_"
VERSION = "v2.50.6"
"""The version that it reports, and its clients use. README.md says with which one it was compared."""
LOG_TYPES = "startup,http-log,webhook-log,websocket-log,jwk-refresh-log"


class StartError(Exception):
    """The engine cannot start with this configuration, metadata or migration; the message says why."""


@dataclass(frozen=True)
class Settings:
    admin_secret: str | None = None
    jwt_secret: dict[str, Any] | None = None
    unauthorized_role: str | None = None
    dev_mode: bool = False
    admin_internal_errors: bool = True
    events_pool_size: int = 100
    events_batch_size: int = 100
    events_fetch_interval_seconds: float = 1.0
    graceful_shutdown_seconds: float = 60.0
    scheduled_fetch_seconds: float = 10.0
    enabled_apis: frozenset[str] = frozenset({"metadata", "graphql", "pgdump", "config"})
    enable_allow_list: bool = False
    query_max_bytes: int = 1_000_000
    enabled_log_types: frozenset[str] = frozenset(LOG_TYPES.split(","))
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from an environment.

    Raises StartError for a value that cannot be read, as the engine refuses to start.
    """
    reader = _Reader(environment)
    settings = Settings(
        admin_secret=reader.text("ADMIN_SECRET") or reader.text("ACCESS_KEY"),
        jwt_secret=reader.json_object("JWT_SECRET"),
        unauthorized_role=reader.text("UNAUTHORIZED_ROLE"),
        dev_mode=reader.boolean("DEV_MODE", default=False),
        admin_internal_errors=reader.boolean("ADMIN_INTERNAL_ERRORS", default=True),
        events_pool_size=max(1, reader.integer("EVENTS_HTTP_POOL_SIZE", 100)),
        events_batch_size=reader.integer("EVENTS_FETCH_BATCH_SIZE", 100),
        events_fetch_interval_seconds=reader.integer("EVENTS_FETCH_INTERVAL", 1000) / 1000,
        graceful_shutdown_seconds=reader.integer("GRACEFUL_SHUTDOWN_TIMEOUT", 60),
        scheduled_fetch_seconds=reader.integer("SANDBOX_SCHEDULED_FETCH_INTERVAL", 10_000) / 1000,
        enabled_apis=reader.names("ENABLED_APIS", "metadata,graphql,pgdump,config"),
        enable_allow_list=reader.boolean("ENABLE_ALLOWLIST", default=False),
        query_max_bytes=reader.integer("SANDBOX_MAX_BYTES", 100_000_000),
        enabled_log_types=reader.names("ENABLED_LOG_TYPES", LOG_TYPES),
        environment=dict(environment),
    )
    needs_secret = settings.jwt_secret is not None or settings.unauthorized_role is not None
    if needs_secret and settings.admin_secret is None:
        raise StartError(
            "HASURA_GRAPHQL_JWT_SECRET and HASURA_GRAPHQL_UNAUTHORIZED_ROLE require"
            " HASURA_GRAPHQL_ADMIN_SECRET to be set"
        )
    return settings


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str | None:
        return self._environment.get(PREFIX + name) or None

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.text(name)
        if value is None:
            return default
        if value.lower() in {"true", "t", "yes", "y"}:
            return True
        if value.lower() in {"false", "f", "no", "n"}:
            return False
        raise StartError(f"{PREFIX}{name}: not a valid boolean text: {value!r}")

    def integer(self, name: str, default: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not value.isdigit():
            raise StartError(f"{PREFIX}{name}: expecting a non-negative integer, not {value!r}")
        return int(value)

    def names(self, name: str, default: str) -> frozenset[str]:
        return frozenset(part.strip() for part in (self.text(name) or default).split(",") if part.strip())

    def json_object(self, name: str) -> dict[str, Any] | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            parsed = json.loads(value)
        except ValueError as error:
            raise StartError(f"{PREFIX}{name}: not valid JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise StartError(f"{PREFIX}{name}: expecting a JSON object")
        return parsed
