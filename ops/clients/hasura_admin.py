"""Call Hasura with its admin secret, for operators' commands; handlers use leads.adapters.graphql.

Facts: https://hasura.io/docs/2.0/api-reference/metadata-api/index/ (version conflicts answer 409).
"""

from collections.abc import Mapping
from typing import Any, Self

import httpx

from leads.domain.errors import HasuraUnavailable, IntegrationError
from ops.clients.plain_http import tls_context
from ops.failures import CommandFailed, connection_reason

TIMEOUT_SECONDS = 120.0
CONFLICT = "The metadata was changed by another client at the same time. Nothing was changed: run this again."


class AccessDenied(IntegrationError):
    """The engine does not accept the admin secret."""

    code = "access_denied"


class RequestRefused(CommandFailed):
    """The engine answered with an error: its `reason`, and its own `code`."""

    def __init__(self, url: str, reason: str, code: str | None = None) -> None:
        super().__init__(CONFLICT if code == "conflict" else f"{url} refused the request {reason}")
        self.reason, self.code = reason, code


class HasuraAdmin:
    """Context manager around the connection to one engine.

    Every method that asks it raises RequestRefused, AccessDenied and HasuraUnavailable.
    """

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
        """Send an operation; return its `data`."""
        status, answer = self._request("/v1/graphql", {"query": query, "variables": dict(variables)})
        if errors := answer.get("errors"):
            raise self._refusal(errors[0].get("extensions", {}).get("code"), errors[0].get("message", ""))
        if status != 200 or not isinstance(answer.get("data"), dict):
            raise _unavailable(f"{self.url}/v1/graphql", f"status {status}")
        data: dict[str, Any] = answer["data"]
        return data

    def _send(self, request: dict[str, Any], path: str = "/v1/metadata", kind: type = dict) -> Any:
        """Send a request to the metadata API; return its answer, which is an object or a list."""
        status, answer = self._request(path, request, kind)
        if status == 200:
            if not isinstance(answer, kind):
                raise RequestRefused(self.url, f"{request['type']}: the answer is not a list")
            return answer
        if status == 409:
            raise RequestRefused(self.url, "the metadata was changed at the same time", "conflict")
        if "error" not in answer:
            raise _unavailable(f"{self.url}{path}", f"status {status}")
        raise self._refusal(answer.get("code"), f"{request['type']}: {_reason(answer)}")

    def _read(self, path: str) -> dict[str, Any]:
        status, answer = self._request(path)
        if status != 200:
            raise self._refusal(answer.get("code"), _reason(answer))
        return dict(answer)

    def _request(self, path: str, body: dict[str, Any] | None = None, kind: type = dict) -> tuple[int, Any]:
        """Return the status and the answer: an object, or what is of `kind`."""
        url = f"{self.url}{path}"
        try:
            response = self._http.request("GET" if body is None else "POST", url, json=body)
        except httpx.LocalProtocolError as error:
            # Its text quotes the header that cannot be sent: the admin secret.
            raise _unavailable(url, "a header cannot be sent; check the admin secret") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HasuraUnavailable(f"{url} does not answer: {connection_reason(error)}") from error
        except UnicodeError as error:
            raise RequestRefused(self.url, "an argument is not valid Unicode text") from error
        try:
            answer = response.json()
        except ValueError as error:
            raise _unavailable(url, f"status {response.status_code}, the body is not JSON") from error
        if not isinstance(answer, (dict, kind)):
            raise _unavailable(url, "the answer is not a JSON object")
        return response.status_code, answer

    def _refusal(self, code: str | None, reason: str) -> Exception:
        if code == "access-denied":
            return AccessDenied(f"{self.url} does not accept the admin secret: {reason}")
        return RequestRefused(self.url, reason, code)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def _unavailable(url: str, reason: str) -> HasuraUnavailable:
    return HasuraUnavailable(f"{url} does not answer as Hasura does: {reason}")


def _reason(answer: Mapping[str, Any]) -> str:
    internal = answer.get("internal")
    found = internal if isinstance(internal, list) else []
    details = [f"{each.get('name')}: {each.get('reason')}" for each in found if isinstance(each, dict)]
    return "; ".join([f"{answer.get('code')}: {answer.get('error')}", *details])
