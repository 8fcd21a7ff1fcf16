"""A stand-in for Diva's notification service that keeps what it accepted in memory.

Called by: Hasura's action `sendNotifications`. GET /sent lists what was accepted, DELETE forgets it.
"""

from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.serving import read_address, serve

NOTIFICATION_KEYS = {"template_code", "recipient_ids", "data", "idempotency_key"}


@dataclass
class Service:
    """The accepted notifications in order of arrival, and the number of duplicates."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    duplicates: int = 0
    _seen: set[str] = field(default_factory=set)

    def accept(self, notifications: list[dict[str, Any]]) -> dict[str, int]:
        """Accept a batch and return the counts of `SendNotificationsOutput`."""
        accepted = 0
        for notification in notifications:
            key = notification["idempotency_key"]
            if key not in self._seen:
                self._seen.add(key)
                self.sent.append(notification)
                accepted += 1
        self.duplicates += len(notifications) - accepted
        return {"accepted": accepted, "duplicates": len(notifications) - accepted}

    def reset(self) -> None:
        """Forget all notifications."""
        self.duplicates = 0
        self.sent.clear()
        self._seen.clear()


def create_app() -> Starlette:
    state = Service()

    async def send(request: Request) -> Response:
        try:
            notifications = _checked(await request.json())
        except (ValueError, KeyError, TypeError) as error:
            return JSONResponse({"message": f"not a call of sendNotifications: {error}"}, status_code=400)
        return JSONResponse(state.accept(notifications))

    async def sent(request: Request) -> Response:
        if request.method == "DELETE":
            state.reset()
        return JSONResponse({"sent": state.sent, "duplicates": state.duplicates})

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("OK")

    return Starlette(
        routes=[
            Route("/actions/sendNotifications", send, methods=["POST"]),
            Route("/sent", sent, methods=["GET", "DELETE"]),
            Route("/healthz", healthz, methods=["GET"]),
        ]
    )


def _checked(envelope: Any) -> list[dict[str, Any]]:
    """Return the notifications of an action call. Raises ValueError, KeyError or TypeError."""
    if envelope["action"]["name"] != "sendNotifications":
        raise ValueError(f"unexpected action {envelope['action']['name']!r}")
    notifications = envelope["input"]["notifications"]
    for notification in notifications:
        if set(notification) != NOTIFICATION_KEYS:
            raise ValueError(f"unexpected keys {sorted(notification)}")
        if not notification["recipient_ids"] or not notification["idempotency_key"]:
            raise ValueError("no recipient or no idempotency key")
    return list(notifications)


if __name__ == "__main__":
    serve(create_app(), *read_address("sandbox.diva.notifications", __doc__))
