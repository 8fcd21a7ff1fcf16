"""A migrated database with the engine's tables, shared by the tests of a module."""

from collections.abc import Iterator

import psycopg
import pytest

from sandbox.postgres.database import run_file
from sandbox.processes import Processes
from sandbox.stack.hasura import EVENT_LOG, start_engine


@pytest.fixture(scope="module")
def migrated(module_database: str) -> Iterator[psycopg.Connection]:
    """A session on a migrated database with the engine's catalogue."""
    with Processes() as processes:  # the engine creates its catalogue when it starts, but for the event log
        start_engine(processes, module_database, environment={}).stop()
    with psycopg.connect(module_database, autocommit=True) as connection:
        run_file(connection, EVENT_LOG)
        yield connection
