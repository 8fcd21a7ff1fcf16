"""Fixtures for all tests: asyncio, and one PostgreSQL per session with a database for each test."""

import os
import ssl
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import httpx
import pytest

from leads.adapters.secrets import KeyRing
from sandbox.postgres.database import drop_logins, grant_rights, install_diva, migrate
from sandbox.postgres.server import RUN_ID, Cluster, server_url_from_environment
from sandbox.processes import Processes
from tests.support.crons import CronHarness, add_engine_tables, running_crons
from tests.support.databases import Databases
from tests.support.handlers import seed_connection
from tests.support.logs import watching_logs
from tests.support.settings import handler_settings

_names = (f"{RUN_ID}_{number}" for number in count(1))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the end-to-end tests for an engine that runs elsewhere."""
    group = parser.getgroup("hasura")
    group.addoption("--hasura", metavar="URL", help="run the end-to-end tests against this engine")
    group.addoption("--hasura-admin-secret", metavar="SECRET", help="its admin secret")


@pytest.fixture(scope="session", autouse=True)
def clean_logs() -> Iterator[None]:
    """Every log of the session holds no phone, name, token or key; searched when all servers have stopped."""
    with watching_logs():
        yield


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Read the trusted certificates once: each client of httpx took 8 ms for them, a request takes 1 ms."""
    read = httpx.create_ssl_context
    context = read()

    def make(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is True and cert is None and not os.environ.keys() & {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
            return context
        return read(verify=verify, cert=cert, trust_env=trust_env)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("httpx", "httpx._transports.default"):
            patch.setattr(f"{module}.create_ssl_context", make)
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": False}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """PostgreSQL for the session, without flushing to disk: DATABASE_URL's server, else an embedded one."""
    with Cluster(durable=False, server_url=server_url_from_environment()) as running:
        yield running
        if not running.is_embedded:
            drop_logins(running.url("postgres"))


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> Iterator[str]:
    """Name of a database with Diva's base data and all our migrations: clone it, do not change it."""
    name = f"pancake_template_{next(_names)}"
    url = cluster.create_database(name)
    install_diva(url)
    migrate(url)
    grant_rights(url)
    yield name
    cluster.drop_database(name)


@pytest.fixture(scope="session")
def engine_template(cluster: Cluster, template: str) -> Iterator[str]:
    """Name of a template that has the engine's tables too."""
    name = f"pancake_template_{next(_names)}"
    add_engine_tables(cluster.create_database(name, template))
    yield name
    cluster.drop_database(name)


@pytest.fixture(scope="session")
def databases(cluster: Cluster, template: str, engine_template: str) -> Iterator[Databases]:
    found = Databases(cluster, {"migrated": template, "with engine": engine_template})
    yield found
    found.close()


@pytest.fixture(scope="session")
async def kept_pools(databases: Databases, anyio_backend: object) -> AsyncIterator[None]:
    """Async tests share one event loop, in which the handlers' connections stay open from test to test."""
    async with databases.keeping_pools():
        yield


@pytest.fixture
def database(databases: Databases, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a migrated database, which is emptied after the test.

    A test marked `own_database` gets a clone, and may change more than rows; a process that it starts opens
    connections of its own.
    """
    kind = "with engine" if "engine_tables" in request.fixturenames else "migrated"
    is_own = request.node.get_closest_marker("own_database") is not None
    with databases.lend(kind, is_own=is_own) as url:
        yield url


@pytest.fixture
def engine_tables(database: str) -> None:
    """The test's database has the engine's tables and its trigger."""


@pytest.fixture
async def cron_harness(
    kept_pools: None, database: str, engine_tables: None, connection_id: str, key_ring: KeyRing
) -> AsyncIterator[CronHarness]:
    async with running_crons(handler_settings(database, key_ring), connection_id) as started:
        yield started


@pytest.fixture(scope="module")
def module_database(cluster: Cluster, template: str) -> Iterator[str]:
    """URL of a migrated database of one module, whose tests share it."""
    name = f"pancake_module_{next(_names)}"
    yield cluster.create_database(name, template)
    cluster.drop_database(name)


@pytest.fixture
def diva_database(cluster: Cluster) -> Iterator[str]:
    """URL of a database with Diva's base data before our migrations, one per test."""
    name = f"pancake_diva_{next(_names)}"
    url = cluster.create_database(name)
    install_diva(url)
    yield url
    cluster.drop_database(name)


@pytest.fixture
def processes() -> Iterator[Processes]:
    """What a test starts here ends with it, also if it fails."""
    with Processes() as running:
        yield running


@pytest.fixture
def key_ring() -> KeyRing:
    return KeyRing({"test": bytes(32)})


@pytest.fixture
def connection_id(database: str) -> str:
    """Id of a connection with WEBHOOK_TOKEN in the test's database; the kill switch is off."""
    return seed_connection(database)
