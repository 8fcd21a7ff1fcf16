"""An upgrade under load: the version of a former commit, then this one, then back and forth again.

UPGRADE_FROM names the commit, by default the one before this.
"""

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import psycopg
import pytest

from proofs.chaos.effects import check_stream, count_unfinished
from proofs.sender import Stream
from sandbox.postgres.database import MIGRATIONS, grant_rights, run_file
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT, Service
from sandbox.stack.hasura import metadata_option
from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import EndToEndHarness
from tests.support.programs import run
from tests.support.waiting import eventually_async

RATE = 20
"""Leads a second."""
LEADS_OF_STAGE = 30
COMMIT = os.environ.get("UPGRADE_FROM", "HEAD~1")
MERGE = """
import sys
from pathlib import Path
from sandbox.diva.project import merge_project
print(merge_project(Path(sys.argv[1])))
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The files of the former commit."""
    done = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this clone has no commit {COMMIT}: git fetch --unshallow")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


class OldSandbox(Sandbox):
    """Two processes of the handlers, the schema and the metadata of the former commit."""

    def __init__(self, cluster: Cluster, old: Path) -> None:
        super().__init__(cluster, processes=2)
        self._old = old

    def _hasura_arguments(self) -> list[str]:
        command = [sys.executable, "-P", "-c", MERGE, str(self.home / "hasura")]
        environment = {**os.environ, "PYTHONPATH": str(self._old)}
        directory = Path(run(*command, env=environment).stdout.strip())
        metadata = metadata_option(directory, self.home / "metadata.json")
        return [*metadata, "--migrations", str(self._old / "hasura/migrations")]

    def _handlers(self, name: str, *, is_shared: bool = False) -> Service:
        service = super()._handlers(name, is_shared=is_shared)
        # -P keeps the working directory, which has this version, off the import path.
        service.arguments = [sys.executable, "-P", *service.arguments[1:]]
        run_version(service, self._old)
        return service


def run_version(service: Service, root: Path) -> None:
    """From the next start on."""
    service.environment = {**service.environment, "PYTHONPATH": str(root)}


@pytest.mark.slow("half a minute")
async def test_no_lead_is_lost_while_two_versions_work_side_by_side(cluster: Cluster, old: Path) -> None:
    """In the order of docs/production.md; then one process goes back, as in a rollback."""
    with OldSandbox(cluster, old) as sandbox:
        harness = EndToEndHarness.from_environment(sandbox.environment(), sandbox)
        stream = Stream(harness.webhook_url, RATE, seed=1)
        sent = stream.sent
        posting = asyncio.create_task(stream.run())

        async def more_leads() -> None:
            until = len(sent.acknowledged) + LEADS_OF_STAGE
            await eventually_async(lambda: len(sent.acknowledged) >= until)

        async def replace(service: Service, root: Path) -> None:
            await asyncio.to_thread(service.stop)
            run_version(service, root)
            await asyncio.to_thread(service.start)
            await asyncio.to_thread(service.wait_ready)
            await more_leads()

        first, second = sandbox.replicas
        await more_leads()
        with psycopg.connect(sandbox.database_url, autocommit=True) as owner:
            for path in sorted(MIGRATIONS.glob("*/up.sql")):
                if not (old / "hasura/migrations/default" / path.parent.name).exists():
                    run_file(owner, path)
        grant_rights(sandbox.database_url)
        await more_leads()
        await replace(first, ROOT)
        await replace(second, ROOT)
        for step in ("9a", "9b"):
            # The engine started with the former metadata, so `leads` has no record of them.
            words = ("metadata", step, "--over-drift", "--backups", str(old.parent / "backups"))
            done = await harness.leads(*words)
            assert done.exit_code == 0, done.output
        await replace(first, old)
        await replace(first, ROOT)
        stream.stop()
        await posting
        assert sent.non_2xx == []
        await eventually_async(lambda: count_unfinished(sandbox.database_url) == 0, seconds=60)
        verdicts = check_stream(sandbox.database_url, sandbox.notifications_url, sent)
        assert verdicts.is_valid, verdicts.as_json()
