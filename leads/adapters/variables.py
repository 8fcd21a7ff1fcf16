"""The environment variables that handlers and verbs need; leads/adapters/settings.py reads them."""

from collections.abc import Mapping

VARIABLES: Mapping[str, str] = {
    "DATABASE_URL": "the URL of Diva's database, postgresql://user:password@host:5432/database",
    "METADATA_DATABASE_URL": "the URL of the database of Hasura's metadata, in the form of DATABASE_URL",
    "ENCRYPTION_KEYS": "the keys of the handlers, the same for leads, id:base64[,id:base64]",
    "HASURA_SERVICE_TOKEN": "a JWT of role pancake_service, made by: leads token pancake_service",
    "HANDLER_SECRET": "the same value as that of Hasura, at least 32 characters",
    "EDGE_SECRET": "the same value as that of the edge, at least 32 characters",
    "HASURA_URL": "the base URL of Hasura, for example http://hasura.internal:8080",
    "HASURA_ADMIN_SECRET": "the admin secret of the engine at HASURA_URL",
    "HASURA_OTHER_ADMIN_SECRET": "the other engine's admin secret; HASURA_ADMIN_SECRET is not sent there",
    "HASURA_GRAPHQL_JWT_SECRET": "the same value as that of the engine, a JSON object",
    "HANDLERS_URL": "the base URL of the handlers, the same value as that of Hasura",
    "EDGE_STATE_KEYS": "the same value as that of the edge, id:base64[,id:base64]",
    "EDGE_STATUS_URL": "the URL of the edge's internal listener, for example http://127.0.0.1:9145",
    "ALERTMANAGER_URL": "the base URL of Alertmanager, for example http://alertmanager.internal:9093",
    "PROMETHEUS_URL": "the base URL of Prometheus, for example http://prometheus.internal:9090",
    "PUBLIC_URL": "the URL at which Pancake reaches the edge, for example https://crm.example.com",
}
"""Each with the value to give it."""

PLAIN_VARIABLES: Mapping[str, str] = {
    "PANCAKE_API_HOSTS": "crm.pancake.vn",
    "ALLOW_CLEAR_TEXT": "",
    "BIND": "127.0.0.1:8000",
    "OPS_BIND": "",
    "EDGE_STATE_DIR": "/var/lib/pancake-edge",
    "INGEST_CONNECTIONS": "2",
    "WORK_CONNECTIONS": "8",
    "LOG_LEVEL": "INFO",
    "VERSION": "",
    "COMMIT": "",
}
"""Those that may be left out, each with its default; none is a secret."""
