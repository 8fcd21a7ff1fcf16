"""The engine's sessions end a statement that takes too long: docs/runbook/install.md, step 3."""

import httpx
import psycopg
import pytest

from sandbox.processes import Processes
from sandbox.stack.hasura import source_url, start_engine
from sandbox.stack.stack import Sandbox

SECRET = "admin-secret-of-the-test"


@pytest.mark.own_database
def test_the_engine_ends_a_statement_that_takes_longer(database: str) -> None:
    with Processes() as processes:
        engine = start_engine(
            processes, source_url(database, "200ms"), environment={"HASURA_GRAPHQL_ADMIN_SECRET": SECRET}
        )
        answer = httpx.post(
            f"{engine.url}/v2/query",
            json={"type": "run_sql", "args": {"sql": "SELECT pg_sleep(20)", "read_only": True}},
            headers={"x-hasura-admin-secret": SECRET},
            timeout=10,
        )
    assert answer.status_code >= 400
    assert "canceling statement due to statement timeout" in answer.text


@pytest.mark.parametrize("more", ["", "?application_name=engine"])
def test_the_url_may_have_other_parameters(database: str, more: str) -> None:
    with psycopg.connect(source_url(database + more)) as session:
        assert session.execute("SHOW statement_timeout").fetchone() == ("30s",)


def test_the_engine_of_the_sandbox_gets_that_url() -> None:
    sandbox = Sandbox(server_url="postgresql://postgres@127.0.0.1:9/postgres")
    try:
        environment = sandbox._service_environment()
        assert environment["PG_DATABASE_URL"] == source_url(sandbox.database_url)
    finally:
        sandbox.close()
