"""What only `scripts/test --full` runs, since it takes long."""

import os

import pytest

IS_FULL = "TEST_FULL" in os.environ


def only_full(reason: str) -> pytest.MarkDecorator:
    """Skip the test outside `scripts/test --full`; the reason says why it takes long."""
    return pytest.mark.skipif(not IS_FULL, reason=f"{reason}: scripts/test --full")
