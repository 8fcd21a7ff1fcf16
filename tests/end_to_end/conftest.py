"""One sandbox per test module, or the running system that `--hasura` and the environment name."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.postgres.server import Cluster
from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import EndToEndHarness

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--hasura`, leave out the tests here that start a system of their own and would not meet it."""
    if config.getoption("--hasura") is None:
        return
    alone = [
        item
        for item in items
        if item.path.parent == HERE and "harness" not in getattr(item, "fixturenames", ())
    ]
    config.hook.pytest_deselected(items=alone)
    items[:] = [item for item in items if item not in alone]


@pytest.fixture(scope="module")
def harness(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[EndToEndHarness]:
    hasura = request.config.getoption("--hasura")
    if hasura:
        secret = request.config.getoption("--hasura-admin-secret")
        given = {"HASURA_URL": hasura.rstrip("/"), **({"HASURA_ADMIN_SECRET": secret} if secret else {})}
        yield EndToEndHarness.from_environment({**os.environ, **given})
        return
    with Sandbox(cluster) as sandbox:
        yield EndToEndHarness.from_environment(sandbox.environment(), sandbox)


@pytest.fixture(scope="module")
def sandbox(harness: EndToEndHarness) -> Sandbox:
    """The system of `harness`, of which a test starts and stops parts."""
    if harness.sandbox is None:
        pytest.skip("starts and stops parts of a sandbox, and not those of the system that --hasura names")
    return harness.sandbox
