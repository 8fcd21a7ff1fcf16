"""Each error has one status and code; the table covers every error class."""

import inspect

import pytest
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leads.adapters.clock import Clock
from leads.adapters.http import RequestLog, error_response
from leads.adapters.metrics import HTTP_CODES, Metrics
from leads.domain import errors
from leads.domain.errors import IntegrationError

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, IntegrationError)]


def made(kind: type[IntegrationError]) -> IntegrationError:
    """Build an error of that class, with whatever its constructor needs besides a message."""
    needed = {
        name: 500
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
    }
    if "message" in inspect.signature(kind).parameters:
        return kind("a message", **needed)  # type: ignore[arg-type]
    return kind(**needed)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_answered_with_message_and_code(kind: type[IntegrationError]) -> None:
    status, body, _ = error_response(made(kind))
    assert 400 <= status <= 599
    assert str(status) in HTTP_CODES
    assert set(body) == {"message", "extensions"}
    assert isinstance(body["message"], str)
    assert body["message"]
    assert set(body["extensions"]) == {"code"}  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", TREE)
def test_every_error_has_a_docstring(kind: type[IntegrationError]) -> None:
    assert inspect.getdoc(kind)
    assert kind.code.replace("_", "").isalpha()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.DatabaseUnavailable(), 503, "database_unavailable"),
        (errors.Overloaded(), 503, "overloaded"),
        (errors.ProcessingPaused(), 503, "processing_paused"),
        (errors.Contended(), 503, "contended"),
        (errors.BadRequest("x"), 400, "bad_request"),
        (errors.UnknownTrigger("x"), 400, "unknown_trigger"),
        (errors.Unauthorized(), 401, "unauthorized"),
        (errors.InvalidBody(code="too_deep"), 422, "too_deep"),
        (errors.InvalidPhone(), 422, "invalid_phone"),
        (KeyError("a secret"), 500, "internal"),
    ],
)
def test_the_status_and_code_of_each_error(error: Exception, status: int, code: str) -> None:
    given, body, _ = error_response(error)
    assert (given, body["extensions"]) == (status, {"code": code})


def test_only_a_pause_and_its_backlog_name_a_time_on_every_route() -> None:
    assert error_response(errors.ProcessingPaused())[2] == {"Retry-After": "60"}
    assert error_response(errors.Deferred(retry_after_seconds=7))[2] == {"Retry-After": "7"}
    assert error_response(errors.DatabaseUnavailable())[2] == {}
    assert error_response(errors.Overloaded())[2] == {}


def test_the_message_of_an_unexpected_error_is_never_shown() -> None:
    assert "a secret" not in str(error_response(KeyError("a secret")))


ROUTE = "/cron/x"


async def serve(
    app: ASGIApp, metrics: Metrics, path: str = ROUTE, fails_to_send: bool = False
) -> list[Message]:
    """Send one request through RequestLog; return what was sent to the client."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)
        if fails_to_send:
            raise OSError("the client is gone")

    log = RequestLog(app, route=ROUTE, metrics=metrics, clock=Clock(), headers={"Cache-Control": "no-store"})
    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    await log(scope, receive, send)
    return sent


def requests(metrics: Metrics, code: str) -> float | None:
    return metrics.registry.get_sample_value("pancake_http_requests_total", {"route": ROUTE, "code": code})


async def test_a_request_is_counted_under_its_route_whatever_its_path() -> None:
    metrics = Metrics()
    sent = await serve(JSONResponse({}), metrics, path="/proxy/cron/x\n")
    assert requests(metrics, "200") == 1
    assert (b"cache-control", b"no-store") in sent[0]["headers"]


async def test_an_unexpected_error_is_answered_with_500_and_the_headers_of_the_route() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("a secret")

    metrics = Metrics()
    sent = await serve(fail, metrics)
    assert requests(metrics, "500") == 1
    assert (sent[0]["status"], b"a secret" in sent[1]["body"]) == (500, False)
    assert (b"cache-control", b"no-store") in sent[0]["headers"]


async def test_an_answer_that_cannot_be_sent_is_counted_once_with_its_own_status() -> None:
    metrics = Metrics()
    with pytest.raises(OSError, match="gone"):
        await serve(JSONResponse({}), metrics, fails_to_send=True)
    assert (requests(metrics, "200"), requests(metrics, "500")) == (1, 0)
