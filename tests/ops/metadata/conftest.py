"""An engine that `leads metadata` shares with others: one for each module."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ops.metadata.pieces import Json
from tests.support.metadata import Project, Shared, make_project, running_shared_engine


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the engine oftener than once or five times a second."""
    monkeypatch.setattr("ops.metadata.command.CHECK_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr("ops.metadata.deploy.EVENTS_CHECK_INTERVAL_SECONDS", 0.05)


@pytest.fixture(scope="module")
def engine(module_database: str) -> Iterator[tuple[Shared, Json]]:
    """The engine, with Diva's metadata and with triggers, crons and endpoints of others; and its metadata."""
    with running_shared_engine(module_database, Path("unused")) as running:
        yield running, running.export()


@pytest.fixture
def shared(engine: tuple[Shared, Json], tmp_path: Path) -> Shared:
    """The engine as it was at its start, with a new folder of backups."""
    running, metadata = engine
    running.empty(metadata)
    return replace(running, folder=tmp_path / "backups")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "hasura")
