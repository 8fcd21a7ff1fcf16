"""One sandbox per test module, or the place that `--hasura` and the environment name."""

import os
from collections.abc import Iterator

import pytest

from sandbox.cluster import Cluster
from sandbox.stack.stack import Sandbox
from tests.end_to_end.place import Place


@pytest.fixture(scope="module")
def place(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The whole system, running."""
    hasura = request.config.getoption("--hasura")
    if hasura:
        secret = request.config.getoption("--hasura-admin-secret")
        given = {"HASURA_URL": hasura.rstrip("/"), **({"HASURA_ADMIN_SECRET": secret} if secret else {})}
        yield Place.named_by({**os.environ, **given})
        return
    with Sandbox(cluster) as sandbox:
        yield Place.named_by(sandbox.environment(), sandbox)
