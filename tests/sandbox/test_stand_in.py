"""The stand-in for Hasura as tests and benchmarks start it: its log is searched, no argument is a secret."""

from pathlib import Path

import pytest

from sandbox.handover import FOLDER, LOGS
from sandbox.postgres.psql import psql_environment
from sandbox.processes import Processes
from sandbox.stack.hasura import start_engine

pytestmark = pytest.mark.own_database


def test_its_log_is_where_the_canaries_are_searched(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with Processes() as processes:
        start_engine(processes, database, environment={})
    found = [path.read_text() for pattern in LOGS for path in tmp_path.glob(f"**/{pattern}")]
    assert ["Stand-in" in text for text in found] == [True]


def test_its_arguments_hold_no_password(database: str) -> None:
    with Processes() as processes:
        engine = start_engine(processes, database, environment={})
        shown = Path(f"/proc/{engine.process.pid}/cmdline").read_text()
    assert "graphql_engine" in shown
    assert database not in shown
    assert psql_environment(database).get("PGPASSWORD", database) not in shown
