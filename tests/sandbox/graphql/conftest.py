"""The library: once per session for reading, afresh for tests that write."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from itertools import count

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from sandbox.cluster import RUN, Cluster
from tests.sandbox.graphql.library import SCHEMA, Library

_numbers = count(1)


@pytest.fixture(scope="session")
def library_template(cluster: Cluster) -> Iterator[str]:
    """Name of a database with the library's tables and rows: clone it, do not change it."""
    name = f"library_{RUN}"
    url = cluster.create_database(name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)
    yield name
    cluster.drop_database(name)


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Library]:
    """The library of a database."""
    pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
        url, min_size=1, max_size=10, open=False, kwargs={"autocommit": True}
    )
    async with pool:
        made = Library(pool)
        await made.open()
        yield made


@pytest.fixture
async def library(cluster: Cluster, library_template: str) -> AsyncIterator[Library]:
    """A library of one's own."""
    name = f"library_{RUN}_{next(_numbers)}"
    async with opened(cluster.create_database(name, library_template)) as made:
        yield made
    cluster.drop_database(name)


@pytest.fixture(scope="package")
async def shelf(cluster: Cluster, library_template: str) -> AsyncIterator[Library]:
    """A library that all tests of this package share, to read only."""
    name = f"shelf_{RUN}"
    async with opened(cluster.create_database(name, library_template)) as made:
        yield made
    cluster.drop_database(name)
