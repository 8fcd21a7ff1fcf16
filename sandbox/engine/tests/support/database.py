"""Databases for tests, on the server that DATABASE_URL names."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql


@dataclass(frozen=True)
class Server:
    """A PostgreSQL 15 or later whose user may create databases."""

    url: str

    @classmethod
    def from_environment(cls) -> "Server":
        """The server of DATABASE_URL; fails the test if the variable is not set."""
        url = os.environ.get("DATABASE_URL")
        if not url:
            pytest.fail("Set DATABASE_URL to a PostgreSQL 15 or later that may create databases.")
        return cls(url)

    @contextlib.contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """Create a database with a random name, yield its URL, drop it."""
        name = f"graphql_engine_{secrets.token_hex(6)}"
        copied = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._execute(copied.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))
        finally:
            self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


def name_of(url: str) -> str:
    """The name of a database, to use it as a template."""
    return urlsplit(url).path.removeprefix("/")
