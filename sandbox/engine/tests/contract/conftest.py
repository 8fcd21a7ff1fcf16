"""The engine under test: the stand-in, or the one that `--hasura URL` names."""

import json
import os
from collections.abc import Iterator, Mapping

import httpx
import pytest

from tests.support.hasura import Hasura, Json
from tests.support.process import CANARIES, SECRET, Engines
from tests.support.receiver import Receiver

JWT_KEY = CANARIES["the JWT key"]
CONTRACT_SECRET = CANARIES["a secret header"]


def jwt_key(environment: Mapping[str, str]) -> str | None:
    """Return the key of HASURA_GRAPHQL_JWT_SECRET, which has the engine's value; None if it is not set.

    Raises ValueError if it is no JSON, KeyError if it has no `key`.
    """
    jwt_secret = environment.get("HASURA_GRAPHQL_JWT_SECRET")
    return str(json.loads(jwt_secret)["key"]) if jwt_secret else None


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
            HASURA_GRAPHQL_SANDBOX_SCHEDULED_FETCH_INTERVAL="200",
            CONTRACT_WEBHOOK=receiver.host_url,
            CONTRACT_SECRET=CONTRACT_SECRET,
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
            engine = Hasura(url, SECRET, receiver, client, True, JWT_KEY, CONTRACT_SECRET)
        else:
            named = request.config.getoption("--hasura-admin-secret")
            secret = str(named or os.environ.get("HASURA_ADMIN_SECRET", ""))
            known = jwt_key(os.environ), os.environ.get("CONTRACT_SECRET")
            engine = Hasura(str(given).rstrip("/"), secret, receiver, client, False, *known)
        yield engine
        engine.close()


@pytest.fixture
def traced(engine: Hasura) -> Iterator[None]:
    """OpenTelemetry is on: without a type of data nothing is exported."""
    engine.do("set_opentelemetry_config", {"status": "enabled", "data_types": []})
    yield
    engine.do("set_opentelemetry_config", {"status": "disabled", "data_types": []})


@pytest.fixture
def job(engine: Hasura) -> Json:
    return engine.table("job", "id bigint PRIMARY KEY, state text, note json, amount numeric")


@pytest.fixture
def pair(engine: Hasura) -> tuple[Json, Json]:
    """Tracked tables author and article, with a foreign key."""
    author = engine.table("author", "id serial PRIMARY KEY, name text UNIQUE")
    reference = f'author_id int REFERENCES "{engine.schema}".author(id)'
    return author, engine.table("article", f"id serial PRIMARY KEY, title text, {reference}")
