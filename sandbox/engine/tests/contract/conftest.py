"""The engine under test: the stand-in, or the one that `--hasura URL` names."""

import json
import os
from collections.abc import Iterator

import httpx
import pytest

from tests.support.hasura import Hasura, Json
from tests.support.process import CANARIES, SECRET, Engines
from tests.support.receiver import Receiver

JWT_KEY = CANARIES["the JWT key"]


@pytest.fixture(scope="session")
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    """The webhook of all tests; an engine in a container reaches it by `--hasura-webhook-host`."""
    host = request.config.getoption("--hasura-webhook-host")
    receiver = Receiver("127.0.0.1" if host == "127.0.0.1" else "0.0.0.0", host)
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def stand_in(request: pytest.FixtureRequest, receiver: Receiver) -> Iterator[str]:
    """URL of a stand-in on an empty database, without metadata."""
    with request.getfixturevalue("server").database() as database_url:
        engines = Engines(database_url, receiver)
        process, url = engines.start(
            HASURA_GRAPHQL_JWT_SECRET=json.dumps({"type": "HS256", "key": JWT_KEY}),
            HASURA_GRAPHQL_ASYNC_ACTIONS_FETCH_INTERVAL="50",
            HASURA_GRAPHQL_SANDBOX_SCHEDULED_FETCH_INTERVAL="200",
            CONTRACT_WEBHOOK=receiver.url,
            CONTRACT_SECRET=CANARIES["a secret header"],
        )
        yield url
        assert engines.stop(process) == 0
        engines.close()


@pytest.fixture
def engine(request: pytest.FixtureRequest, receiver: Receiver) -> Iterator[Hasura]:
    """A client of the engine under test, with a schema of its own that is dropped after the test."""
    given = request.config.getoption("--hasura")
    with httpx.Client(timeout=30, trust_env=False) as client:
        if given is None:
            url = request.getfixturevalue("stand_in")
            engine = Hasura(url, SECRET, receiver, client, stand_in=True, jwt_key=JWT_KEY)
        else:
            named = request.config.getoption("--hasura-admin-secret")
            secret = str(named or os.environ.get("HASURA_ADMIN_SECRET", ""))
            engine = Hasura(str(given).rstrip("/"), secret, receiver, client, stand_in=False)
        yield engine
        engine.close()


@pytest.fixture
def job(engine: Hasura) -> Json:
    """A tracked table `job`."""
    return engine.table("job", "id bigint PRIMARY KEY, state text, note json, amount numeric")


@pytest.fixture
def pair(engine: Hasura) -> tuple[Json, Json]:
    """Tracked tables author and article, with a foreign key."""
    author = engine.table("author", "id serial PRIMARY KEY, name text UNIQUE")
    reference = f'author_id int REFERENCES "{engine.schema}".author(id)'
    return author, engine.table("article", f"id serial PRIMARY KEY, title text, {reference}")
