"""Hasura under its admin secret: answers, refusals, and what is no answer of Hasura."""

from typing import Any

import httpx
import pytest

from leads.adapters.hasura_admin import AccessDenied, HasuraAdmin, RequestRefused
from leads.domain.errors import HasuraUnavailable

EXPORT = {"type": "export_metadata", "args": {}}


def answering(status: int, **body: Any) -> HasuraAdmin:
    """A client whose every request gets this answer."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, **body))
    return HasuraAdmin("http://hasura/", "the-secret", transport=transport)


def test_the_secret_goes_along_and_the_data_comes_back() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"data": {"a": 1}})

    with HasuraAdmin(
        "http://hasura/", "the-secret", {"X-Hasura-Role": "r"}, 1, httpx.MockTransport(answer)
    ) as it:
        assert it.graphql("query { a }", {}) == {"a": 1}
    assert requests[0].url == "http://hasura/v1/graphql"
    assert requests[0].headers["x-hasura-admin-secret"] == "the-secret"
    assert requests[0].headers["x-hasura-role"] == "r"


@pytest.mark.parametrize(("status", "code"), [(200, "access-denied"), (401, "access-denied")])
def test_a_wrong_secret_is_named(status: int, code: str) -> None:
    """GraphQL answers it with status 200, the metadata API with 401."""
    errors = {"errors": [{"message": "invalid secret", "extensions": {"code": code}}]}
    with pytest.raises(AccessDenied, match="http://hasura does not accept the admin secret: invalid secret"):
        answering(status, json=errors).graphql("query { a }", {})
    with pytest.raises(AccessDenied):
        answering(401, json={"error": "invalid secret", "code": code}).metadata(EXPORT)


def test_a_refusal_keeps_the_code_of_the_engine_and_its_details() -> None:
    body = {
        "code": "unexpected",
        "error": "bad",
        "internal": [{"name": "table x", "reason": "no such table"}],
    }
    with pytest.raises(
        RequestRefused, match="export_metadata: unexpected: bad; table x: no such table"
    ) as error:
        answering(400, json=body).metadata(EXPORT)
    assert error.value.code == "unexpected"
    with pytest.raises(RequestRefused) as error:
        answering(409, json={"code": "conflict", "error": "version"}).metadata(EXPORT)
    assert error.value.code == "conflict"


@pytest.mark.parametrize(
    ("status", "body"),
    [(502, {"text": "<html>"}), (200, {"text": "<html>"}), (200, {"json": []}), (500, {"json": {}})],
)
def test_what_is_no_answer_of_hasura_is_unavailable(status: int, body: dict[str, Any]) -> None:
    with pytest.raises(HasuraUnavailable, match="http://hasura/v1/metadata does not answer as Hasura does"):
        answering(status, **body).metadata(EXPORT)
    with pytest.raises(HasuraUnavailable, match="http://hasura/v1/graphql does not answer as Hasura does"):
        answering(status, **body).graphql("query { a }", {})


def test_several_requests_are_answered_in_one() -> None:
    assert answering(200, json=[{"count": 1}, {"count": 0}]).bulk([EXPORT, EXPORT]) == [
        {"count": 1}, {"count": 0},
    ]  # fmt: skip


@pytest.mark.parametrize("answer", [{"count": 1}, [{"count": 1}]])
def test_a_bulk_without_an_answer_to_each_request_is_refused(answer: Any) -> None:
    with pytest.raises(RequestRefused, match="bulk"):
        answering(200, json=answer).bulk([EXPORT, EXPORT])


def test_a_refused_bulk_keeps_the_code_of_the_engine() -> None:
    body = {"code": "not-exists", "error": "no such cron trigger"}
    with pytest.raises(RequestRefused) as error:
        answering(400, json=body).bulk([EXPORT])
    assert error.value.code == "not-exists"


def test_an_address_that_is_none_is_unavailable() -> None:
    with HasuraAdmin("nonsense", "the-secret") as hasura, pytest.raises(HasuraUnavailable):
        hasura.metadata(EXPORT)
