"""Hasura's GraphQL API, used for the action sendNotifications of Diva's notification service.

Calls carry a JWT of the role pancake_service, whose only permission is that action. Tables are read and
written by SQL instead (leads/adapters/database.py).
"""

import asyncio
from collections.abc import Mapping, Sequence

import httpx
from gql import Client, GraphQLRequest, gql
from gql.client import AsyncClientSession
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from graphql import GraphQLError

from leads.domain.errors import HasuraRefused, HasuraUnavailable

SEND_TIMEOUT_SECONDS = 5.0
HEALTH_TIMEOUT_SECONDS = 2.0
SEND_NOTIFICATIONS = gql(
    """
    mutation PancakeSendNotifications($notifications: [NotificationInput!]!) {
        sendNotifications(notifications: $notifications) { accepted duplicates }
    }
    """
)


class GraphqlClient:
    """A session with Hasura, opened at the first call and kept."""

    def __init__(self, url: str, token: str) -> None:
        self._transport = HTTPXAsyncTransport(
            url=f"{url}/v1/graphql",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(SEND_TIMEOUT_SECONDS),
        )
        self._client = Client(transport=self._transport, execute_timeout=SEND_TIMEOUT_SECONDS)
        self._session: AsyncClientSession | None = None
        self._health = httpx.AsyncClient(base_url=url, timeout=HEALTH_TIMEOUT_SECONDS)
        self._opening = asyncio.Lock()

    async def send_notifications(self, notifications: Sequence[Mapping[str, object]]) -> dict[str, int]:
        """Send notifications; return how many were accepted and how many were known already.

        Raises HasuraRefused if the answer is an error, HasuraUnavailable if there is no valid answer.
        """
        session = await self._connected()
        request = GraphQLRequest(SEND_NOTIFICATIONS, variable_values={"notifications": list(notifications)})
        try:
            data = await session.execute(request)
        except TransportQueryError as error:
            raise HasuraRefused("sendNotifications answered with an error.") from error
        except (TransportError, GraphQLError, httpx.HTTPError, TimeoutError, AssertionError) as error:
            # AssertionError: gql asserts that an answer holds data or errors.
            raise HasuraUnavailable(f"sendNotifications failed: {type(error).__name__}") from error
        try:
            answer = data["sendNotifications"]
            return {"accepted": int(answer["accepted"]), "duplicates": int(answer["duplicates"])}
        except (KeyError, TypeError, ValueError) as error:
            raise HasuraUnavailable("sendNotifications gave no result.") from error

    async def is_healthy(self) -> bool:
        """Whether the engine answers its health check."""
        try:
            return (await self._health.get("/healthz")).status_code == 200
        except httpx.HTTPError:
            return False

    async def close(self) -> None:
        await self._health.aclose()
        if self._session is not None:
            await self._client.close_async()  # type: ignore[no-untyped-call]

    async def _connected(self) -> AsyncClientSession:
        async with self._opening:
            if self._session is None:
                self._session = await self._client.connect_async()  # type: ignore[no-untyped-call]
            return self._session
