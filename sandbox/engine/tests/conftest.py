"""Options of the contract suite, and fixtures for all tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.database import Server
from tests.support.process import Engines
from tests.support.receiver import Receiver


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options that name another engine for the contract tests."""
    group = parser.getgroup("hasura")
    group.addoption("--hasura", metavar="URL", help="run the contract tests on this engine instead")
    group.addoption(
        "--hasura-admin-secret", metavar="SECRET", help="its admin secret (default: HASURA_ADMIN_SECRET)"
    )
    group.addoption(
        "--hasura-webhook-host",
        metavar="HOST",
        default="127.0.0.1",
        help="the name by which it reaches this machine (default: 127.0.0.1)",
    )


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": False}


@pytest.fixture(scope="session")
def server() -> Server:
    """The PostgreSQL server that DATABASE_URL names."""
    return Server.from_environment()


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """URL of an empty database, dropped after the test."""
    with server.database() as url:
        yield url


@pytest.fixture
def hooks() -> Iterator[Receiver]:
    receiver = Receiver("127.0.0.1", "127.0.0.1")
    yield receiver
    receiver.close()


@pytest.fixture
def engines(database: str, hooks: Receiver) -> Iterator[Engines]:
    """Engines on an empty database."""
    engines = Engines(database, hooks)
    yield engines
    engines.close()
