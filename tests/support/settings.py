"""The settings of the handlers under test, the credentials that they accept, and base URLs of Pancake."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import yaml

from leads.adapters.secrets import KeyRing
from leads.adapters.settings import CallerSecret, Settings
from sandbox.postgres.database import handlers_url

WEBHOOK_TOKEN = "token-of-the-test-connection"
WEBHOOK_TOKEN_SHA256 = sha256(WEBHOOK_TOKEN.encode()).hexdigest()
HANDLER_SECRET = "handler-secret-for-tests"
PREVIOUS_HANDLER_SECRET = "handler-secret-before-it"
EDGE_SECRET = "edge-secret-for-tests"
PREVIOUS_EDGE_SECRET = "edge-secret-before-it"
PREVIOUS_UNTIL = datetime.now(UTC) + timedelta(days=7)
"""When both previous secrets end."""
_HASURA = CallerSecret(HANDLER_SECRET, PREVIOUS_HANDLER_SECRET, PREVIOUS_UNTIL)
_EDGE = CallerSecret(EDGE_SECRET, PREVIOUS_EDGE_SECRET, PREVIOUS_UNTIL)
ADMIN_ID = "a0000000-0000-4000-8000-000000000001"
"""An administrator in Diva's base data."""
CHANGE_SETTINGS = """
    UPDATE app_setting
    SET app_settings = app_settings || jsonb_build_object('pancake_integration',
        app_settings -> 'pancake_integration' || %s::jsonb)
    WHERE id = 1
"""
UNREACHABLE_URL = "http://127.0.0.1:9"
"""Refuses connections: port 9 is reserved for the discard service, which does not run here."""


def handler_settings(
    database_url: str,
    key_ring: KeyRing,
    handler_secret: CallerSecret = _HASURA,
    edge_secret: CallerSecret = _EDGE,
) -> Settings:
    """Settings on one database, with the rights of the handlers, and with a Hasura that cannot be reached."""
    url = handlers_url(database_url)
    return Settings(
        database_url=url, metadata_database_url=url, hasura_url=UNREACHABLE_URL,
        hasura_service_token="unused", handler_secret=handler_secret, edge_secret=edge_secret,
        key_ring=key_ring,
    )  # fmt: skip


_URLS = yaml.safe_load(Path(__file__).with_name("base_urls.yaml").read_text("utf-8"))
BASE_URLS: dict[str, str] = _URLS["base"]
NOT_BASE_URLS: list[str] = _URLS["not_base"]
OTHER_HOSTS: list[str] = _URLS["other_hosts"]
