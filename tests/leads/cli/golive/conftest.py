"""An installation before the go-live, and `leads golive` in its folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.edge.packages import missing_packages
from sandbox.postgres.server import Cluster
from tests.support.golive_site import GoLiveSite
from tests.support.postgres_programs import need_pg_dump


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoLiveSite]:
    """A running installation; the test's own process has its environment and its working directory."""
    if missing_packages():
        pytest.skip(f"needs Debian's {', '.join(missing_packages())}: the edge answers step 10")
    need_pg_dump(cluster.url("postgres"))
    with GoLiveSite(cluster, tmp_path) as running:
        for name, value in running.leads_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield running
