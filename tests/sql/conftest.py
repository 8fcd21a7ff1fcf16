"""A migrated database with the engine's tables, shared by the tests of a module."""

from collections.abc import Iterator

import psycopg
import pytest

from sandbox.postgres.server import Cluster
from sandbox.processes import Processes
from sandbox.stack.hasura import start_engine


@pytest.fixture(scope="module")
def migrated(cluster: Cluster, template: str) -> Iterator[psycopg.Connection]:
    """A session on a migrated database with the engine's catalogue."""
    name = f"{template}_sql"
    url = cluster.create_database(name, template)
    with Processes() as processes:  # the engine creates its catalogue when it starts
        processes.stop(start_engine(processes, url, environment={}).process)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
    cluster.drop_database(name)
