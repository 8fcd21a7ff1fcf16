"""The Settings tabs: one engine for the tests of a module, with the same rows for each of them."""

from collections.abc import AsyncIterator

import pytest

from tests.support.metadata import SettingsHarness, running_settings_tab


@pytest.fixture(scope="module")
def has_allow_list() -> bool:
    """Whether the engine's allow list is on: it would refuse the queries of tests of permissions."""
    return False


@pytest.fixture(scope="module")
async def shared_harness(module_database: str, has_allow_list: bool) -> AsyncIterator[SettingsHarness]:
    """A harness that the tests of a module share; they must not change rows."""
    async with running_settings_tab(module_database, has_allow_list=has_allow_list) as started:
        yield started


@pytest.fixture
def harness(shared_harness: SettingsHarness) -> SettingsHarness:
    """The same, with its first rows again, for a test that changes some."""
    shared_harness.reset()
    return shared_harness
