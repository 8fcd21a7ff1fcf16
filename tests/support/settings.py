"""The settings of the handlers under test, the credentials that they accept, and base URLs of Pancake."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

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


BASE_URLS = {
    "https://crm.pancake.vn/api": "https://crm.pancake.vn",
    "https://crm.pancake.vn": "https://crm.pancake.vn",
    "https://crm.pancake.vn:443/api": "https://crm.pancake.vn",
    "https://crm.pancake.vn:80/api": "https://crm.pancake.vn:80",
    "http://127.0.0.1:8084/api/v2.1": "http://127.0.0.1:8084",
    "http://pancake:80/~a/_b/-c/D": "http://pancake",
}
"""Each with its host."""

NOT_BASE_URLS = (
    "https://crm.pancake.vn/api?a=", "https://crm.pancake.vn?a=", "https://crm.pancake.vn/api#",
    "https://crm.pancake.vn/api/../..", "https://crm.pancake.vn/./api", "https://crm.pancake.vn//api",
    "https://crm.pancake.vn/api/", "https://crm.pancake.vn/", "https://crm.pancake.vn/a%2e%2e/api",
    "https://crm.pancake.vn/a b", "https://crm.pancake.vn/api\n", "\nhttps://crm.pancake.vn/api",
    "https://crm.pancake.vn\n/api", "https://crm.pancake.vn\t/api",
    "https://crm.pancake.vn@evil.example/api", "https://crm.pancake.vn:443@evil.example/api",
    "https://evil.example\\@crm.pancake.vn/api", "https://crm.pancake.vn;a/api",
    "https://crm.pancake.vn:/api", "https://crm.pancake.vn:0443/api", "https://crm.pancake.vn:x/api",
    "https://CRM.pancake.vn/api", "https://crm.páncake.vn/api", "https://.pancake.vn/api",
    "https://[::1]/api", "https:///api", "https:crm.pancake.vn/api", "HTTPS://crm.pancake.vn/api",
    "ftp://crm.pancake.vn/api", "crm.pancake.vn/api", "//crm.pancake.vn/api", "/api",
    "https://me:secret@crm.pancake.vn/api", "https://crm.pancake.vn%40evil.example/api",
    "https://crm.pancake.vn#@evil.example/api", "https://crm.pancake.vn?@evil.example/api",
    "https://crm.pancake.vn\\evil.example/api", "https:\\\\crm.pancake.vn\\api",
    "https:/crm.pancake.vn/api", "https:////crm.pancake.vn/api", "https://crm.pancake.vn:-1/api",
    "https://crm.pancake.vn:443:80/api", "https://crm.pancake.vn:123456/api",
    "https://crm.pancake.vn:４４３/api", "https://[fe80::1%25eth0]/api",
    "https://[::ffff:169.254.169.254]/api", "https://crm。pancake。vn/api", "https://ｃrm.pancake.vn/api",
    "https://crm.pancake.vn\u200b/api", "https://crm_pancake.vn/api", "https://-crm.pancake.vn/api",
    "https://*.pancake.vn/api", "https://crm.pancake.vn/api/%2e%2e", "https://crm.pancake.vn/api%2f..",
    "https://crm.pancake.vn/api;a=b", "https://crm.pancake.vn/api\\..", "https://crm.pancake.vn/.api",
    "https://crm.pancake.vn/api\r\nX-A: b", "https://crm.pancake.vn/api ", " https://crm.pancake.vn/api",
    "https://crm.pancake.vn/{workspace}", "javascript://crm.pancake.vn/api", "file:///etc/passwd",
    "gopher://crm.pancake.vn/api", "https+unix://crm.pancake.vn/api", "data:text/plain,x", "",
)  # fmt: skip

OTHER_HOSTS = (
    "http://crm.pancake.vn/api", "https://crm.pancake.vn./api", "https://crm.pancake.vn..evil.example/api",
    "https://crm.pancake.vn.evil.example/api", "https://crm-pancake.vn/api",
    "https://evil.crm.pancake.vn/api", "https://pancake.vn/api", "https://crm.pancake.vn:80/api",
    "https://crm.pancake.vn:8443/api", "https://crm.pancake.vn:65536/api",
    "https://xn--crm-pancake-c4a.vn/api", "http://169.254.169.254/latest/meta-data",
    "https://169.254.169.254/latest/meta-data", "http://metadata.google.internal/v1",
    "http://127.0.0.1:8080/v1/metadata", "http://localhost/api", "http://0.0.0.0/api", "http://0/api",
    "http://2130706433/api", "http://0x7f.1/api", "http://0177.0.0.1/api", "http://127.1/api",
    "http://10.0.0.1/api", "http://graphql-engine:8080/v1/graphql",
)  # fmt: skip
"""Base URLs by their form, of hosts that are not Pancake's."""
