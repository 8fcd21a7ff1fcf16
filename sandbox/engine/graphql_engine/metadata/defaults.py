"""Defaults of the engine that several modules need."""

from graphql_engine.metadata.access import Json

DEFAULT_CRON_RETRY = {
    "num_retries": 0,
    "retry_interval_seconds": 10,
    "timeout_seconds": 60,
    "tolerance_seconds": 21600,
}


def default_source() -> Json:
    """Return the source of an engine that was started with a database URL and without metadata."""
    return {
        "name": "default",
        "kind": "postgres",
        "tables": [],
        "configuration": {
            "connection_info": {
                "database_url": {"from_env": "HASURA_GRAPHQL_DATABASE_URL"},
                "isolation_level": "read-committed",
                "pool_settings": {
                    "connection_lifetime": 600,
                    "idle_timeout": 180,
                    "max_connections": 50,
                    "retries": 1,
                },
                "use_prepared_statements": True,
            }
        },
    }
