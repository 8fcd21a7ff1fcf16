"""A migrated database with one connection and one received event."""

from collections.abc import Iterator

import psycopg
import pytest

from sandbox.postgres.server import Cluster


@pytest.fixture(scope="module")
def constrained(cluster: Cluster, template: str) -> Iterator[psycopg.Connection]:
    name = f"{template}_rules"
    with psycopg.connect(cluster.create_database(name, template), autocommit=True) as connection:
        connection.execute(
            "WITH c AS (INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
            " VALUES ('x', 1, sha256('t')) RETURNING id)"
            " INSERT INTO pancake_webhook_event"
            " (connection_id, origin, payload_hash, status, arrived_at, created_at)"
            " SELECT id, 'webhook', sha256('p'), 'received', now(), now() FROM c"
        )
        yield connection
    cluster.drop_database(name)
