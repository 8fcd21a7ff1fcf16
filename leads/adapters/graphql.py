"""Hasura's GraphQL API, used for the action sendNotifications of Diva's notification service.

Calls carry a JWT of the role pancake_service, whose only permission is that action. Tables are read and
written by SQL instead (leads/adapters/database.py).
"""

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import httpx

from leads.adapters.time_limits import waiting_for_answer
from leads.adapters.tracing import add_trace
from leads.domain.errors import HasuraRefused, HasuraUnavailable, HasuraUncertain

if TYPE_CHECKING:
    from gql.client import AsyncClientSession

SEND_TIMEOUT_SECONDS = 5.0
"""A call of a cron waits for it (leads/adapters/time_limits.py)."""
CONNECT_TIMEOUT_SECONDS = 3.0
"""Shorter than the other limits: it tells a request that did not arrive from one without an answer."""
MAX_SECONDS_TO_REFUSE = 2.0
"""An error that comes later is Hasura's own time-out: the service may have taken the notifications."""
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
HEALTH_TIMEOUT_SECONDS = 2.0
NOT_ALLOWED = "query is not allowed"
LACKS_VARIABLE = "expecting a value for non-nullable variable"
SEND_NOTIFICATIONS = """mutation PancakeSendNotifications($notifications: [NotificationInput!]!) {
    sendNotifications(notifications: $notifications) { accepted duplicates }
}"""


def read_end(token: str) -> float:
    """Return when a JWT ends, in seconds since 1970; 0 if it does not say."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (ValueError, TypeError, KeyError):
        return 0.0


class GraphqlClient:
    """A session with Hasura, opened at the first call and kept."""

    def __init__(self, url: str, token: str) -> None:
        # Only now: most commands of operators import this module, and the library takes as long as all else.
        from gql import Client
        from gql.transport.httpx import HTTPXAsyncTransport

        headers = {"Authorization": f"Bearer {token}"}
        timeout = httpx.Timeout(SEND_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
        transport = HTTPXAsyncTransport(
            url=f"{url}/v1/graphql", headers=headers, timeout=timeout, event_hooks={"request": [add_trace]}
        )
        self._client = Client(transport=transport, execute_timeout=None)
        self._session: AsyncClientSession | None = None
        self._health = httpx.AsyncClient(base_url=url, headers=headers, timeout=HEALTH_TIMEOUT_SECONDS)
        self._opening = asyncio.Lock()

    async def send_notifications(self, notifications: Sequence[Mapping[str, object]]) -> dict[str, int]:
        """Send notifications; return how many were accepted and how many were known already.

        Raises HasuraRefused if the answer is an error, HasuraUncertain if there is no valid answer in time,
        HasuraUnavailable if the request did not arrive.
        """
        from gql import GraphQLRequest
        from gql.transport.exceptions import TransportError, TransportQueryError
        from graphql import GraphQLError

        session = await self._connected()
        request = GraphQLRequest(SEND_NOTIFICATIONS, variable_values={"notifications": list(notifications)})
        started = asyncio.get_running_loop().time()
        try:
            with waiting_for_answer():
                async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                    data = await session.execute(request)
        except TransportQueryError as error:
            if asyncio.get_running_loop().time() - started > MAX_SECONDS_TO_REFUSE:
                raise HasuraUncertain("sendNotifications answered late, with an error.") from error
            raise HasuraRefused("sendNotifications answered with an error.") from error
        except (TransportError, GraphQLError, httpx.HTTPError, TimeoutError, AssertionError) as error:
            # AssertionError: gql asserts that an answer holds data or errors.
            raise _without_answer(error) from error
        try:
            answer = data["sendNotifications"]
            return {"accepted": int(answer["accepted"]), "duplicates": int(answer["duplicates"])}
        except (KeyError, TypeError, ValueError) as error:
            raise HasuraUncertain("sendNotifications gave no result.") from error

    async def probe(self) -> dict[str, bool | None]:
        """Return whether the engine answers, is consistent, and lets us call sendNotifications.

        The call has no variables, so the engine refuses it before it calls anything; how it refuses tells
        what it would have done. None: that cannot be said.
        """
        state: dict[str, bool | None] = dict.fromkeys(("hasura", "consistent", "allow_list", "notifications"))
        try:
            health, call = await asyncio.gather(
                self._health.get("/healthz"),
                self._health.post("/v1/graphql", json={"query": SEND_NOTIFICATIONS}),
            )
            answer = call.json()
            message = str(answer["errors"][0]["message"])
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError):
            return state | {"hasura": False}
        state |= {"hasura": health.status_code == 200, "consistent": health.text.strip() == "OK"}
        if message == NOT_ALLOWED:
            return state | {"allow_list": False}
        return state | {"allow_list": True, "notifications": message.startswith(LACKS_VARIABLE)}

    async def close(self) -> None:
        await self._health.aclose()
        if self._session is not None:
            await self._client.close_async()  # type: ignore[no-untyped-call]

    async def _connected(self) -> "AsyncClientSession":
        async with self._opening:
            if self._session is None:
                self._session = await self._client.connect_async()  # type: ignore[no-untyped-call]
            return self._session


def _without_answer(error: Exception) -> HasuraUnavailable:
    """Tell a request that cannot have arrived from one that may have. gql wraps the errors of httpx."""
    cause = error.__cause__ or error
    message = f"sendNotifications failed: {type(cause).__name__}"
    # 4xx and 503 say that the request was not passed on; any other status, that it may have been.
    status = getattr(error, "code", None) or 500
    if 400 <= status < 500 or status == 503 or isinstance(cause, NOT_SENT):
        return HasuraUnavailable(message)
    return HasuraUncertain(message)
