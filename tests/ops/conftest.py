"""A customer of `leads setup`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.edge import missing_packages
from sandbox.postgres.server import Cluster
from tests.support.installation import Customer
from tests.support.postgres import need_pg_dump


@pytest.fixture
def customer(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Customer]:
    if missing_packages():
        pytest.skip(f"needs Debian's {', '.join(missing_packages())}: the edge takes the test lead")
    need_pg_dump(cluster.url("postgres"))
    monkeypatch.setattr("ops.golive.deploy.command.POLL_SECONDS", 0.05)
    with Customer(cluster, tmp_path) as running:
        given = running.leads_environment()
        for name in os.environ.keys() - {"LANG", "TMPDIR", "SANDBOX_HANDOVER"}:
            if not name.startswith(("PYTEST", "COV")):
                monkeypatch.delenv(name)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield running
