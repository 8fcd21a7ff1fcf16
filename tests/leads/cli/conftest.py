"""An engine that `leads metadata` shares with others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shared_engine import Shared, running_shared_engine


@pytest.fixture
def shared(database: str, tmp_path: Path) -> Iterator[Shared]:
    """An engine with Diva's metadata and with triggers, crons and endpoints of other applications."""
    with running_shared_engine(database, tmp_path / "backups") as engine:
        yield engine
