"""Call Hasura with its admin secret, for operators' commands; handlers use leads.adapters.graphql.

Facts: https://hasura.io/docs/2.0/api-reference/metadata-api/index/ (version conflicts answer 409).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx

from leads.domain.errors import HasuraUnavailable, IntegrationError
from ops.clients.plain_http import tls_context
from ops.failures import connection_reason

TIMEOUT_SECONDS = 120.0
LIST = "answers"
"""The key under which `bulk` finds an answer that is a list."""


class AccessDenied(IntegrationError):
    """The engine does not accept the admin secret."""

    code = "access_denied"


class RequestRefused(IntegrationError):
    """The engine answered with an error; `code` is the engine's own."""


class HasuraAdmin:
    """Context manager around the connection to one engine."""

    def __init__(
        self,
        url: str,
        admin_secret: str,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
        *,
        use_proxies: bool = False,
    ) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            timeout=timeout_seconds,
            headers={"X-Hasura-Admin-Secret": admin_secret, **(headers or {})},
            transport=transport,
            # With proxies the environment may also name the certificates.
            verify=True if use_proxies else tls_context(),
            trust_env=use_proxies,
        )

    def graphql(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Send an operation; return its `data`. Raises RequestRefused, AccessDenied and HasuraUnavailable."""
        status, answer = self._request("POST", "/v1/graphql", {"query": query, "variables": dict(variables)})
        if errors := answer.get("errors"):
            code = errors[0].get("extensions", {}).get("code")
            raise self._refusal(code, errors[0].get("message", ""))
        if status != 200 or not isinstance(answer.get("data"), dict):
            raise _unavailable(f"{self.url}/v1/graphql", f"status {status}")
        data: dict[str, Any] = answer["data"]
        return data

    def metadata(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request to the metadata API; return its answer.

        Raises RequestRefused, AccessDenied and HasuraUnavailable. Code `conflict`: the metadata was changed
        since the version that the request names.
        """
        return self._command("/v1/metadata", request)

    def bulk(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Send requests to the metadata API in one; return the answer of each.

        One that is refused refuses all. Raises RequestRefused, AccessDenied and HasuraUnavailable.
        """
        bulk = {"type": "bulk", "args": list(requests)}
        answers = self._command("/v1/metadata", bulk, takes_list=True).get(LIST)
        if not isinstance(answers, list) or len(answers) != len(requests):
            raise RequestRefused("bulk: the answer is not a list with an item for each request")
        return answers

    def run_sql(self, sql: str, source: str, *, read_only: bool) -> list[list[str]]:
        """Run SQL as the role of the engine, in one transaction; return the rows of its last statement.

        The values are text. Raises RequestRefused, AccessDenied and HasuraUnavailable.
        """
        arguments = {
            "sql": sql, "source": source, "read_only": read_only, "check_metadata_consistency": False,
        }  # fmt: skip
        answer = self._command("/v2/query", {"type": "run_sql", "args": arguments})
        rows: list[list[str]] = answer.get("result") or []
        return rows[1:]

    def read(self, path: str) -> dict[str, Any]:
        """Send a GET; return the answer. Raises RequestRefused, AccessDenied and HasuraUnavailable."""
        status, answer = self._request("GET", path)
        if status != 200:
            raise self._refusal(answer.get("code"), _reason(answer))
        return answer

    def _command(self, path: str, request: Mapping[str, Any], *, takes_list: bool = False) -> dict[str, Any]:
        status, answer = self._request("POST", path, dict(request), takes_list=takes_list)
        if status == 200:
            return answer
        if status == 409:
            raise RequestRefused("the metadata was changed at the same time", code="conflict")
        if "error" not in answer:
            raise _unavailable(f"{self.url}{path}", f"status {status}")
        raise self._refusal(answer.get("code"), f"{request['type']}: {_reason(answer)}")

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, takes_list: bool = False
    ) -> tuple[int, dict[str, Any]]:
        url = f"{self.url}{path}"
        try:
            response = self._http.request(method, url, json=body)
        except httpx.LocalProtocolError as error:
            # Its text quotes the header that cannot be sent: the admin secret.
            raise _unavailable(url, "a header cannot be sent; check the admin secret") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HasuraUnavailable(f"{url} does not answer: {connection_reason(error)}") from error
        except UnicodeError as error:
            raise RequestRefused("an argument is not valid Unicode text") from error
        try:
            answer = response.json()
        except ValueError as error:
            raise _unavailable(url, f"status {response.status_code}, the body is not JSON") from error
        if takes_list and isinstance(answer, list):
            answer = {LIST: answer}
        if not isinstance(answer, dict):
            raise _unavailable(url, "the answer is not a JSON object")
        return response.status_code, answer

    def _refusal(self, code: str | None, reason: str) -> IntegrationError:
        if code == "access-denied":
            return AccessDenied(f"{self.url} does not accept the admin secret: {reason}")
        return RequestRefused(reason, code=code)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unavailable(url: str, reason: str) -> HasuraUnavailable:
    return HasuraUnavailable(f"{url} does not answer as Hasura does: {reason}")


def _reason(answer: Mapping[str, Any]) -> str:
    internal = answer.get("internal")
    found = internal if isinstance(internal, list) else []
    details = [f"{each.get('name')}: {each.get('reason')}" for each in found if isinstance(each, dict)]
    return "; ".join([f"{answer.get('code')}: {answer.get('error')}", *details])
