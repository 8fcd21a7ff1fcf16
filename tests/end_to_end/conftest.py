"""One sandbox per test module: around an engine of its own, or around the one that `--hasura` names.

`scripts/test --genuine` starts a system in Docker instead, and names it in the environment.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from leads.domain.errors import IntegrationError
from ops.failures import CommandFailed
from sandbox.postgres.server import Cluster
from sandbox.stack.given import GivenEngine, SandboxAround
from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import EndToEndHarness

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--hasura`, leave out the tests here that start a system of their own and would not meet it.

    Raises UsageError for an engine that cannot be used.
    """
    if config.getoption("--hasura") is None:
        return
    alone = [
        item
        for item in items
        if item.path.parent == HERE and "harness" not in getattr(item, "fixturenames", ())
    ]
    config.hook.pytest_deselected(items=alone)
    items[:] = [item for item in items if item not in alone]
    if items and not is_in_docker():
        try:
            named_engine(config)
        except (CommandFailed, IntegrationError) as error:
            raise pytest.UsageError(str(error)) from error


def is_in_docker() -> bool:
    return "GENUINE_IN_DOCKER" in os.environ


def named_engine(config: pytest.Config) -> GivenEngine:
    secret = config.getoption("--hasura-admin-secret") or os.environ.get("HASURA_ADMIN_SECRET", "")
    jwt_secret = os.environ.get("HASURA_GRAPHQL_JWT_SECRET", "")
    return GivenEngine.check(config.getoption("--hasura"), secret, jwt_secret)


@pytest.fixture(scope="module")
def harness(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[EndToEndHarness]:
    url = request.config.getoption("--hasura")
    if url and is_in_docker():
        yield EndToEndHarness.from_environment({**os.environ, "HASURA_URL": url})
        return
    with SandboxAround(cluster, named_engine(request.config)) if url else Sandbox(cluster) as sandbox:
        yield EndToEndHarness.from_environment(sandbox.environment(), sandbox)


@pytest.fixture(scope="module")
def sandbox(harness: EndToEndHarness) -> Sandbox:
    """The system of `harness`, of which a test starts and stops parts."""
    if harness.sandbox is None:
        pytest.skip("starts and stops parts of a sandbox, and not those of the system in Docker")
    return harness.sandbox


@pytest.fixture(scope="module")
def own_sandbox(sandbox: Sandbox) -> Sandbox:
    """A sandbox whose engine can be stopped, and has our variables in its environment."""
    if not sandbox.engines:
        pytest.skip(
            "the engine that --hasura names is not stopped, and lacks our variables in its environment"
        )
    return sandbox
