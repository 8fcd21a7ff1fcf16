"""The Settings tabs on a seeded database: one per test, or one per module for tests that only read."""

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from sandbox.postgres.server import RUN_ID, Cluster
from tests.support.settings_tab import SettingsHarness, running_settings_tab, seed_settings

_numbers = count(1)


@pytest.fixture(scope="session")
def seeded_template(cluster: Cluster, template: str) -> Iterator[str]:
    """Name of a migrated database with rows in every table that the tabs show: clone it."""
    name = f"pancake_settings_template_{RUN_ID}"
    seed_settings(cluster.create_database(name, template))
    yield name
    cluster.drop_database(name)


@pytest.fixture(scope="module")
def has_allow_list() -> bool:
    """Whether the engine's allow list is on. A module that runs only stored operations sets it to true.

    Off by default: permissions and tokens are tested with queries that are not stored, which the allow list
    would refuse before any permission is looked at.
    """
    return False


@pytest.fixture
async def harness(
    cluster: Cluster, seeded_template: str, has_allow_list: bool
) -> AsyncIterator[SettingsHarness]:
    """A harness with its own database."""
    name = f"pancake_settings_{RUN_ID}_{next(_numbers)}"
    database = cluster.create_database(name, seeded_template)
    async with running_settings_tab(database, has_allow_list=has_allow_list) as started:
        yield started
    cluster.drop_database(name)


@pytest.fixture(scope="module")
async def shared_harness(
    cluster: Cluster, seeded_template: str, has_allow_list: bool
) -> AsyncIterator[SettingsHarness]:
    """A harness that the tests of a module share; they must not change rows."""
    name = f"pancake_settings_{RUN_ID}_{next(_numbers)}"
    database = cluster.create_database(name, seeded_template)
    async with running_settings_tab(database, has_allow_list=has_allow_list) as started:
        yield started
    cluster.drop_database(name)
