"""Engines with a database and a webhook of their own."""

from collections.abc import Iterator

import pytest

from tests.support.process import Engines
from tests.support.receiver import Receiver


@pytest.fixture
def hooks() -> Iterator[Receiver]:
    """A webhook for one test."""
    receiver = Receiver("127.0.0.1", "127.0.0.1")
    yield receiver
    receiver.close()


@pytest.fixture
def engines(database: str, hooks: Receiver) -> Iterator[Engines]:
    """Engines on an empty database."""
    engines = Engines(database, hooks)
    yield engines
    engines.close()
