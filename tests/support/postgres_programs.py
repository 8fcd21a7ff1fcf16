"""Run `pg_dump` and PostgreSQL's other programs on a database of the tests."""

import os
import subprocess

import psycopg
import pytest

from sandbox.postgres import binaries
from sandbox.postgres.psql import psql_environment


def run_program(url: str, name: str, *arguments: str) -> str:
    """Run a program of PostgreSQL on a database and return its output."""
    command = [str(binaries.find() / name), *arguments]
    environment = os.environ | psql_environment(url)
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def need_pg_dump(url: str) -> None:
    """Skip a test if the pg_dump of this machine is older than the server, which it then refuses."""
    with psycopg.connect(url) as db:
        if db.info.server_version // 10000 > binaries.version(binaries.find()):
            pytest.skip("the pg_dump of this machine is older than the server of DATABASE_URL")
