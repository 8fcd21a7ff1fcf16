"""Pancake's simulator, one per test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.pancake_simulator import Simulator, simulated


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated() as started:
        yield started
