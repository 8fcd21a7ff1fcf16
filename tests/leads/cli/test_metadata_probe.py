"""After a step a probe event goes through the engine to the handlers, and their answer is judged."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app import create_app
from leads.adapters.caller_secret import CallerSecret
from leads.adapters.graphql import GraphqlClient
from leads.adapters.secrets import KeyRing
from leads.cli.metadata.probe import Probe, judge
from leads.services.runtime import Runtime
from tests.support.fake_services import fixed_handlers
from tests.support.settings import UNREACHABLE_URL, handler_settings
from tests.support.settings_tab import served
from tests.support.shared_engine import running_shared_engine

pytestmark = pytest.mark.own_database

ANSWERED = "The handlers answered a probe event."
OTHER_SECRET = "the handlers answered 401: the engine has another HANDLER_SECRET than they have"
TABLES = ("pancake_webhook_event", "integration_change")
SECRET = "handler-secret-of-this-test-0123456789"
TRIGGER = "pancake_webhook_event_status_update"
WAITS = "delivers no events"


def error(status: int | None, message: Any) -> dict[str, Any]:
    """The log of a delivery that failed, as a genuine engine writes it."""
    text = message if isinstance(message, str) else json.dumps(message)
    return {"http_status": status, "response": {"data": {"message": text}, "type": "client_error"}}


def refusal(code: str) -> dict[str, Any]:
    return {"message": "…", "extensions": {"code": code}}


@pytest.mark.parametrize(
    ("engines_secret", "code", "said"), [(SECRET, 0, ANSWERED), (SECRET[::-1], 1, OTHER_SECRET)]
)
async def test_the_handlers_answer_only_an_engine_with_their_secret(
    database: str, tmp_path: Path, key_ring: KeyRing, engines_secret: str, code: int, said: str
) -> None:
    """The real handlers; nothing is written."""
    secret = CallerSecret(SECRET)
    settings = handler_settings(database, key_ring, secret, CallerSecret(SECRET.upper()))
    handlers = create_app(Runtime.assemble(settings, graphql=GraphqlClient(UNREACHABLE_URL, "unused")))
    async with served(handlers) as url:
        with running_shared_engine(
            database, tmp_path / "backups", HANDLERS_URL=url, HANDLER_SECRET=engines_secret
        ) as engine:
            assert said in await asyncio.to_thread(engine.run, "9a", code=code)
    with psycopg.connect(database) as connection:
        for table in TABLES:
            assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,), table


def test_9a_goes_on_without_handlers_and_9b_does_not(database: str, tmp_path: Path) -> None:
    with running_shared_engine(database, tmp_path / "backups", HANDLERS_URL="http://127.0.0.1:9") as engine:
        said = engine.run("9a")
        assert "Not a problem before the services are deployed" in said
        assert "cannot reach the handlers at HANDLERS_URL" in said
        for command in (("9b",), ("verify", "9b", "--probe")):
            said = engine.run(*command, code=1)
            assert "a probe event of pancake_webhook_event_status_update was not processed" in said
            assert "cannot reach the handlers at HANDLERS_URL" in said
        assert "probe" not in engine.run("verify", "9b")


def test_an_engine_that_delivers_no_events_is_named(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.cli.metadata.steps.MAX_WAIT_SECONDS", 0.3)
    with running_shared_engine(
        database, tmp_path / "backups", HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL="0"
    ) as engine:
        said = engine.run("9a", code=1)
    assert "the engine did not deliver a probe event" in said
    assert WAITS in said


@pytest.fixture
def another_server() -> Iterator[str]:
    with fixed_handlers(404, "<html>not here</html>") as url:
        yield url


def test_another_server_at_the_url_of_the_handlers_is_named(
    database: str, tmp_path: Path, another_server: str
) -> None:
    with running_shared_engine(database, tmp_path / "backups", HANDLERS_URL=another_server) as engine:
        engine.run("9a")
        said = engine.run("9b", code=1)
    assert "something else than our handlers answered 404 at HANDLERS_URL" in said


@pytest.mark.parametrize(
    ("invocation", "problem", "is_answered"),
    [
        ({"http_status": 200, "response": {"data": {"body": '{"event_id": 0, "result": "x"}'}}}, "", True),
        (error(503, refusal("processing_paused")), "", True),
        (error(503, refusal("database_unavailable")), "answered 503 (database_unavailable)", True),
        (error(401, refusal("unauthorized")), "another HANDLER_SECRET", True),
        ({"http_status": 200, "response": {"data": {"body": "{}"}}}, "something else than our", False),
        (error(502, "<html>Bad Gateway</html>"), "something else than our handlers answered 502", False),
        (error(None, {"message": "Connection refused\n", "type": "http_exception"}),
         "at HANDLERS_URL: Connection refused", False),
        (error(None, "not JSON"), "the engine gives no reason", False),
        ({"http_status": 500, "response": None}, "answered 500", False),
    ],
)  # fmt: skip
def test_each_answer_is_judged(invocation: dict[str, Any], problem: str, is_answered: bool) -> None:
    probe = judge(TRIGGER, invocation)
    assert probe.is_answered is is_answered
    assert (probe == Probe()) is (not problem)
    assert problem in probe.problem
