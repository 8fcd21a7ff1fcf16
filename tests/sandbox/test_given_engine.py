"""A sandbox around an engine that runs already: the stand-in, started alone and without metadata."""

import json
import os
import sys
from typing import Any

import pytest

from ops.failures import WrongUsage
from proofs.incidents.faults import metadata_api
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT, Processes, Service
from sandbox.stack.given import GivenEngine, SandboxAround
from sandbox.stack.hasura import start_engine
from tests.support.programs import run

pytestmark = pytest.mark.own_database

SECRET = "admin-secret-of-the-test"
JWT_SECRET = json.dumps({"type": "HS256", "key": "key-of-the-given-engine-of-32-bytes"})


@pytest.fixture
def engine(database: str, processes: Processes) -> Service:
    given = {"HASURA_GRAPHQL_ADMIN_SECRET": SECRET, "HASURA_GRAPHQL_JWT_SECRET": JWT_SECRET}
    return start_engine(processes, database, environment=given)


def export(engine: Service) -> Any:
    return metadata_api(engine.url, SECRET, "export_metadata")["metadata"]


def test_a_given_engine_has_our_metadata_without_variables_while_the_sandbox_runs(
    cluster: Cluster, engine: Service
) -> None:
    former, given = export(engine), GivenEngine.check(engine.url, SECRET, JWT_SECRET)
    with SandboxAround(cluster, given) as sandbox:
        text = json.dumps(export(engine))
        assert f"{sandbox.handlers_url}/events/process_record" in text
        assert [name for name in ("{{", "from_env") if name in text] == []
        with pytest.raises(WrongUsage, match=r"replace: the source default, .*cron_triggers"):
            GivenEngine.check(engine.url, SECRET, JWT_SECRET)
    assert export(engine) == former


@pytest.mark.slow("two runs of pytest with a sandbox each")
def test_each_run_of_a_module_has_a_new_system_around_the_engine(cluster: Cluster, engine: Service) -> None:
    """The first test of the module fails if the database has rows already."""
    given = {"DATABASE_URL": cluster.url("postgres"), "HASURA_GRAPHQL_JWT_SECRET": JWT_SECRET}
    former, tests = export(engine), ("tests/end_to_end/test_leads.py", "-k", "sample")
    for _ in range(2):
        words = ("pytest", *tests, f"--hasura={engine.url}", f"--hasura-admin-secret={SECRET}")
        done = run(sys.executable, "-m", *words, cwd=ROOT, env={**os.environ, **given}, timeout=120)
        assert "2 passed" in done.stdout
        assert export(engine) == former
