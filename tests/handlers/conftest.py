"""One or two processes of the handlers."""

from collections.abc import AsyncIterator, Iterator

import pytest

from leads.adapters.secrets import KeyRing
from tests.support.fakes import FakeHasura
from tests.support.handlers import HandlerHarness, running_handlers
from tests.support.logs import captured_logs
from tests.support.settings import handler_settings


@pytest.fixture
async def harness(
    kept_pools: None, database: str, connection_id: str, key_ring: KeyRing
) -> AsyncIterator[HandlerHarness]:
    async with running_handlers(handler_settings(database, key_ring), connection_id, FakeHasura()) as started:
        yield started


@pytest.fixture
async def second_harness(
    harness: HandlerHarness, database: str, key_ring: KeyRing
) -> AsyncIterator[HandlerHarness]:
    """A second process on the same database, with the same Hasura."""
    settings = handler_settings(database, key_ring)
    async with running_handlers(settings, harness.connection_id, harness.hasura) as started:
        yield started


@pytest.fixture
def capture_logs() -> Iterator[list[str]]:
    with captured_logs() as lines:
        yield lines
