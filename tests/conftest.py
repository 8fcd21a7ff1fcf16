"""Fixtures every test may use: the asyncio backend, one PostgreSQL per session."""

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.cluster import Cluster


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Async tests run on plain asyncio."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """PostgreSQL for the session, without flushing to disk: DATABASE_URL's server, else an embedded one."""
    with Cluster(durable=False) as running:
        yield running
