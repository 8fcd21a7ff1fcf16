"""The library: one that all tests share for reading, and one per test that writes."""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from tests.support.database import Server, name_of
from tests.support.library import SCHEMA, Library


@pytest.fixture(scope="session")
def library_template(server: Server) -> Iterator[str]:
    """Name of a database with the tables and rows of the library: copy it, do not change it."""
    with server.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SCHEMA.encode())
        yield name_of(url)


@pytest.fixture
async def library(server: Server, library_template: str) -> AsyncIterator[Library]:
    """A library for one test."""
    with server.database(library_template) as url:
        async with Library(url) as library:
            yield library


@pytest.fixture(scope="package")
async def shelf(server: Server, library_template: str) -> AsyncIterator[Library]:
    """A library that all tests of this package share, to read only."""
    with server.database(library_template) as url:
        async with Library(url) as library:
            yield library
