"""The stand-in for Hasura as tests and benchmarks start it: its log is searched, no argument is a secret."""

from pathlib import Path

import pytest

from sandbox.postgres.psql import psql_environment
from sandbox.processes import Processes
from sandbox.stack.hasura import start_engine
from tests.support.log_canaries import LOGS


def test_its_log_is_where_the_canaries_are_searched(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def read(directory: Path) -> None:
        found.extend(path.read_text() for pattern in LOGS for path in directory.glob(f"**/{pattern}"))

    monkeypatch.setattr(Processes, "before_removal", [read])
    with Processes() as processes:
        start_engine(processes, database, environment={})
    assert ["Stand-in" in text for text in found] == [True]


def test_its_arguments_hold_no_password(database: str) -> None:
    with Processes() as processes:
        engine = start_engine(processes, database, environment={})
        shown = Path(f"/proc/{engine.process.pid}/cmdline").read_text()
    assert "graphql_engine" in shown
    assert database not in shown
    assert psql_environment(database).get("PGPASSWORD", database) not in shown
