"""The CLI and the stand-in engine read a metadata directory with separate code, and read the same."""

from pathlib import Path

import pytest

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.metadata.directory import read_directory
from leads.cli.metadata.engine import Engine
from leads.cli.metadata.normal import same
from leads.cli.metadata.pieces import split
from sandbox.diva.project import merge_project
from sandbox.processes import Processes
from sandbox.stack.hasura import start_engine

pytestmark = pytest.mark.own_database

SECRET = "admin-secret-of-the-test"


def test_the_engine_exports_what_the_cli_reads(database: str, tmp_path: Path) -> None:
    environment = {
        "PG_DATABASE_URL": database,
        "HASURA_GRAPHQL_ADMIN_SECRET": SECRET,
        "HANDLERS_URL": "http://127.0.0.1:9",
        "HANDLER_SECRET": "handler-secret",
        "NOTIFICATIONS_URL": "http://127.0.0.1:9",
    }
    merged = merge_project(tmp_path / "project")
    read = split(read_directory(merged), "default")

    with Processes() as processes:
        running = start_engine(processes, database, "--metadata", str(merged), environment=environment)
        with HasuraAdmin(running.url, SECRET) as hasura:
            exported = split(Engine(hasura).export()[0], "default")

    assert sorted(exported) == sorted(read)
    assert [key for key in read if not same(read[key], exported[key])] == []
